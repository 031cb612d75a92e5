import { createHash } from 'node:crypto'
import { openCatalog } from '../catalog/catalog.ts'
import { type Restore, seconds } from '../config.ts'
import type { Engine, Marker, Reader, RestoreStep, TargetRun, TargetState } from '../engine.ts'
import { engineOf } from '../engines/index.ts'
import { JobError, textOf } from '../errors.ts'
import type { Result } from '../io/print.ts'
import { openReader, ownParts } from '../io/reader.ts'
import type { Manifest } from '../manifest.ts'
import type { Storage } from '../storage.ts'
import { contextOf } from './backup.ts'
import type { Job } from './job.ts'

export interface RestoreOptions {
  /** A restore of the values; left out with `backup`. */
  restore?: string | undefined
  /** A plan of the values: its sources are the targets. */
  backup?: string | undefined
  pick?: string | undefined
  overwrite?: boolean | undefined
  token?: string | undefined
  /** Only these sources. */
  sources?: string[] | undefined
  dryRun?: boolean | undefined
}

interface Task {
  name: string
  engine: Engine
  run: TargetRun
  state: TargetState
  steps: RestoreStep[]
}

/** One restore: find the backup, look at every target, then carry out what was planned. */
export async function restore(job: Job, options: RestoreOptions): Promise<Result> {
  const { at, request } = requestOf(job, options)
  const { manifest, storage } = await findBackup(job, request)
  job.about({ plan: manifest.plan, id: manifest.id })
  refuseOld(manifest, request, at, job)
  const tasks: Task[] = []
  for (const [i, target] of chosenTargets(request, options).entries()) {
    tasks.push(await planTask({ job, at: `${at}.targets.${i}`, target, manifest, request }))
  }
  const refused = tasks.map(({ name, state }) => refusal(name, state, at)).find((one) => one !== undefined)
  if (options.dryRun) return { ...described(manifest, tasks), failure: refused }
  const steps = tasks.flatMap((task) => task.steps.map((step) => `${task.name}: ${step.says}`))
  job.log.info({ plan: manifest.plan, backup: manifest.id, storage: storage.name, steps }, 'restore planned')
  if (refused) throw refused
  const done = []
  for (const task of tasks) done.push(await carryOut({ job, task, manifest, storage }))
  return result(manifest, done)
}

/** A restore of the values, with what the command line changes; or one made of a plan, into its own sources. */
function requestOf(job: Job, options: RestoreOptions): { at: string; request: Restore } {
  const { restores, backups } = job.config
  const changes = {
    ...(options.pick === undefined ? {} : { pick: options.pick }),
    ...(options.overwrite === undefined ? {} : { overwrite: options.overwrite }),
    ...(options.token === undefined ? {} : { token: options.token }),
  }
  if (options.restore !== undefined) {
    const request = restores[options.restore]
    if (request) return { at: `restores.${options.restore}`, request: { ...request, ...changes } }
    throw new JobError(
      'configuration',
      `restores: no restore named "${options.restore}" (there are: ${Object.keys(restores).join(', ') || 'none'})`,
      {
        hint: 'or restore a plan into its own sources: holdfast restore --backup PLAN --pick latest',
      },
    )
  }
  const name = options.backup
  const plan = name === undefined ? undefined : backups[name]
  if (!plan || name === undefined) {
    throw new JobError(
      'configuration',
      `backups: no plan named "${name ?? ''}" (there are: ${Object.keys(backups).join(', ') || 'none'})`,
    )
  }
  const targets = plan.sources.map((source) => {
    const { engine, values } = engineOf(source)
    return { name: source.name, [engine.name]: engine.targetOf(values) }
  })
  return {
    at: `backups.${name}`,
    request: {
      from: { plan: name, storages: plan.storages },
      pick: 'latest',
      overwrite: false,
      targets,
      ...changes,
    } as Restore,
  }
}

function chosenTargets({ targets }: Restore, { sources }: RestoreOptions): Restore['targets'] {
  const unknown = sources?.find((name) => !targets.some((target) => target.name === name))
  if (unknown)
    throw new JobError(
      'configuration',
      `--source ${unknown}: no target of that name (there are: ${targets.map((target) => target.name).join(', ')})`,
    )
  return sources ? targets.filter((target) => sources.includes(target.name)) : targets
}

/** From the first storage that has it; one that cannot answer is passed over with a warning as long as another one can. */
async function findBackup(job: Job, { from, pick }: Restore): Promise<{ manifest: Manifest; storage: Storage }> {
  const failures: { storage: string; error: unknown }[] = []
  for (const name of from.storages) {
    try {
      const storage = await job.storage(name)
      const manifest = await openCatalog({ storage, plan: from.plan }).find({ pick, signal: job.signal })
      for (const failure of failures) job.warn(`storage ${failure.storage} was passed over: ${textOf(failure.error)}`)
      return { manifest, storage }
    } catch (error) {
      job.signal.throwIfAborted()
      if (!(error instanceof JobError) || error.kind === 'bug') throw error
      failures.push({ storage: name, error })
    }
  }
  const worst =
    failures.find(({ error }) => !(error instanceof JobError && error.kind === 'nothing-matches')) ?? failures[0]
  throw worst?.error
}

function refuseOld({ id, plan, started }: Manifest, { maxAge }: Restore, at: string, job: Job): void {
  if (maxAge === undefined) return
  const age = (job.now().getTime() - Date.parse(started)) / 1000
  if (age <= seconds(maxAge)) return
  throw new JobError(
    'nothing-matches',
    `the newest backup that matches, ${id} of plan ${plan}, is ${Math.round(age / 3600)} h old: ${at}.maxAge allows ${maxAge}`,
    {
      hint: 'find out why there is no newer one (holdfast list --runs), or raise maxAge',
    },
  )
}

