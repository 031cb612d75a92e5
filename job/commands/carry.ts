import { type Catalog, openCatalog } from '../catalog/catalog.ts'
import {
  bytesOf,
  folderKey,
  keysNumber,
  manifestKey,
  manifestPrefix,
  partKey,
  pathOf,
  siblingKey,
  startedKey,
} from '../catalog/layout.ts'
import { JobError, textOf } from '../errors.ts'
import { type Copy, openShelf, type Shelf } from '../io/copies.ts'
import { type Destinations, openDestinations } from '../io/destinations.ts'
import type { Sibling } from '../io/exported.ts'
import { inParallel } from '../io/parallel.ts'
import { readPart } from '../io/parts.ts'
import { store } from '../io/pipeline.ts'
import type { Part } from '../manifest.ts'
import { readAll } from '../storage.ts'
import { asStored, begin, bringerOf, bringKeys, claim, commit, isThere } from './bring.ts'
import { catalogOf } from './destinations.ts'
import type { Job } from './job.ts'
import type { Held } from './missing.ts'

/** So many parts are on their way at once. */
const partsAtOnce = 3

/** A run that was killed cannot say that it is over; it has long been when its backup was finished so many milliseconds ago. */
const graceMs = 15 * 60_000

interface Carrying {
  /** Whose manifest it will be. */
  source: Held
  /** All storages that have the backup: some of its parts may be the same there. */
  held: Held[]
  targets: Catalog[]
  /** Why a storage did not get it, by name. */
  failures: Map<string, unknown>
}

/** One backup to several storages: it is read once. Rejects when none of them gets it. */
export async function carry(job: Job, { source, held, targets: them, failures }: Carrying): Promise<void> {
  const targets = them.map(({ storage, plan }) => openCatalog({ storage: asStored(storage), plan }))
  const { manifest, bytes } = source
  const { plan, id, parts } = manifest
  const { signal } = job
  const to = openDestinations({
    storages: targets.map(({ storage }) => storage),
    signal,
    onDrop: ({ name }, error) => failures.set(name, error),
  })
  const shelf = openShelf({ plan, id, signal, warn: job.warn })
  const names = targets.map(({ storage }) => storage.name)
  job.log.info({ plan, backup: id, from: source.catalog.storage.name, to: names }, 'copy begun')
  job.progress.begin(`copy ${id}`, bytesOf(parts))
  try {
    const there = await to.each((one) => prepare(job, catalogOf({ catalogs: targets }, one), source))
    await inParallel(parts, partsAtOnce, async (part) => {
      const missing = to.only(({ storage }) => there.get(storage.name)?.get(part.path) !== part.size)
      if (missing.live().length > 0) await send({ job, source, held, shelf, part, to: missing })
    })
    await to.each(async (one) => {
      const catalog = catalogOf({ catalogs: targets }, one)
      await catalog.confirm(manifest, signal)
      await bringSiblings(job, source.catalog, { catalog, id })
      await commit(catalog, { manifest, bytes, signal })
      // a prune that took it for a leftover may have been at it
      await catalog.confirm(manifest, signal)
    })
  } catch (error) {
    for (const { storage } of to.live()) failures.set(storage.name, error)
    throw error
  } finally {
    job.progress.end()
    await tellFailed(job, { source, targets, failures })
  }
  const stored = to.live().map(({ storage }) => storage.name)
  job.log.info({ plan, backup: id, storages: stored, bytes: bytesOf(parts) }, 'backup copied')
}

/** Not in a folder that was not taken. */
async function tellFailed(job: Job, { source, targets, failures }: Omit<Carrying, 'held'>): Promise<void> {
  const { id } = source.manifest
  const run = bringerOf(source, 'copy')
  await Promise.all(
    targets.map(async (catalog) => {
      const error = failures.get(catalog.storage.name)
      if (error === undefined || (await catalog.started(id).catch(() => undefined))?.run !== run) return
      const kind = error instanceof JobError ? error.kind : 'bug'
      await catalog.fail(id, { reason: textOf(error), kind, finished: job.now().toISOString() })
    }),
  )
}

