import { openCatalog } from '../catalog/catalog.ts'
import { seconds } from '../config.ts'
import type { TargetRun } from '../engine.ts'
import { JobError } from '../errors.ts'
import { requireKeys } from '../io/keys.ts'
import { together } from '../io/parallel.ts'
import type { Result } from '../io/print.ts'
import { ownParts } from '../io/reader.ts'
import type { Manifest } from '../manifest.ts'
import { chooseBackup, type Found, isDone, refuseOld, refuseOutrun, remember, type Target } from './choose.ts'
import { holding } from './hold.ts'
import { between, repair } from './hooks.ts'
import type { Job } from './job.ts'
import { type Request, type RestoreOptions, requestOf } from './request.ts'
import { carryOut, finish, type Task } from './steps.ts'

/** One restore: ask every target what it knows of the request, find the backup, look at the targets, then carry out what was planned. */
export async function restore(job: Job, options: RestoreOptions): Promise<Result> {
  // they only look, and are gone before those that write need their places
  const lookers = job.workers({ plan: options.restore ?? options.backup ?? '', id: '0', storages: [] })
  const request = requestOf({ job, options, delegate: lookers.order })
  if (!options.dryRun) await repair(job, [request.around, ...request.targets.map(({ around }) => around)])
  const { found, tasks, already } = await plan(job, request).finally(() => lookers.close())
  if (!found || tasks.length === 0) return result(request, already)

  const { manifest, held } = found
  const storages = held.map(({ storage }) => storage.name)
  const refused = tasks.map((task) => refusal(task, request)).find((one) => one !== undefined)
  if (options.dryRun) return { ...described({ manifest, tasks, already }), failure: refused }
  if (refused) throw refused
  const steps = tasks.flatMap((task) => task.steps.map((step) => `${task.name}: ${step.says}`))
  job.log.info({ plan: manifest.plan, backup: manifest.id, storages, steps }, 'restore planned')
  const hold = {
    job,
    catalogs: held.map(({ storage }) => openCatalog({ storage, plan: manifest.plan })),
    id: manifest.id,
    by: request.by,
    seconds: seconds(request.deadline),
  }
  const done = await holding(hold, () => carryOutAll({ job, request, tasks, found }))
  return result(request, [...already, ...done])
}

/**
 * Each is finished before the next begins, but the last one only after the hooks after all of them: when one of those fails, the
 * same request is not carried out yet.
 */
async function carryOutAll({ job, request, tasks, found: { manifest, held } }: Carrying): Promise<Done[]> {
  const done: Done[] = []
  const last = tasks.at(-1)
  let open: Task | undefined
  try {
    const whole = await between(job, request.around, async () => {
      for (const task of tasks) {
        open = task
        const one = await between(job, task.around, () => carryOut({ job, task, held }))
        if (one.failure) throw unfinished(one.failure)
        done.push({ source: task.name, backup: manifest.id, figures: one.value })
        if (task === last) continue
        await finish(task)
        await task.engine.release?.(task.run)
        open = undefined
      }
    })
    if (whole.failure) throw unfinished(whole.failure)
    if (last) await finish(last)
    return done
  } finally {
    await open?.engine.release?.(open.run)
  }
}

function unfinished({ kind, message, hint }: JobError): JobError {
  return new JobError(kind, `the data is restored, but ${message}`, {
    hint: hint ?? 'mend what the hook needs, and run the same restore again: it is not finished before its hooks are',
  })
}

interface Carrying {
  job: Job
  request: Request
  tasks: Task[]
  found: Found
}

interface Planned {
  found: Found | undefined
  tasks: Task[]
  already: { source: string; backup: string; note: string }[]
}

async function plan(job: Job, request: Request): Promise<Planned> {
  const targets = await together(request.targets.map(remember))
  refuseOutrun(request, targets)
  const found = await chooseBackup(job, request, targets)
  const open = found ? targets.filter(({ marker }) => !isDone(request, marker, found.manifest.id)) : []
  const already = targets.filter((target) => !open.includes(target)).map(alreadyDone)
  for (const { source, backup, note } of already) {
    job.log.info({ source, backup }, note)
    job.about({ plan: request.from.plan, id: backup })
  }
  if (found) refuseOld({ job, request, manifest: found.manifest, open })
  if (found) refuseUnread(request, found.manifest, open)
  if (found && open.length > 0) await requireKeys(found.held, job.signal)
  const tasks: Task[] = []
  if (found && open.length > 0) {
    const { manifest } = found
    job.about({ plan: manifest.plan, id: manifest.id })
    for (const target of open) tasks.push(await planTask({ job, request, target, manifest }))
  }
  return { found, tasks, already }
}

