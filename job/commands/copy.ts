import type { Catalog } from '../catalog/catalog.ts'
import { bytesOf, siblingKey } from '../catalog/layout.ts'
import { exitCodeOf, JobError, textOf } from '../errors.ts'
import { type Result, sizeText } from '../io/print.ts'
import type { Manifest } from '../manifest.ts'
import { readAll } from '../storage.ts'
import { bringKeys } from './bring.ts'
import { carry } from './carry.ts'
import { askEach, failureOf, trustOf, type Unreachable } from './catalogs.ts'
import { type CopyOptions, type CopyRequest, copyRequestOf } from './copy-request.ts'
import { holding } from './hold.ts'
import { fillingOf, type Unjudged, unjudgedIn } from './hollow.ts'
import type { Job } from './job.ts'
import { fitting, type Held, heldBackup, type Late, lateKeysIn, missingIn, wantedOf } from './missing.ts'

/** One backup that a storage did not have; also what `--output json` gives. */
export interface Copied {
  backup: string
  to: string
  parts: number
  bytes: number
  /** It was there, and lacked so many files of keys that `rewrap` wrote elsewhere. */
  keys?: number
  /** Why it does not have it now, either, or not whole. */
  failed?: string
  /** It has the backup, but not whole. */
  hollow?: true
}

/**
 * Brings backups to storages that do not have them, from those that do. Stored bytes are copied as they are, and checked on their way; the
 * manifest comes last. What cannot be copied does not keep the others from it.
 */
export async function copy(job: Job, options: CopyOptions): Promise<Result> {
  const request = copyRequestOf(job.config, options)
  const { plan, from, to } = request
  const names = [...new Set([...from, ...to])]
  const trust = trustOf(job.config, plan)
  const { answers, unreachable } = await askEach({ job, plan, storages: names, trust }, async (catalog) => {
    return { catalog, ids: await catalog.ids() }
  })
  const seen = new Map(answers.map(({ storage, answer }) => [storage, answer]))
  if (!from.some((name) => seen.has(name))) throw failureOf(unreachable)
  const wanted = await wantedOf({ job, request, seen })
  const missing = await missingIn({ job, request, seen, wanted })
  const unjudged = await unjudgedIn({ job, request, seen, wanted })
  const rows = unjudged.map(unjudgedRow)
  const errors: unknown[] = unjudged.map(({ error }) => error)
  const sources = from.flatMap((name) => seen.get(name)?.catalog ?? [])
  const dryRun = options.dryRun ?? false
  for (const { id, targets: names, hollow } of missing) {
    const targets = names.map((name) => seen.get(name)?.catalog as Catalog)
    const outcome = await copyBackup(job, { request, id, sources, targets, hollow, dryRun })
    rows.push(...outcome.rows)
    errors.push(...outcome.errors)
  }
  for (const late of lateKeysIn({ request, seen })) {
    const outcome = await copyKeys(job, { late, dryRun })
    rows.push(...outcome.rows)
    errors.push(...outcome.errors)
  }
  return result({ request, rows, unreachable, dryRun, failure: failed(rows, errors, unreachable) })
}

interface Backup {
  request: CopyRequest
  id: string
  sources: Catalog[]
  targets: Catalog[]
  /** Names of those targets that have it, and have lost parts of it. */
  hollow: readonly string[]
  dryRun: boolean
}

function unjudgedRow({ id, to, error }: Unjudged): Copied {
  const hollow = error.kind === 'verification' ? { hollow: true as const } : {}
  return { backup: id, to, parts: 0, bytes: 0, failed: textOf(error), ...hollow }
}

/** Of those that nobody asked for by name, one that a prune has removed meanwhile is missing nowhere. */
async function copyBackup(job: Job, { request, id, sources, targets, hollow, dryRun }: Backup) {
  const failures = new Map<string, unknown>()
  let held: Held[] = []
  try {
    held = await heldBackup(job, { id, catalogs: sources })
    if (!dryRun) await copyOne(job, { request, id, held, targets, hollow, failures })
  } catch (error) {
    job.signal.throwIfAborted()
    if (exitCodeOf(error) === 1) throw error
    for (const { storage } of targets) failures.set(storage.name, error)
  }
  const isGone = (to: string) => request.pick === undefined && kindOf(failures.get(to)) === 'nothing-matches'
  const names = targets.map(({ storage }) => storage.name).filter((to) => !isGone(to))
  const rows = names.map((to) => rowOf({ id, parts: held[0]?.manifest.parts ?? [] }, { to, failures, hollow }))
  return { rows, errors: names.flatMap((to) => failures.get(to) ?? []) }
}