interface Planning {
  job: Job
  at: string
  target: Restore['targets'][number]
  manifest: Manifest
  request: Restore
}

async function planTask({ job, at, target, manifest, request }: Planning): Promise<Task> {
  const { engine, values } = engineOf(target)
  const source = manifest.sources.find((one) => one.name === target.name)
  if (!source) {
    throw new JobError('nothing-matches', `${at}.name: backup ${manifest.id} has no source ${target.name}`, {
      hint: `it has ${manifest.sources.map((one) => one.name).join(', ')}`,
    })
  }
  if (source.engine !== engine.name)
    throw new JobError(
      'configuration',
      `${at}: source ${source.name} is of engine ${source.engine}, not ${engine.name}`,
    )
  const asked = {
    plan: manifest.plan,
    id: manifest.id,
    source: source.name,
    token: request.token?.toString(),
    wanted: engine.requestOf(values),
  }
  const run: TargetRun = {
    ...contextOf(job),
    at: `${at}.${engine.name}`,
    target: values,
    source,
    parts: ownParts(manifest, source.name),
    plan: manifest.plan,
    backupId: manifest.id,
    request: createHash('sha256').update(JSON.stringify(asked)).digest('hex'),
    overwrite: request.overwrite,
    staging: (values as { staging?: string }).staging ?? job.config.tmpDir,
  }
  const state = await engine.checkTarget(run)
  run.state = state
  const steps = state.marker?.state === 'finished' ? [] : await engine.planRestore(run, state)
  return { name: target.name, engine, run, state, steps }
}

function refusal(name: string, { contents, marker }: TargetState, at: string): JobError | undefined {
  if (contents.length === 0 || marker?.state === 'finished') return undefined
  return new JobError('target-not-empty', `the target of ${name} is not empty: ${contents.join('; ')}`, {
    hint: `nothing was changed; ${at}.overwrite: true (--overwrite) replaces what the backup has, and leaves the rest`,
  })
}

interface Done {
  source: string
  already: boolean
  figures: Record<string, unknown>
}

interface Carrying {
  job: Job
  task: Task
  manifest: Manifest
  storage: Storage
}

async function carryOut({ job, task, manifest, storage }: Carrying): Promise<Done> {
  const { name, engine, run, state } = task
  if (state.marker?.state === 'finished') {
    job.log.info(
      { source: name, backup: manifest.id },
      'already restored: this request was finished before; another token carries it out again',
    )
    return { source: name, already: true, figures: {} }
  }
  try {
    return { source: name, already: false, figures: await runSteps({ job, task, manifest, storage }) }
  } finally {
    await engine.release?.(run)
  }
}

async function runSteps({ job, task, manifest, storage }: Carrying): Promise<Done['figures']> {
  const { name, run } = task
  const { staging } = run.target as { staging?: string }
  const workers = job.workers({ plan: manifest.plan, id: manifest.id, storages: [storage.name], staging })
  const reader = openReader({ storage, manifest, source: name, workers, signal: job.signal })
  const marker = { request: run.request, backupId: manifest.id, plan: manifest.plan }
  try {
    return await stepByStep({ job, task, reader, marker: { ...marker, creates: undefined } })
  } finally {
    // the next target's workers may need their places
    await workers.close()
  }
}

interface Stepping {
  job: Job
  task: Task
  reader: Reader
  marker: Omit<Marker, 'state'>
}

async function stepByStep({ job, task: { name, engine, run, steps }, reader, marker }: Stepping) {
  const figures: Record<string, unknown> = {}
  let marked = false
  for (const step of steps) {
    job.signal.throwIfAborted()
    if (step.writes && !marked) await engine.mark(run, { ...marker, state: 'begun' })
    marked ||= step.writes
    job.progress.begin(`${name}: ${step.name}`, step.name === 'fetch' ? bytesOf(run.parts) : undefined)
    const begun = job.now().getTime()
    const figure = await engine.restore(run, step, reader)
    job.progress.end()
    figures[step.name] = { ...figure, seconds: (job.now().getTime() - begun) / 1000 }
    job.log.info({ source: name, step: step.name, ...figure }, 'step done')
  }
  await engine.mark(run, { ...marker, state: 'finished' })
  return figures
}

function proofText(proof: unknown): string {
  return Object.entries(proof ?? {})
    .map(([what, count]) => `${what} ${count}`)
    .join(', ')
}

function bytesOf(parts: readonly { size: number }[]): number {
  return parts.reduce((sum, part) => sum + part.size, 0)
}

function described(manifest: Manifest, tasks: Task[]): Result {
  const steps = tasks.flatMap((task) =>
    task.steps.map((step) => ({ source: task.name, step: step.name, does: step.says })),
  )
  const already = tasks
    .filter((task) => task.state.marker?.state === 'finished')
    .map((task) => `${task.name} is already restored`)
  return {
    data: { plan: manifest.plan, backup: manifest.id, steps, refused: tasks.flatMap((task) => task.state.contents) },
    table: { columns: ['source', 'step', 'does'], rows: steps.map((one) => [one.source, one.step, one.does]) },
    notes: [...already, `backup ${manifest.id} of plan ${manifest.plan}; nothing was written`],
  }
}

function result(manifest: Manifest, done: Done[]): Result {
  const rows = done.map(({ source, already, figures }) => [
    source,
    manifest.id,
    already ? 'already restored' : 'restored',
    proofText(figures.prove),
  ])
  return {
    data: {
      plan: manifest.plan,
      backup: manifest.id,
      steps: Object.fromEntries(done.map((one) => [one.source, one.already ? 'already restored' : one.figures])),
    },
    table: { columns: ['source', 'backup', 'result', 'proof'], rows },
  }
}
