import { randomUUID } from 'node:crypto'
import { type Catalog, openCatalog } from '../catalog/catalog.ts'
import { backupId } from '../catalog/layout.ts'
import { type Plan, seconds } from '../config.ts'
import type { BackupFacts, OtherRuns, RunContext, SourceRun, SourceState } from '../engine.ts'
import { engineOf } from '../engines/index.ts'
import { JobError, textOf } from '../errors.ts'
import { together } from '../io/parallel.ts'
import { type Result, sizeText } from '../io/print.ts'
import { openSink, type SourceSink } from '../io/sink.ts'
import type { Workers } from '../io/workers.ts'
import type { Manifest, SourceFacts } from '../manifest.ts'
import { version } from '../version.ts'
import { planNamed } from './catalogs.ts'
import { checkSources, type FoundSource } from './check.ts'
import { type Around, between, repair } from './hooks.ts'
import type { Job } from './job.ts'
import { pruneAfterBackup } from './prune.ts'

export interface BackupOptions {
  plan: string
  /** Take up a failed run: its id, or `latest` for the newest one. */
  resume?: string | undefined
  dryRun?: boolean | undefined
}

interface Run {
  job: Job
  name: string
  plan: Plan
  catalogs: Catalog[]
  id: string
  started: Date
  resumed: Record<string, BackupFacts>
  /** What was found out about the first source just now; later ones begin when it may have changed. */
  checked?: SourceState | undefined
}

type Source = Plan['sources'][number]

/** A source that is backed up. */
interface Done {
  facts: SourceFacts
  sink: SourceSink
  sourceRun: SourceRun
}

/** How often another id is tried when the database has seen the first one, or takes somebody else's backup. */
const freshIds = 3

/** One backup of a plan: check, claim an id, every source in turn, commit, retention. */
export async function backup(job: Job, options: BackupOptions): Promise<Result> {
  const plan = planNamed(job.config, options.plan)
  if (!options.dryRun) await repair(job, hooksOf(options.plan, plan))
  const opening = openCatalogs(job, options.plan, plan.storages)
  if (options.resume !== undefined && !options.dryRun)
    return runOnce(await takeUp({ job, name: options.plan, plan, catalogs: await opening, pick: options.resume }))
  const [catalogs, sources] = await together([opening, checkSources(job, options.plan)])
  if (options.dryRun) return planned(options.plan, plan, sources)
  let checked = sources[0]?.state
  for (let tries = 1; ; tries++) {
    const run = await begin({ job, name: options.plan, plan, catalogs })
    try {
      return await runOnce({ ...run, checked })
    } catch (error) {
      if (!(error instanceof JobError && error.kind === 'busy' && error.retryable) || tries === freshIds) throw error
      job.log.info({ backup: run.id, because: textOf(error) }, 'taking a fresh id')
      checked = undefined
    }
  }
}

/** All hooks of a plan. */
function hooksOf(name: string, { hooks, sources }: Plan) {
  const run = `backup-${name}`
  const own = sources.map((source, i) => ({ run, at: `backups.${name}.sources.${i}.hooks`, hooks: source.hooks }))
  return [{ run, at: `backups.${name}.hooks`, hooks }, ...own]
}

async function openCatalogs(job: Job, plan: string, storages: string[]): Promise<Catalog[]> {
  return Promise.all(storages.map(async (name) => openCatalog({ storage: await job.storage(name), plan })))
}

function planned(name: string, plan: Plan, found: FoundSource[]): Result {
  const sources = found.map(({ shown }) => shown)
  const rows = sources.map(({ source, engine, server }) => [
    source,
    engine,
    `${server.product} ${server.version}`,
    plan.storages.join(', '),
  ])
  return {
    data: { plan: name, storages: plan.storages, sources },
    table: { columns: ['source', 'engine', 'server', 'to'], rows },
    notes: ['nothing was written'],
  }
}

/** Takes an id: started.json on the first storage decides, the others follow. */
async function begin({ job, name, plan, catalogs }: Omit<Run, 'id' | 'started' | 'resumed'>): Promise<Run> {
  const started = job.now()
  const note = {
    run: randomUUID(),
    plan: name,
    ...(job.config.cluster ? { cluster: job.config.cluster } : {}),
    started: started.toISOString(),
    sources: plan.sources.map((source) => source.name),
  }
  const [first, ...others] = catalogs as [Catalog, ...Catalog[]]
  const id = await first.claim({ id: backupId(started), started: note, signal: job.signal })
  for (const catalog of others) {
    if (await catalog.join({ id, started: note, signal: job.signal })) continue
    const reason = `storage ${catalog.storage.name} has backup ${id} already`
    await first.fail(id, { reason, kind: 'busy', finished: job.now().toISOString() })
    throw new JobError('busy', reason, { hint: 'run again: the next run takes another id' })
  }
  job.log.info({ plan: name, backup: id, storages: plan.storages }, 'backup begun')
  job.about({ plan: name, id })
  return { job, name, plan, catalogs, id, started, resumed: {} }
}