/** Only between the same bytes: storages that encrypted by themselves have keys of their own. */
async function copyKeys(job: Job, { late: { id, source, target, words }, dryRun }: { late: Late; dryRun: boolean }) {
  const { signal } = job
  const row = { backup: id, to: target.storage.name, parts: 0, bytes: 0, keys: words.length }
  try {
    const manifests = [await source.manifest(id, signal), await target.manifest(id, signal)]
    const [theirs, ours] = manifests.map(({ parts }) => parts.map(({ path, sha256 }) => `${sha256} ${path}`))
    if (new Set(theirs).symmetricDifference(new Set(ours)).size > 0) return { rows: [], errors: [] }
    const files = words.map((word) => siblingKey(source.plan, id, word))
    const read = files.map(async (key) => ({ key, bytes: await readAll(source.storage, key, signal) }))
    const keys = dryRun ? words.length : await bringKeys(target, { id, files: await Promise.all(read), signal })
    return { rows: keys > 0 ? [{ ...row, keys }] : [], errors: [] }
  } catch (error) {
    signal.throwIfAborted()
    if (exitCodeOf(error) === 1) throw error
    return { rows: [{ ...row, failed: textOf(error) }], errors: [error] }
  }
}

interface Copying {
  request: CopyRequest
  held: Held[]
  targets: Catalog[]
  /** Why a storage did not get it, by name. */
  failures: Map<string, unknown>
}

/** What several storages can take as it is, is read once for all of them. */
async function copyOne(
  job: Job,
  { request, id, held, targets, hollow, failures }: Copying & Pick<Backup, 'id' | 'hollow'>,
): Promise<void> {
  const groups = new Map<Held, Catalog[]>()
  for (const target of targets) {
    try {
      if (hollow.includes(target.storage.name)) {
        const filling = await fillingOf(job, { id, held, target })
        await copyFrom(job, { request, ...filling, targets: [target], failures })
        continue
      }
      const source = await fitting(job, held, target)
      groups.set(source, [...(groups.get(source) ?? []), target])
    } catch (error) {
      job.signal.throwIfAborted()
      if (exitCodeOf(error) === 1) throw error
      failures.set(target.storage.name, error)
    }
  }
  for (const [source, group] of groups) await copyFrom(job, { request, source, held, targets: group, failures })
}

interface CopyingFrom extends Copying {
  source: Held
}

async function copyFrom(job: Job, { request, source, held, targets, failures }: CopyingFrom): Promise<void> {
  const { id, plan } = source.manifest
  const { by, seconds } = request
  const catalogs = held.map(({ catalog }) => catalog)
  job.about({ plan, id })
  try {
    await holding({ job, catalogs, id, by, seconds }, () => carry(job, { source, held, targets, failures }))
  } catch (error) {
    job.signal.throwIfAborted()
    if (exitCodeOf(error) === 1) throw error
    for (const { storage } of targets) if (!failures.has(storage.name)) failures.set(storage.name, error)
  }
}

function rowOf(
  { id, parts }: Pick<Manifest, 'id' | 'parts'>,
  { to, failures, hollow }: { to: string; failures: Map<string, unknown>; hollow: readonly string[] },
): Copied {
  const why = failures.has(to) ? { failed: textOf(failures.get(to)) } : undefined
  const failed = why && { ...why, ...(hollow.includes(to) ? { hollow: true as const } : {}) }
  return { backup: id, to, parts: parts.length, bytes: bytesOf(parts), ...failed }
}

function failed(rows: Copied[], errors: unknown[], unreachable: readonly Unreachable[]): unknown {
  const texts = rows.flatMap((row) => (row.failed ? [`${lackText(row)}: ${row.failed}`] : []))
  if (texts.length === 0) return failureOf(unreachable)
  const [first] = errors
  const kind = kindOf(first) ?? 'storage'
  const hint = first instanceof JobError ? first.hint : undefined
  return new JobError(kind, texts.join('; '), { hint: hint ?? 'run it again: it goes on where it stopped' })
}

function lackText({ backup, to, keys, hollow }: Copied): string {
  if (keys) return `keys of backup ${backup} are not on ${to}`
  return `backup ${backup} is not ${hollow ? 'whole ' : ''}on ${to}`
}

function kindOf(error: unknown) {
  return error instanceof JobError ? error.kind : undefined
}

interface Done {
  request: CopyRequest
  rows: Copied[]
  unreachable: readonly Unreachable[]
  dryRun: boolean
  failure: unknown
}

function result({ request: { plan }, rows, unreachable, dryRun, failure }: Done): Result {
  const silent = [...new Set(unreachable.map(({ storage }) => storage))].join(', ')
  const nothing = silent
    ? `nothing is missing in the storages that answered; nobody knows of ${silent}`
    : 'nothing is missing'
  const outcome = ({ keys, failed }: Copied) =>
    [keys ? 'keys ' : '', failed ? `FAILED: ${failed}` : dryRun ? 'missing' : 'copied'].join('')
  return {
    data: { plan, copies: rows },
    table: {
      columns: ['backup', 'to', { title: 'parts', right: true }, { title: 'size', right: true }, 'result'],
      rows: rows.map((row) => [row.backup, row.to, String(row.parts), sizeText(row.bytes), outcome(row)]),
    },
    notes: [...(rows.length === 0 ? [nothing] : []), ...(dryRun ? ['dry run: nothing was written'] : [])],
    failure,
  }
}