/** Takes the folder, but that of the backup itself, which has lost parts; resolves to the sizes of what an earlier try has brought. */
async function prepare(job: Job, catalog: Catalog, source: Held): Promise<Map<string, number>> {
  const { manifest } = source
  const { id } = manifest
  const run = bringerOf(source, 'copy')
  if (await isThere(catalog, source)) return sizesIn(catalog, id)
  const there = await catalog.started(id, job.signal)
  if (there && there.run !== run && (await isItsRun(job, source, there.run))) {
    if (await catalog.storage.head(manifestKey(catalog.plan, id)))
      throw new JobError('busy', `storage ${catalog.storage.name} got backup ${id} a moment ago`, {
        hint: 'run it again: it looks at what is there now',
      })
    await clear(catalog, id)
    await begin(job, catalog, { manifest, run })
    return new Map()
  }
  return (await claim(job, catalog, { manifest, run })) ? sizesIn(catalog, id) : new Map()
}

/** What lies there is of the very run that made the backup, which failed on this storage and is over. */
async function isItsRun(job: Job, { manifest: { id, finished }, catalog }: Held, run: string): Promise<boolean> {
  if ((await catalog.started(id, job.signal))?.run !== run) return false
  if (await catalog.missed(id, job.signal)) return true
  if (job.now().getTime() - Date.parse(finished) > graceMs) return true
  throw new JobError('busy', `the run of backup ${id} may still be writing it`, {
    hint: `try again in ${graceMs / 60_000} minutes`,
  })
}

/** What a failed run left may be stored in another way than what is going to come. Its started.json stays: the folder is ours. */
async function clear({ storage, plan }: Catalog, id: string): Promise<void> {
  const keys: string[] = []
  for await (const { key } of storage.list(folderKey(plan, id))) if (key !== startedKey(plan, id)) keys.push(key)
  if (keys.length > 0) await storage.delete(keys)
}

async function sizesIn({ storage, plan }: Catalog, id: string): Promise<Map<string, number>> {
  const sizes = new Map<string, number>()
  for await (const entry of storage.list(folderKey(plan, id)))
    if (entry.kind === 'object') sizes.set(pathOf(plan, id, entry.key) ?? '', entry.size)
  return sizes
}

interface Sending {
  job: Job
  source: Held
  held: Held[]
  shelf: Shelf
  part: Part
  to: Destinations
}

/** The stored bytes of one part, from the first storage that has them intact. */
async function send({ job, source, held, shelf, part, to }: Sending): Promise<void> {
  const { plan, id } = source.manifest
  const { path, size } = part
  const { signal } = job
  const failure = await shelf.use(copiesOf([source, ...held.filter((one) => one !== source)], part), async (copy) => {
    const data = await readPart(copy.part, { plan, id, signal, storage: copy.storage })
    const onBytes = (bytes: number) => job.progress.add(copy.storage.name, bytes)
    try {
      await store({ key: partKey(plan, id, path), path, data, size, to, signal, onBytes })
      return undefined
    } catch (error) {
      if (isBroken(data)) throw error
      return { error }
    }
  })
  if (failure) throw failure.error
}

/** By itself, and not because nobody wanted the rest. */
function isBroken({ errored }: { errored: Error | null }): boolean {
  return errored !== null && (errored as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE'
}

/** As stored bytes: whatever they were made of, they are copied as they are. */
function copiesOf(held: Held[], { path, size, sha256 }: Part): Copy[] {
  return held.flatMap(({ catalog: { storage }, manifest }) => {
    const same = manifest.parts.some((part) => part.path === path && part.sha256 === sha256)
    return same ? [{ storage, part: { path, size, sha256 } }] : []
  })
}

/** Its keys for newer recipients, and its pin: later facts that are true of every copy. */
async function bringSiblings(
  job: Job,
  { storage, plan }: Catalog,
  to: { catalog: Catalog; id: string },
): Promise<void> {
  const { signal } = job
  const files: Sibling[] = []
  const pin = siblingKey(plan, to.id, 'pin')
  for await (const { key } of storage.list(manifestPrefix(plan, to.id), { delimiter: '/' })) {
    const isKeys = keysNumber(plan, to.id, key) !== undefined
    if (!isKeys && key !== pin) continue
    const bytes = await readAll(storage, key, signal)
    if (isKeys) files.push({ key, bytes })
    else await to.catalog.storage.put(key, bytes, { size: bytes.length, signal, unlocked: true })
  }
  await bringKeys(to.catalog, { id: to.id, files, signal })
}