/** Never one that may be running still: two runs of one id would take each other's files away. */
async function newestFailed({
  job,
  name,
  plan,
  catalog,
}: {
  job: Job
  name: string
  plan: Plan
  catalog: Catalog
}): Promise<string | undefined> {
  const runs = await catalog.runs({ deadlineSeconds: seconds(plan.deadline), now: job.now(), signal: job.signal })
  const failed = runs.findLast((run) => run.state === 'failed')
  const running = runs.findLast((run) => run.state === 'running')
  if (!failed && running) {
    throw new JobError('busy', `run ${running.id} of plan ${name} has not said that it failed`, {
      hint: `if it is dead: holdfast backup ${name} --resume ${running.id}`,
    })
  }
  return failed?.id
}

async function takeUp({
  job,
  name,
  plan,
  catalogs,
  pick,
}: Omit<Run, 'id' | 'started' | 'resumed'> & { pick: string }): Promise<Run> {
  const [first] = catalogs as [Catalog, ...Catalog[]]
  const { uncommitted, committed } = await first.ids()
  const id = pick === 'latest' ? await newestFailed({ job, name, plan, catalog: first }) : pick
  if (id !== undefined && committed.includes(id))
    throw new JobError('nothing-matches', `backup ${id} is finished: nothing is left to do`)
  const resumed = id !== undefined && uncommitted.includes(id) ? await first.facts(id, job.signal) : undefined
  if (id === undefined || !resumed) {
    throw new JobError('nothing-matches', `plan ${name} has no unfinished run${id ? ` ${id}` : ''}`, {
      hint: `holdfast list ${name} --runs shows them; holdfast backup ${name} takes a new backup`,
    })
  }
  const without = plan.sources.find((source) => !resumed[source.name])
  if (without) {
    throw new JobError(
      'nothing-matches',
      `run ${id} ended before source ${without.name} was complete: there is nothing to take up`,
      { hint: `holdfast backup ${name} takes a new backup` },
    )
  }
  const started = await first.startOf(id, job.signal)
  job.log.info({ plan: name, backup: id }, 'backup taken up again')
  job.about({ plan: name, id })
  return { job, name, plan, catalogs, id, started, resumed }
}

async function runOnce(run: Run): Promise<Result> {
  const { job, name, id, catalogs } = run
  const committed: Catalog[] = []
  try {
    return await carryOut(run, committed)
  } catch (error) {
    const kind = error instanceof JobError ? error.kind : 'bug'
    const without = catalogs.filter((catalog) => !committed.includes(catalog))
    for (const catalog of without)
      await catalog.fail(id, { reason: textOf(error), kind, finished: job.now().toISOString() })
    const where = { plan: name, backup: id, storages: committed.map((catalog) => catalog.storage.name) }
    if (committed.length > 0) job.log.warn(where, 'the backup is good on some storages only: the run failed')
    else job.log.warn({ plan: name, backup: id }, 'backup failed; what it wrote stays until it is pruned, for --resume')
    throw error
  }
}

async function carryOut(run: Run, committed: Catalog[]): Promise<Result> {
  const { job, name, plan, catalogs, id, started } = run
  const workers = job.workers({ plan: name, id, storages: plan.storages })
  const done: Done[] = []
  const failures: (JobError | undefined)[] = []
  job.progress.begin(`backup ${id}`)
  const [around, ...aroundEach] = hooksOf(name, plan)
  const whole = await between(job, around as Around, async () => {
    for (const [i, source] of plan.sources.entries()) {
      const one = await between(job, aroundEach[i] as Around, () => backUp({ run, workers, source, i }))
      done.push(one.value)
      failures.push(one.failure)
    }
  })
  job.progress.end()

  const manifest: Manifest = {
    format: 1,
    id,
    plan: name,
    ...(job.config.cluster ? { cluster: job.config.cluster } : {}),
    started: started.toISOString(),
    finished: job.now().toISOString(),
    jobVersion: version,
    conditionalPut: catalogs.every((catalog) => catalog.storage.features.conditionalPut),
    sources: done.map(({ facts }) => facts),
    parts: done.flatMap(({ sink }) => sink.parts()).sort((a, b) => (a.path < b.path ? -1 : 1)),
    warnings: [...job.warnings],
  }
  for (const catalog of catalogs) await confirm(catalog, manifest, job)
  for (const catalog of catalogs) {
    await catalog.commit(manifest, job.signal)
    committed.push(catalog)
  }
  const bytes = manifest.parts.reduce((sum, part) => sum + part.size, 0)
  job.log.info({ plan: name, backup: id, parts: manifest.parts.length, bytes }, 'backup stored')

  await tidy({ run, done })
  return { ...result({ run, manifest, bytes }), failure: failureAfter(id, [...failures, whole.failure]) }
}

