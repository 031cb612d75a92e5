import { pipeline } from 'node:stream/promises'
import { partKey, pathOf } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import type { Part } from '../manifest.ts'
import type { ExternalPlace, Storage } from '../storage.ts'
import { inParallel } from './parallel.ts'
import { store, tap } from './pipeline.ts'

/** The first storage that a database gets to by itself, and `prefix` as the database has to know it. */
export function externalPlace(storages: Storage[], prefix: string): { storage: Storage; place: ExternalPlace } {
  const storage = storages.find((one) => one.external !== undefined)
  const place = storage?.external?.(prefix)
  if (storage && place) return { storage, place }
  const names = storages.map(({ name }) => name).join(', ')
  throw new JobError('configuration', `the database reads and writes a bucket by itself, and ${names} is none`, {
    hint: 'name a storage of kind s3 that the database gets to, too',
  })
}

interface TakeIn {
  plan: string
  id: string
  /** Folder in the backup that another program wrote. */
  folder: string
  storage: Storage
  /** The plan's other storages: they get a copy. */
  others: Storage[]
  signal: AbortSignal
  onBytes(bytes: number): void
}

/** How many objects are read at once: a database may write thousands of small ones. */
const atOnce = 8

/** Nobody told us what is in the objects: they are read once, which hashes them and fills the other storages. */
export async function takeIn({ plan, id, folder, storage, others, signal, onBytes }: TakeIn): Promise<Part[]> {
  const found: { key: string; path: string; size: number }[] = []
  for await (const entry of storage.list(`${partKey(plan, id, folder)}/`)) {
    const path = pathOf(plan, id, entry.key)
    if (entry.kind === 'object' && path !== undefined) found.push({ key: entry.key, path, size: entry.size })
  }
  return inParallel(found, atOnce, async ({ key, path, size }) => {
    const data = await storage.get(key, { signal })
    const part =
      others.length > 0
        ? await store({ key, path, data, size, storages: others, signal, onBytes })
        : await counted(path, data)
    if (part.size === size) return part
    throw new JobError('storage', `${path} in storage ${storage.name} had ${size} bytes, ${part.size} were read`)
  })

  async function counted(path: string, data: Awaited<ReturnType<Storage['get']>>): Promise<Part> {
    const tapped = tap(data, onBytes)
    await pipeline(tapped.stream, async (chunks) => {
      for await (const _ of chunks) signal.throwIfAborted()
    })
    return { path, ...tapped.result() }
  }
}
