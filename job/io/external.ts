import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { partKey, pathOf } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import type { ExternalPlace, Storage } from '../storage.ts'
import type { Content } from './content.ts'
import type { Copies, Destinations } from './destinations.ts'
import { inParallel } from './parallel.ts'
import { contentOf } from './parts.ts'
import { store } from './pipeline.ts'
import { tap } from './tap.ts'

/** A storage, and whether what the database reads or writes there is encrypted by us. */
export interface Candidate {
  storage: Storage
  encrypted: boolean
}

/** The first storage that a database gets to by itself, and `prefix` as the database has to know it. */
export function externalPlace(candidates: Candidate[], prefix: string): { storage: Storage; place: ExternalPlace } {
  const open = candidates.filter(({ encrypted }) => !encrypted)
  const { storage } = open.find((one) => one.storage.external !== undefined) ?? {}
  const place = storage?.external?.(prefix)
  if (storage && place) return { storage, place }
  const names = candidates.map((one) => one.storage.name).join(', ')
  if (candidates.some((one) => one.storage.external !== undefined))
    throw new JobError(
      'configuration',
      `the database reads and writes a bucket by itself, and what lies in ${names} is encrypted`,
      { hint: 'name a storage without encryption for it; another one beside it gets an encrypted copy' },
    )
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
  to: Destinations
  signal: AbortSignal
  onBytes(bytes: number): void
}

/** How many objects are read at once: a database may write thousands of small ones. */
const atOnce = 8

/** Nobody told us what is in the objects: they are read once, which hashes them and fills the other storages. */
export async function takeIn({ plan, id, folder, storage, to, signal, onBytes }: TakeIn): Promise<Copies[]> {
  const found: { key: string; path: string; size: number }[] = []
  for await (const entry of storage.list(`${partKey(plan, id, folder)}/`)) {
    const path = pathOf(plan, id, entry.key)
    if (entry.kind === 'object' && path !== undefined) found.push({ key: entry.key, path, size: entry.size })
  }
  const others = to.only((destination) => destination.storage !== storage)
  return inParallel(found, atOnce, async ({ key, path, size }): Promise<Copies> => {
    const data = () => storage.get(key, { signal })
    const copies =
      others.live().length > 0
        ? await store({ key, path, data: await data(), size, to: others, signal, onBytes })
        : new Map()
    const [copied] = copies.values()
    // nobody else took it
    const part = { path, ...(copied ? contentOf(copied) : await counted(await data())) }
    if (part.size !== size)
      throw new JobError('storage', `${path} in storage ${storage.name} had ${size} bytes, ${part.size} were read`)
    return new Map([[storage.name, part], ...copies])
  })

  async function counted(data: Readable): Promise<Content> {
    const tapped = tap(data, onBytes)
    await pipeline(tapped.stream, async (chunks) => {
      for await (const _ of chunks) signal.throwIfAborted()
    })
    return tapped.result()
  }
}
