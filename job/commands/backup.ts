import type { KeyObject } from 'node:crypto'
import type { Catalog } from '../catalog/catalog.ts'
import { bytesOf } from '../catalog/layout.ts'
import { mergeRuns } from '../catalog/runs.ts'
import { type Plan, seconds } from '../config.ts'
import type { OtherRuns, RunContext, SourceRun, SourceState } from '../engine.ts'
import { engineOf } from '../engines/index.ts'
import { JobError, textOf } from '../errors.ts'
import type { Destination } from '../io/destinations.ts'
import { requireEncrypted } from '../io/keys.ts'
import { together } from '../io/parallel.ts'
import { type Result, sizeText } from '../io/print.ts'
import { openSink, type SourceSink } from '../io/sink.ts'
import type { Workers } from '../io/workers.ts'
import { formatOf, type Manifest, type SourceFacts } from '../manifest.ts'
import type { Figures } from '../metrics.ts'
import { version } from '../version.ts'
import { type Begun, begin, takeUp } from './begin.ts'
import { planNamed } from './catalogs.ts'
import { checkSources, type FoundSource } from './check.ts'
import { catalogOf, openPlan, tooFew } from './destinations.ts'
import { type Around, between, repair } from './hooks.ts'
import type { Job } from './job.ts'
import { pruneAfterBackup } from './prune.ts'
import { signerOf, signingKeyOf } from './signing.ts'

export interface BackupOptions {
  plan: string
  /** Take up a failed run: its id, or `latest` for the newest one. */
  resume?: string | undefined
  dryRun?: boolean | undefined
}

