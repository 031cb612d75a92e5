import type { Catalog, Ids } from '../catalog/catalog.ts'
import { byAge } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import { keysFiles } from '../io/keys.ts'
import type { Manifest } from '../manifest.ts'
import { isMissing } from '../storage.ts'
import type { CopyRequest } from './copy-request.ts'
import type { Job } from './job.ts'
import { planFor, whenReadable } from './retained.ts'

/** A backup as a storage has it. */
export interface Held {
  catalog: Catalog
  manifest: Manifest
  /** The manifest as it is stored. */
  bytes: Buffer
}

/** What a storage that answers has. */
interface Seen {
  catalog: Catalog
  ids: Ids
}

export interface Looking {
  job: Job
  request: CopyRequest
  seen: ReadonlyMap<string, Seen>
  /** What was asked for; absent: all. */
  wanted: readonly string[] | undefined
}

/** A backup, and the storages that are to get it. */
export interface Missing {
  id: string
  targets: string[]
  /** Those of them that have it, and have lost parts of it. */
  hollow: string[]
}

/** What is missing where, the newest first: it is needed most. */
export async function missingIn({ job, request, seen, wanted }: Looking): Promise<Missing[]> {
  const sources = request.from.flatMap((name) => seen.get(name) ?? [])
  const there = new Set(sources.flatMap(({ ids }) => ids.committed))
  const missing = new Map<string, Missing>()
  for (const name of request.to) {
    const target = seen.get(name)
    if (!target) continue
    const lacks = [...(wanted ?? there)].filter((id) => !target.ids.committed.includes(id))
    const hollow = wanted ? await hollowIn(job, target, wanted) : []
    const kept = wanted ? [...lacks, ...hollow] : await worthwhile(job, { request, target, lacks, sources })
    for (const id of kept) {
      const known = missing.get(id) ?? { id, targets: [], hollow: [] }
      known.targets.push(name)
      if (hollow.includes(id)) known.hollow.push(name)
      missing.set(id, known)
    }
  }
  return [...missing.values()].sort((a, b) => byAge(b.id, a.id))
}

/** Those asked for that are there, but have lost parts. */
async function hollowIn(job: Job, { catalog, ids }: Seen, wanted: readonly string[]): Promise<string[]> {
  const hollow: string[] = []
  for (const id of wanted.filter((one) => ids.committed.includes(one))) {
    const manifest = await whenReadable(catalog.manifest(id, job.signal))
    if (!manifest) continue
    const { problems } = await catalog.verify(manifest, { level: 'present', signal: job.signal })
    if (problems.length > 0) hollow.push(id)
  }
  return hollow
}

/** Where a backup is already, but lacks keys that `rewrap` wrote for it elsewhere since. */
export interface Late {
  id: string
  source: Catalog
  target: Catalog
  words: string[]
}

export function lateKeysIn({ request: { from, to, pick }, seen }: Pick<Looking, 'request' | 'seen'>): Late[] {
  const each = (names: string[]) => names.flatMap((name) => seen.get(name) ?? [])
  return each(to).flatMap((target) =>
    each(from).flatMap((source) => {
      const ids = target.ids.committed.filter((id) => pick === undefined || String(pick) === id)
      return ids.flatMap((id) => {
        const known = target.ids.keys.get(id) ?? []
        const words = (source.ids.keys.get(id) ?? []).filter((word) => !known.includes(word))
        const isLate = words.length > 0 && source.ids.committed.includes(id)
        return isLate ? [{ id, source: source.catalog, target: target.catalog, words }] : []
      })
    }),
  )
}

/** What a request asks for, the newest that matches in any of the storages; undefined when it asks for all. */
export async function wantedOf({
  job,
  request: { from, pick },
  seen,
}: Omit<Looking, 'wanted'>): Promise<string[] | undefined> {
  if (pick === undefined) return undefined
  const sources = from.flatMap((name) => seen.get(name) ?? [])
  const errors: unknown[] = []
  const ids: string[] = []
  for (const { catalog } of sources) {
    try {
      ids.push((await catalog.find({ pick, signal: job.signal })).id)
    } catch (error) {
      job.signal.throwIfAborted()
      errors.push(error)
    }
  }
  const newest = ids.sort(byAge).at(-1)
  if (newest === undefined) throw errors[0]
  return [newest]
}

/** Without those that the next prune of the storage would remove again: pins come along with what they guard. */
async function worthwhile(
  job: Job,
  {
    request: { values },
    target,
    lacks,
    sources,
  }: { request: CopyRequest; target: Seen; lacks: string[]; sources: Seen[] },
): Promise<string[]> {
  if (!values || lacks.length === 0) return lacks
  const { catalog, ids } = target
  const committed = [...ids.committed, ...lacks].sort(byAge)
  const read = async (id: string) => {
    const from = [target, ...sources].find((one) => one.ids.committed.includes(id)) ?? target
    return from.catalog.manifest(id, job.signal)
  }
  const { remove } = await planFor(job, catalog, { ids: { ...ids, committed }, values, read })
  const isPinned = (id: string) => sources.some((one) => one.ids.guards.get(id)?.includes('pin'))
  return lacks.filter((id) => isPinned(id) || !remove.some((one) => one.id === id))
}

/** The backup in all storages that have it. Throws when none has. */
export async function heldBackup(job: Job, { id, catalogs }: { id: string; catalogs: Catalog[] }): Promise<Held[]> {
  const held: Held[] = []
  const errors: unknown[] = []
  for (const catalog of catalogs) {
    try {
      held.push({ catalog, ...(await catalog.stored(id, job.signal)) })
    } catch (error) {
      job.signal.throwIfAborted()
      if (!isMissing(error)) errors.push(error)
    }
  }
  if (held.length > 0) return held
  throw errors[0] ?? new JobError('nothing-matches', `backup ${id} was removed a moment ago`)
}

/** The first that can be taken as it is: what a storage encrypts must be encrypted for those that it encrypts for, at first or by `rewrap`. */
export async function fitting(job: Job, held: readonly Held[], { storage }: Catalog): Promise<Held> {
  const { recipients } = storage.encryption ?? {}
  for (const one of held) if (!recipients || (await opensFor(job, one, recipients))) return one
  const [{ manifest, catalog }] = held as [Held]
  const isPlain = manifest.parts.some(({ age }) => !age)
  throw new JobError(
    'configuration',
    `storages.${storage.name}.encryption: backup ${manifest.id} of storage ${catalog.storage.name} is not encrypted for the same recipients, and is copied as it is`,
    {
      hint: isPlain
        ? 'give both storages the same recipients before the next backup; older ones stay where they are'
        : `give both storages the same recipients; holdfast rewrap ${manifest.plan} gives older backups to them`,
    },
  )
}

/** Whoever can write to the storage can say what he likes of a file of keys; nobody can read more by that than he could before. */
async function opensFor(job: Job, { catalog, manifest }: Held, recipients: readonly string[]): Promise<boolean> {
  const { plan, id, parts } = manifest
  if (parts.every(({ age }) => isFor(age?.recipients ?? [], recipients))) return true
  if (parts.some(({ age }) => !age)) return false
  const files = await keysFiles({ plan, id, storage: catalog.storage, signal: job.signal })
  return files.some((file) => isFor(file.recipients, recipients) && parts.every(({ path }) => file.headers[path]))
}

/** The same recipients, in whatever order. */
export function isFor(some: readonly string[], others: readonly string[]): boolean {
  return new Set(some).symmetricDifference(new Set(others)).size === 0
}