/** A signature speaks of whole parts. What is not encrypted is found to be another's only at its end, when a database has run it. */
export function refuseUnread({ trust, at }: Request, { parts }: Manifest, open: Target[]): void {
  const careless = open.find(({ run }) => (run.target as { verify?: string }).verify === 'during')
  if (!trust || !careless || parts.every(({ age }) => age)) return
  throw new JobError(
    'configuration',
    `${careless.at}: verify: during does not go with trust where parts are not encrypted`,
    {
      hint: `leave it out, and parts are read before the first is loaded; or leave out ${at}.trust`,
    },
  )
}

interface Planning {
  job: Job
  request: Request
  target: Target
  manifest: Manifest
}

async function planTask({ job, request, target, manifest }: Planning): Promise<Task> {
  const { at, name, engine, marker } = target
  const source = manifest.sources.find((one) => one.name === name)
  if (!source) {
    throw new JobError('nothing-matches', `${at}.name: backup ${manifest.id} has no source ${name}`, {
      hint: `it has ${manifest.sources.map((one) => one.name).join(', ')}`,
    })
  }
  if (source.engine !== engine.name)
    throw new JobError('configuration', `${at}: source ${name} is of engine ${source.engine}, not ${engine.name}`)
  const run: TargetRun = {
    ...target.run,
    source,
    parts: ownParts(manifest, name),
    plan: manifest.plan,
    backupId: manifest.id,
    ...(marker?.state === 'begun' ? { unfinished: marker } : {}),
    overwrite: request.overwrite,
    staging: (target.run.target as { staging?: string }).staging ?? job.config.tmpDir,
  }
  const state = await engine.checkTarget(run).catch((error) => {
    throw (error instanceof JobError && error.kind === 'server' && target.failure) || error
  })
  if (target.failure) throw target.failure
  run.state = state
  return { name, engine, run, known: marker, state, steps: await engine.planRestore(run, state), around: target.around }
}

function refusal({ name, state: { contents } }: Task, { at }: Request): JobError | undefined {
  if (contents.length === 0) return undefined
  return new JobError('target-not-empty', `the target of ${name} is not empty: ${contents.join('; ')}`, {
    hint: `nothing was changed; ${at}.overwrite: true (--overwrite) replaces what the backup has, and leaves the rest`,
  })
}

interface Done {
  source: string
  backup: string
  /** Of each step; missing when an earlier run carried it out. */
  figures?: Record<string, unknown>
  note?: string
}

function alreadyDone({ name, marker }: Target) {
  const backup = marker?.backupId ?? ''
  const since = marker?.state === 'replaced' ? ', and another restore has changed the target since' : ''
  const note = `${name} is already restored: an earlier run of this request restored backup ${backup}${since}; another token carries it out again, with overwrite while the target holds it`
  return { source: name, backup, note }
}

function described({ manifest, tasks, already }: { manifest: Manifest; tasks: Task[]; already: { note: string }[] }) {
  const steps = tasks.flatMap((task) =>
    task.steps.map((step) => ({ source: task.name, step: step.name, does: step.says })),
  )
  return {
    data: { plan: manifest.plan, backup: manifest.id, steps, refused: tasks.flatMap((task) => task.state.contents) },
    table: { columns: ['source', 'step', 'does'], rows: steps.map((one) => [one.source, one.step, one.does]) },
    notes: [...already.map(({ note }) => note), `backup ${manifest.id} of plan ${manifest.plan}; nothing was written`],
  }
}

function result({ from }: Request, done: Done[]): Result {
  const rows = done.map(({ source, backup, figures }) => [
    source,
    backup,
    figures ? 'restored' : 'already restored',
    proofText(figures?.prove),
  ])
  return {
    data: {
      plan: from.plan,
      backup: done.at(-1)?.backup,
      steps: Object.fromEntries(done.map((one) => [one.source, one.figures ?? 'already restored'])),
    },
    table: { columns: ['source', 'backup', 'result', 'proof'], rows },
    notes: done.flatMap(({ note }) => note ?? []),
  }
}

function proofText(proof: unknown): string {
  return Object.entries(proof ?? {})
    .map(([what, count]) => `${what} ${count}`)
    .join(', ')
}