interface Run extends Begun {
  /** What was found out about the first source just now; later ones begin when it may have changed. */
  checked?: SourceState | undefined
  sign(manifest: Manifest): Manifest
  /** What it signs with, when it does. */
  key: KeyObject | undefined
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
  const { plan: name } = options
  const plan = planNamed(job.config, name)
  const signing = { sign: signerOf(job, name), key: signingKeyOf(job, name) }
  if (!options.dryRun) await repair(job, hooksOf(name, plan))
  const opening = openPlan(job, name, plan)
  if (options.resume !== undefined && !options.dryRun)
    return runOnce({ ...(await takeUp({ job, name, plan, storages: await opening }, options.resume)), ...signing })
  const [storages, sources] = await together([opening, checkSources(job, name)])
  if (options.dryRun) return planned(name, plan, sources)
  let checked = sources[0]?.state
  for (let tries = 1; ; tries++) {
    const run = await begin({ job, name, plan, storages })
    try {
      return await runOnce({ ...run, checked, ...signing })
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

async function runOnce(run: Run): Promise<Result> {
  const { job, name, id } = run
  const committed: Committed = new Map()
  try {
    const result = await carryOut(run, committed)
    await tellWithout(run, committed, undefined)
    return result
  } catch (error) {
    await tellWithout(run, committed, error)
    const where = { plan: name, backup: id, storages: [...committed.keys()] }
    if (committed.size > 0) job.log.warn(where, 'the backup is stored, but the run failed')
    else job.log.warn({ plan: name, backup: id }, 'backup failed; what it wrote stays until it is pruned, for --resume')
    throw error
  }
}

/** Storages without the backup say why: their own failure, or the run's. Those with it say that the others are done, too. */
async function tellWithout({ job, id, storages }: Run, committed: Committed, failure: unknown): Promise<void> {
  const without = storages.catalogs.filter(({ storage }) => !committed.has(storage.name))
  await Promise.all(
    without.map((catalog) => {
      const error = storages.failures.get(catalog.storage.name) ?? failure
      const kind = error instanceof JobError ? error.kind : 'bug'
      return catalog.fail(id, { reason: textOf(error), kind, finished: job.now().toISOString() })
    }),
  )
  const missing = [...storages.failures].filter(([storage]) => !committed.has(storage))
  if (missing.length === 0) return
  const missed = { finished: job.now().toISOString(), without: reasonsOf(missing) }
  const having = storages.catalogs.filter(({ storage }) => committed.has(storage.name))
  await Promise.all(having.map((catalog) => catalog.miss(id, missed)))
}

function reasonsOf(failures: Iterable<[storage: string, error: unknown]>): Record<string, string> {
  return Object.fromEntries([...failures].map(([storage, error]) => [storage, textOf(error)]))
}

/** The manifest of each storage that has the backup. */
type Committed = Map<string, Manifest>

async function carryOut(run: Run, committed: Committed): Promise<Result> {
  const { job, name, plan, storages, id } = run
  const names = storages.to.live().map(({ storage }) => storage.name)
  const workers = job.workers({ plan: name, id, storages: names })
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

  const finished = job.now()
  const warnings = [...job.warnings]
  await storages.to.each(async (destination) => {
    const manifest = manifestOf({ run, done, finished, warnings }, destination)
    const catalog = catalogOf(storages, destination)
    await confirm(catalog, manifest, job)
    await catalog.commit(manifest, job.signal)
    committed.set(destination.storage.name, manifest)
  })
  const short = tooFew({ plan: name, id, committed: [...committed.keys()], storages })
  const stored = summaryOf(run, committed)
  job.figures.backup = figuresOf(committed)
  job.log.info(stored, 'backup stored')

  await tidy({ run, done, enough: short === undefined })
  return { ...result(stored), failure: short ?? failureAfter(id, [...failures, whole.failure]) }
}

interface Finished {
  run: Run
  done: Done[]
  finished: Date
  warnings: string[]
}

/** Each storage has its own: what is stored in it, and how, need not be the same everywhere. */
function manifestOf({ run, done, finished, warnings }: Finished, { storage }: Destination): Manifest {
  const { job, name, id, started } = run
  const parts = done.flatMap(({ sink }) => sink.parts(storage)).sort((a, b) => (a.path < b.path ? -1 : 1))
  requireEncrypted(parts, storage)
  return run.sign({
    format: formatOf(parts),
    id,
    plan: name,
    ...(job.config.cluster ? { cluster: job.config.cluster } : {}),
    started: started.toISOString(),
    finished: finished.toISOString(),
    jobVersion: version,
    conditionalPut: storage.features.conditionalPut,
    sources: done.map(({ facts }) => facts),
    parts,
    warnings,
  })
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
  const { job, name, storages, id } = run
  const { engine, values } = engineOf(source)
  const sink = openSink({
    catalogs: storages.catalogs,
    to: storages.to,
    id,
    source: source.name,
    engine: engine.name,
    level: run.plan.compression?.level,
    key: run.key,
    workers,
    progress: job.progress,
    signal: job.signal,
  })
  const resumed = run.resumed[source.name]
  if (resumed) await sink.takeUp(resumed)
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

/**
 * A newer backup takes the place of every run that failed, but another one may be running still. A storage that does not answer is not put
 * out: it has the backup.
 */
async function runsBeside({ job, plan, storages, id }: Run): Promise<OtherRuns> {
  const options = { deadlineSeconds: seconds(plan.deadline), now: job.now(), signal: job.signal }
  const runs = await together(storages.to.live().map((one) => catalogOf(storages, one).runs(options)))
  const others = mergeRuns(runs).filter((run) => run.id !== id && run.started !== undefined)
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

/** After the commit nothing may fail the run: the backup exists. Local copies stay when too few storages have it. */
async function tidy({ run, done, enough }: { run: Run; done: Done[]; enough: boolean }): Promise<void> {
  const { job, name, storages } = run
  try {
    const otherRuns = await runsBeside(run)
    for (const { facts, sink, sourceRun } of enough ? done : []) {
      const { engine } = engineOf({ [facts.engine]: true })
      await engine.afterCommit?.(sourceRun, { facts, sink, otherRuns })
    }
  } catch (error) {
    job.warn(`local copies in the database's folders stay: ${textOf(error)}`)
  }
  const live = storages.to.live().map(({ storage }) => storage.name)
  await pruneAfterBackup(job, name, live).catch((error) => job.warn(`retention failed: ${textOf(error)}`))
}

interface Stored {
  plan: string
  backup: string
  /** Those that have it. */
  storages: string[]
  /** Why the others do not have it, by their names. */
  without?: Record<string, string>
  parts: number
  /** Of the first storage that has it. */
  bytes: number
}

function summaryOf({ name, plan, id, storages: { failures } }: Run, committed: Committed): Stored {
  const [{ parts }] = [...committed.values()] as [Manifest]
  return {
    plan: name,
    backup: id,
    storages: plan.storages.filter((storage) => committed.has(storage)),
    ...(failures.size > 0 ? { without: reasonsOf(failures) } : {}),
    parts: parts.length,
    bytes: bytesOf(parts),
  }
}

function figuresOf(committed: Committed): NonNullable<Figures['backup']> {
  const [{ parts }] = [...committed.values()] as [Manifest]
  const stored = [...committed].map(([storage, { parts }]) => ({ storage, bytes: bytesOf(parts) }))
  return { bytes: bytesOf(parts.map(({ plain, size }) => plain ?? { size })), stored }
}

function result(data: Stored): Result {
  const { plan, backup, storages, without = {}, parts, bytes } = data
  return {
    data: { ...data },
    table: {
      columns: ['plan', 'backup', 'storages', { title: 'parts', right: true }, { title: 'size', right: true }],
      rows: [[plan, backup, storages.join(', '), String(parts), sizeText(bytes)]],
    },
    notes: Object.entries(without).map(([storage, why]) => `not on ${storage}: ${why}`),
  }
}

/** What every engine gets of the job. */
export function contextOf(job: Job): RunContext {
  const { log, signal, secret, warn, warnings, objects } = job
  return { log, signal, secret, warn, warnings, objects }
}
