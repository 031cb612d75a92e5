import type { Readable } from 'node:stream'
import { partKey } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import type { Part } from '../manifest.ts'
import { isMissing, type Storage } from '../storage.ts'
import { store, tap, verified } from './pipeline.ts'
import { compress, decompress } from './zstd.ts'

/** Parts of one backup, as a coordinator or a worker writes and reads them. */
export interface Backup {
  plan: string
  id: string
  signal: AbortSignal
}

interface Write extends Backup {
  /** Path in the backup; a compressed part gets `.zst` behind it. */
  path: string
  data: Readable
  size?: number | undefined
  /** Stored as it is, for programs that read it in the storage. */
  plain?: boolean | undefined
  storages: Storage[]
  onBytes(bytes: number): void
}

const suffix = '.zst'

/** One part in every storage. Bytes are counted before compression. */
export async function writePart({
  plan,
  id,
  path,
  data,
  size,
  plain,
  storages,
  signal,
  onBytes,
}: Write): Promise<Part> {
  if (plain) {
    const known = size === undefined ? {} : { size }
    return store({ key: partKey(plan, id, path), path, data, ...known, storages, signal, onBytes })
  }
  const tapped = tap(data, onBytes)
  const name = path + suffix
  const part = await store({
    key: partKey(plan, id, name),
    path: name,
    data: compress(tapped.stream),
    storages,
    signal,
  })
  const whole = tapped.result()
  if (size !== undefined && whole.size !== size)
    throw new JobError('server', `${path} had ${whole.size} bytes, not the ${size} that were said`)
  return { ...part, codec: 'zstd', plain: whole }
}

/** What the part was made of; errors at its end when the stored bytes, or these, are not what the manifest says. */
export async function readPart(
  part: Part,
  { plan, id, signal, storage }: Backup & { storage: Pick<Storage, 'name' | 'get'> },
): Promise<Readable> {
  const where = `${part.path} in storage ${storage.name}`
  const stored = await storage.get(partKey(plan, id, part.path), { signal }).catch((error) => {
    if (!isMissing(error)) throw error
    throw new JobError('verification', `storage ${storage.name} has no ${part.path}`, {
      hint: 'the backup is damaged: restore another one',
    })
  })
  const sound = verified(stored, part, where)
  return part.plain ? verified(decompress(sound), part.plain, where) : sound
}

/** The path that the engine gave it. */
export function ownPath({ path, codec }: Pick<Part, 'path' | 'codec'>): string {
  return codec ? path.slice(0, -suffix.length) : path
}
