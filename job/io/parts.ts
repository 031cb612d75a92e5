import type { Readable } from 'node:stream'
import { partKey } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import { type Part, suffixOf } from '../manifest.ts'
import { isMissing } from '../storage.ts'
import type { Content } from './content.ts'
import type { Copies, Destinations } from './destinations.ts'
import { contentIn } from './hash-aside.ts'
import { keyOf, type Source } from './keys.ts'
import { piecesOf } from './lending.ts'
import { refuseOther, store, verified } from './pipeline.ts'
import { unseal } from './seal.ts'
import { tap } from './tap.ts'
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
  /** Of zstd. */
  level?: number | undefined
  to: Destinations
  onBytes(bytes: number): void
}

/** One part in every storage. Bytes are counted before compression. */
export async function writePart(options: Write): Promise<Copies> {
  const { plan, id, path, data, size, plain, level, to, signal, onBytes } = options
  if (plain) {
    const known = size === undefined ? {} : { size }
    return store({ key: partKey(plan, id, path), path, data, ...known, to, signal, onBytes })
  }
  const tapped = tap(data, onBytes)
  const name = path + suffixOf({ codec: 'zstd' })
  const whole = () => {
    const content = tapped.result()
    if (size === undefined || content.size === size) return content
    throw new JobError('server', `${path} had ${content.size} bytes, not the ${size} that were said`)
  }
  return store({ key: partKey(plan, id, name), path: name, data: compress(tapped.stream, level), to, signal, whole })
}

/** What the part was made of; errors at its end when the stored bytes, or these, are not what the manifest says. */
export async function readPart(part: Part, from: From): Promise<Readable> {
  const stored = await openPart(part, from)
  const { where } = stored
  const { plain } = part
  const { onBytes } = from
  if (!plain) return unsealed(stored, part, onBytes)
  const opened = unsealed(stored, part)
  return verified(part.codec ? decompress(opened, where) : opened, { content: plain, where, onBytes })
}

/**
 * Reads what is stored to its end, and resolves to the bytes of what it was made of. Rejects when it is not what the manifest says, and of
 * what is encrypted, when it is not what somebody with the key sealed. It is not decompressed: the same bytes were made of the same data.
 */
export async function checkPart(part: Part, from: From): Promise<number> {
  const stored = await openPart(part, from)
  const onBytes = from.onBytes && inProportion(part, from.onBytes)
  if (stored.fileKey) for await (const _ of piecesOf(unsealed(stored, part, onBytes)));
  else refuseOther(await contentIn(stored.stream, { size: part.size, onBytes }), part, stored.where)
  return contentOf(part).size
}

interface From extends Backup {
  storage: Source
  /** Is told what passes, in bytes of what the part was made of. */
  onBytes?: ((bytes: number) => void) | undefined
}

/** Of bytes that are stored, those that they stand for. */
function inProportion(part: Part, onBytes: (bytes: number) => void): (bytes: number) => void {
  // what should be empty may have grown
  const share = part.size > 0 ? contentOf(part).size / part.size : 1
  let [stored, told] = [0, 0]
  return (bytes) => {
    stored += bytes
    const plain = Math.round(stored * share)
    onBytes(plain - told)
    told = plain
  }
}

interface Stored {
  stream: Readable
  fileKey: Buffer | undefined
  /** For errors. */
  where: string
}

async function openPart(part: Part, { plan, id, signal, storage }: From): Promise<Stored> {
  const fileKey = part.age && (await keyOf(part, { plan, id, storage, signal }))
  const stream = await storage.get(partKey(plan, id, part.path), { signal }).catch((error) => {
    if (!isMissing(error)) throw error
    throw new JobError('verification', `storage ${storage.name} has no ${part.path}`, {
      hint: 'the backup is damaged: restore another one',
    })
  })
  return { stream, fileKey, where: `${part.path} in storage ${storage.name}` }
}

/** Without what encryption made of it; errors at its end when it is not what was stored. */
function unsealed({ stream, fileKey, where }: Stored, part: Part, onBytes?: (bytes: number) => void): Readable {
  const sound = verified(stream, { content: part, where, onBytes })
  return fileKey ? unseal(sound, { fileKey, headerSize: part.age?.header.length ?? 0, where }) : sound
}

/** What was stored, whatever it is stored as: the same of all copies of a part. */
export function contentOf({ size, sha256, plain }: Part): Content {
  return plain ?? { size, sha256 }
}

/** The path that the engine gave it. */
export function ownPath(part: Pick<Part, 'path' | 'codec' | 'age'>): string {
  return part.path.slice(0, part.path.length - suffixOf(part).length)
}

/** A part as its engine knows it: nothing is said of what was done to it on the way. */
export function unwrapped(part: Part): Part {
  return { path: ownPath(part), ...contentOf(part) }
}
