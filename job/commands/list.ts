import { openCatalog, type Run } from '../catalog/catalog.ts'
import { bytesOf, dateOf } from '../catalog/layout.ts'
import type { Config, Plan } from '../config.ts'
import { JobError, textOf } from '../errors.ts'
import { inParallel } from '../io/parallel.ts'
import { type Format, type Result, sizeText, spanText, type Table, timeText } from '../io/print.ts'
import type { Manifest } from '../manifest.ts'
import { nextTime } from '../schedules.ts'
import { isMissing } from '../storage.ts'
import { failureOf, storagesOf, type Unreachable } from './catalogs.ts'
import type { Job } from './job.ts'
import { type Found, findRuns, type Why } from './runs.ts'

export interface ListOptions {
  /** All plans of the config when left out, those that its restores read from with them. */
  plan?: string | undefined
  /** Only these storages. */
  storages?: string[] | undefined
  /** Running and failed runs and the next scheduled one as well. */
  runs?: boolean | undefined
  /** Why each stays, or that the next prune removes it. */
  why?: boolean | undefined
  /** Rows per plan. Left out: 20 in a table, all in other formats. 0: all. */
  last?: number | undefined
  format?: Format | undefined
}

/** One line of the list; also what `--output json` gives. Bytes and seconds. */
export interface Row {
  plan: string
  state: Run['state'] | 'scheduled'
  id?: string
  started?: string
  seconds?: number
  bytes?: number
  parts?: number
  warnings?: number
  storages: string[]
  /** The note of its pin, empty without one; missing when it is not pinned. From the first storage that has it pinned. */
  pinned?: string
  /** What the next prune does in each storage. */
  why?: Why[]
  /** Why a run failed, or what is wrong with a manifest. */
  problem?: string
}

const tableRows = 20
const readersAtOnce = 8

/** Newest first, plan by plan. Reads only the manifests of the rows it shows. */
export async function list(
  job: Job,
  { plan, storages, runs = false, why = false, last, format = 'table' }: ListOptions,
): Promise<Result> {
  const plans = plan === undefined ? plansOf(job.config) : [plan]
  const limit = (last ?? (format === 'table' ? tableRows : 0)) || Number.POSITIVE_INFINITY
  const rows: Row[] = []
  const notes: string[] = []
  const unreachable: Unreachable[] = []
  for (const one of plans) {
    const found = await findRuns({ job, plan: one, storages: storagesOf(job.config, one, storages), runs, why })
    const shown = [...found.runs.values()].sort((a, b) => Number(b.id) - Number(a.id)).slice(0, limit)
    if (runs) rows.push(...nextRun(one, job.config.backups[one], job.now()))
    rows.push(...(await inParallel(shown, readersAtOnce, (run) => describe(job, one, run, found.unreachable))))
    const more = found.runs.size - shown.length
    if (more > 0) notes.push(`${more} more of plan ${one}: --last 0 shows all`)
    unreachable.push(...found.unreachable)
  }
  if (rows.length === 0) notes.push(emptyNote(plans, unreachable))
  notes.push(...rows.filter(({ problem }) => problem).map(({ plan, id, problem }) => `${plan} ${id}: ${problem}`))
  return { data: rows, table: tableOf(rows, { runs, why }), notes, failure: failureOf(unreachable) }
}

/** A standby has restores alone, from the plan of another installation. */
function plansOf({ backups, restores }: Config): string[] {
  return [...new Set([...Object.keys(backups), ...Object.values(restores).map(({ from }) => from.plan)])]
}

