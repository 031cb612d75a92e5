import { JobError } from '../errors.ts'
import type { BufferPool } from './buffers.ts'

/** What a server does for an upload. Every call tries again by itself what is worth it. */
export interface UploadTarget<Sent> {
  putWhole(bytes: Buffer, signal: AbortSignal | undefined): Promise<void>
  begin(signal: AbortSignal): Promise<string>
  /** `signal` ends the attempts, `cut` the one under way too. */
  sendPart(id: string, part: { number: number; bytes: Buffer; signal: AbortSignal; cut: AbortSignal }): Promise<Sent>
  complete(id: string, whole: { parts: Sent[]; size: number; signal: AbortSignal }): Promise<void>
  /** Has a time limit of its own. */
  abort(id: string): Promise<void>
}

export interface Upload<Sent> {
  key: string
  target: UploadTarget<Sent>
  /** The data; ends with an error when the signal aborts. A chunk is used only until the next is asked for. */
  read(signal: AbortSignal): AsyncIterable<Buffer>
  pool: BufferPool
  partSize: number
  /** How long parts under way may still take when the upload has failed. */
  graceMs: number
  signal?: AbortSignal | undefined
}

interface Piece {
  bytes: Buffer
  isLast: boolean
  /** The bytes are not used any more. */
  release(): void
}

/** Of one object, by the protocol. */
export const maxParts = 10_000
/** Streams up to this size take nothing from the pool. */
const smallSize = 512 * 1024

/**
 * Sends a stream as one object, in parts when it is larger than one, and resolves to its bytes. Whole or not at all:
 * on any failure the upload is removed and the first error is thrown. Parts under way are first left to finish for a
 * moment: what a server receives while it removes the upload may stay in it.
 */
export async function upload<Sent>({
  key,
  target,
  read,
  pool,
  partSize,
  graceMs,
  signal,
}: Upload<Sent>): Promise<number> {
  const stop = new AbortController()
  const cut = new AbortController()
  const abort = () => stop.abort(signal?.reason)
  let grace: NodeJS.Timeout | undefined
  stop.signal.addEventListener('abort', () => {
    grace = setTimeout(() => cut.abort(stop.signal.reason), graceMs)
  })
  const sending = new Set<Promise<void>>()
  const parts: Sent[] = []
  let id: string | undefined
  let number = 0
  let size = 0
  if (signal?.aborted) abort()
  else signal?.addEventListener('abort', abort, { once: true })

  async function send(uploadId: string, piece: Piece, partNumber: number): Promise<void> {
    try {
      parts[partNumber - 1] = await target.sendPart(uploadId, {
        number: partNumber,
        bytes: piece.bytes,
        signal: stop.signal,
        cut: cut.signal,
      })
    } catch (error) {
      stop.abort(error)
    } finally {
      piece.release()
    }
  }

  async function begin(piece: Piece): Promise<string> {
    try {
      if (number > maxParts) throw tooLarge(key, partSize)
      return id ?? (await target.begin(stop.signal))
    } catch (error) {
      piece.release()
      throw error
    }
  }

  try {
    for await (const piece of piecesOf(read(stop.signal), { pool, partSize, signal: stop.signal })) {
      size += piece.bytes.length
      number += 1
      if (piece.isLast && id === undefined) {
        await target.putWhole(piece.bytes, stop.signal).finally(piece.release)
        return size
      }
      id = await begin(piece)
      const work = send(id, piece, number).finally(() => sending.delete(work))
      sending.add(work)
    }
    await Promise.all(sending)
    stop.signal.throwIfAborted()
    await target.complete(id as string, { parts, size, signal: stop.signal })
    return size
  } catch (error) {
    stop.abort(error)
    await Promise.all(sending)
    if (id !== undefined) await target.abort(id).catch(() => {})
    throw stop.signal.reason
  } finally {
    clearTimeout(grace)
    signal?.removeEventListener('abort', abort)
  }
}

/** Fills buffers of one size. The last piece is told from the others, and comes even when there is no data. */
async function* piecesOf(
  chunks: AsyncIterable<Buffer>,
  { pool, partSize, signal }: { pool: BufferPool; partSize: number; signal: AbortSignal },
): AsyncGenerator<Piece> {
  let small: Buffer[] | undefined = []
  let length = 0
  let buffer: Buffer | undefined
  const handOver = (isLast: boolean): Piece => {
    const whole = buffer as Buffer
    const piece = { bytes: whole.subarray(0, length), isLast, release: () => pool.give(whole) }
    buffer = undefined
    length = 0
    return piece
  }
  try {
    for await (const chunk of chunks) {
      if (small && length + chunk.length <= Math.min(smallSize, partSize)) {
        small.push(Buffer.from(chunk))
        length += chunk.length
        continue
      }
      if (small) {
        buffer = await pool.take(partSize, signal)
        Buffer.concat(small).copy(buffer)
        small = undefined
      }
      for (let at = 0; at < chunk.length; ) {
        if (buffer && length === partSize) yield handOver(false)
        buffer ??= await pool.take(partSize, signal)
        const copied = chunk.copy(buffer, length, at)
        length += copied
        at += copied
      }
    }
    yield small ? { bytes: Buffer.concat(small), isLast: true, release: () => {} } : handOver(true)
  } finally {
    if (buffer) pool.give(buffer)
  }
}

export function tooLarge(key: string, partSize: number): JobError {
  const limit = Math.floor((maxParts * partSize) / 2 ** 30)
  return new JobError('storage', `${key} is larger than ${maxParts} parts of ${partSize / 2 ** 20} MiB`, {
    hint: `cut the stream at ${limit} GiB, or tell its size, or raise partSizeMiB`,
  })
}
