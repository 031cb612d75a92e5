import { open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import type { Lender } from '../storage.ts'
import { release } from './memory.ts'

/** Small enough to stay in the processor's cache from the read to the hash and the copy. */
export const loanBytes = 512 * 1024

/** What waits between two streams of bytes, at most. More is memory of every stream, and makes none faster. */
export const waitingBytes = 512 * 1024

/**
 * Settings of a stream that is read piece by piece: of one of bytes, all that waits is copied together for whoever iterates over it.
 * Not for `setEncoding` (io/text.ts).
 */
export const inPieces = { readableObjectMode: true, readableHighWaterMark: 2 }

/**
 * Makes a lender of loans; who reads it as a stream gets copies. What the loans are made `of` ends with it, even when nobody began to
 * read.
 */
export function lending(loans: AsyncGenerator<Buffer>, of?: Readable): Lender {
  const stream = Readable.from(copies(loans), { objectMode: false, highWaterMark: waitingBytes })
  // whoever reads the loans gets its errors, however late
  of?.on('error', () => {})
  stream.once('close', () => of?.destroy())
  return Object.assign(stream, { loans: () => loans })
}

async function* copies(loans: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  for await (const loan of loans) yield Buffer.from(loan)
}

/**
 * Makes a lender of a stream whose chunks nobody else has: their memory goes back as soon as they were used. What a pipe gives is 64 KiB
 * at a time, and the collector looks through everything again and again for its sake.
 */
export function lendingItsOwn(stream: Readable): Lender {
  return Object.assign(stream, { loans: () => released(stream) })
}

async function* released(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    yield chunk
    release(chunk)
  }
}

/** A file's bytes. While one loan is used, the next is read. */
export function fileStream(path: string, signal: AbortSignal): Lender {
  return lending(loansOf(path, signal))
}

async function* loansOf(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const file = await open(path)
  let [buffer, other] = [Buffer.allocUnsafeSlow(loanBytes), Buffer.allocUnsafeSlow(loanBytes)]
  let reading = file.read(buffer)
  try {
    for (;;) {
      const { bytesRead } = await reading
      signal.throwIfAborted()
      if (bytesRead === 0) return
      const loan = buffer.subarray(0, bytesRead)
      ;[buffer, other] = [other, buffer]
      reading = file.read(buffer)
      yield loan
    }
  } finally {
    await reading.catch(() => {})
    await file.close()
  }
}