async function describe(job: Job, plan: string, run: Found, unreachable: Unreachable[]): Promise<Row> {
  if (run.state !== 'committed') return unfinished(plan, run)
  const { state, id, storages, why } = run
  const pinned = await pinOf(job, plan, run)
  const base = { plan, state, id, storages, ...(pinned === undefined ? {} : { pinned }), ...(why ? { why } : {}) }
  let problem = ''
  for (const storage of run.storages) {
    try {
      const manifest = await openCatalog({ storage: await job.storage(storage), plan }).manifest(run.id, job.signal)
      return { ...base, ...figures(manifest) }
    } catch (error) {
      job.signal.throwIfAborted()
      if (!(error instanceof JobError)) throw error
      problem ||= isMissing(error) ? 'was removed a moment ago' : textOf(error)
      if (error.kind === 'storage' && !isMissing(error)) unreachable.push({ storage, error })
    }
  }
  return { ...base, problem }
}

/** The note of its pin; a pin that was just taken away, or cannot be read, is one without a note. */
async function pinOf(job: Job, plan: string, { id, pins: [storage] }: Found): Promise<string | undefined> {
  if (storage === undefined) return undefined
  const { guards } = openCatalog({ storage: await job.storage(storage), plan })
  const found = await guards.read(id, ['pin'], job.now(), job.signal).catch((error) => {
    job.signal.throwIfAborted()
    if (!(error instanceof JobError)) throw error
  })
  return found?.pin?.note ?? ''
}

function figures(manifest: Manifest) {
  const { started, finished, parts, warnings } = manifest
  return {
    started,
    seconds: (Date.parse(finished) - Date.parse(started)) / 1000,
    bytes: bytesOf(parts),
    parts: parts.length,
    warnings: warnings.length,
  }
}

function unfinished(plan: string, { id, state, started, failed, storages }: Found): Row {
  const row: Row = { plan, state, id, started: started?.started ?? dateOf(id).toISOString(), storages }
  if (failed) row.seconds = (Date.parse(failed.finished) - Date.parse(row.started ?? '')) / 1000
  if (state === 'failed') row.problem = failed?.reason ?? (started ? 'ended without a word' : 'not begun by holdfast')
  return row
}

function nextRun(plan: string, values: Plan | undefined, now: Date): Row[] {
  if (!values || values.suspend) return []
  const next = nextTime(values, { at: `backups.${plan}`, now })
  return next ? [{ plan, state: 'scheduled', started: next.toISOString(), storages: values.storages }] : []
}

function emptyNote(plans: string[], unreachable: Unreachable[]): string {
  if (plans.length === 0) return 'the config has no plans: neither backups nor restores'
  return unreachable.length > 0
    ? 'no backups in the storages that answered'
    : `no backups yet of plan ${plans.join(', ')}`
}

function tableOf(rows: Row[], { runs, why }: { runs: boolean; why: boolean }): Table {
  const pins = rows.some(({ pinned }) => pinned !== undefined)
  const right = (title: string) => ({ title, right: true }) as const
  const columns = [
    'plan',
    'id',
    ...(runs ? ['state'] : []),
    'started',
    right('took'),
    right('size'),
    right('parts'),
    'storages',
    right('warnings'),
    ...(pins ? ['pinned'] : []),
    ...(why ? ['why'] : []),
  ]
  const cells = (row: Row) => [
    row.plan,
    row.id ?? '',
    ...(runs ? [row.state] : []),
    row.started ? timeText(row.started) : '',
    row.seconds === undefined ? '' : spanText(row.seconds),
    row.bytes === undefined ? '' : sizeText(row.bytes),
    String(row.parts ?? ''),
    row.storages.join(', '),
    String(row.warnings ?? ''),
    ...(pins ? [row.pinned === undefined ? '' : row.pinned || 'yes'] : []),
    ...(why ? [whyText(row)] : []),
  ]
  return { columns, rows: rows.map(cells) }
}

/** Said once when it is the same everywhere. */
function whyText({ state, why = [] }: Row): string {
  if (state !== 'committed') return ''
  const texts = why.map(({ keep, reason }) => (keep ? reason : `goes: ${reason}`))
  const [first = 'another installation decides'] = texts
  if (texts.every((text) => text === first)) return first
  return why.map(({ storage }, i) => `${storage}: ${texts[i]}`).join('; ')
}