/** One source, into a sink of its own. */
async function backUp({
  run,
  workers,
  source,
  i,
}: {
  run: Run
  workers: Workers
  source: Source
  i: number
}): Promise<Done> {
  const { job, name, catalogs, id } = run
  const { engine, values } = engineOf(source)
  const sink = openSink({
    catalogs,
    id,
    source: source.name,
    engine: engine.name,
    workers,
    progress: job.progress,
    signal: job.signal,
  })
  const resumed = run.resumed[source.name]
  if (resumed) await sink.takeUp()
  // written again: a prune must see that this run is alive
  if (resumed) await sink.keepFacts(resumed)
  for (const warning of resumed?.warnings ?? []) job.warn(warning)
  const sourceRun: SourceRun = {
    ...contextOf(job),
    at: `backups.${name}.sources.${i}.${engine.name}`,
    source: values,
    backupId: id,
    plan: name,
    delegate: workers.order,
    ...(resumed ? { resumed } : {}),
    ...(run.checked && i === 0 ? { checked: run.checked } : {}),
  }
  const { server, tools, facts } = await engine.backup(sourceRun, sink)
  return { facts: { name: source.name, engine: engine.name, server, tools, facts }, sink, sourceRun }
}

/** A backup is good whatever a hook after it did, but somebody must look after what it was to do. */
function failureAfter(id: string, failures: (JobError | undefined)[]): JobError | undefined {
  const failure = failures.find((one) => one !== undefined)
  return failure && new JobError(failure.kind, `backup ${id} is stored, but ${failure.message}`, { hint: failure.hint })
}

/** A newer backup takes the place of every run that failed, but another one may be running still. */
async function runsBeside({ job, plan, catalogs, id }: Run): Promise<OtherRuns> {
  const deadlineSeconds = seconds(plan.deadline)
  const runs = (await catalogs[0]?.runs({ deadlineSeconds, now: job.now(), signal: job.signal })) ?? []
  const others = runs.filter((run) => run.id !== id && run.started !== undefined)
  const ids = (state: 'failed' | 'running') => others.filter((run) => run.state === state).map((run) => run.id)
  return { failed: ids('failed'), running: ids('running') }
}

/** What the storage says it has is what was sent. */
async function confirm(catalog: Catalog, manifest: Manifest, job: Job): Promise<void> {
  const { problems } = await catalog.verify(manifest, { level: 'present', signal: job.signal })
  const [first] = problems
  if (first)
    throw new JobError(
      'storage',
      `storage ${catalog.storage.name} does not have what was sent: ${first.path} ${first.says}`,
    )
}

/** After the commit nothing may fail the run: the backup exists. */
async function tidy({ run, done }: { run: Run; done: Done[] }): Promise<void> {
  const { job, name } = run
  try {
    const otherRuns = await runsBeside(run)
    for (const { facts, sink, sourceRun } of done) {
      const { engine } = engineOf({ [facts.engine]: true })
      await engine.afterCommit?.(sourceRun, { facts, sink, otherRuns })
    }
  } catch (error) {
    job.warn(`local copies in the database's folders stay: ${textOf(error)}`)
  }
  await pruneAfterBackup(job, name).catch((error) => job.warn(`retention failed: ${textOf(error)}`))
}

function result({ run: { name, plan, id }, manifest, bytes }: { run: Run; manifest: Manifest; bytes: number }): Result {
  const data = { plan: name, backup: id, storages: plan.storages, parts: manifest.parts.length, bytes }
  return {
    data,
    table: {
      columns: ['plan', 'backup', 'storages', { title: 'parts', right: true }, { title: 'size', right: true }],
      rows: [[name, id, plan.storages.join(', '), String(manifest.parts.length), sizeText(bytes)]],
    },
  }
}

/** What every engine gets of the job. */
export function contextOf(job: Job): RunContext {
  const { log, signal, secret, warn, warnings, objects } = job
  return { log, signal, secret, warn, warnings, objects }
}
