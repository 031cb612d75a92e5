import { open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { isLender, type Lender } from '../storage.ts'
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
  return lender({ stream: copies(loans), loans, of })
}

/** Likewise of chunks that nobody else has: who reads a stream may keep them, and those that were lent give their memory back. */
export function lendingItsOwn(chunks: AsyncGenerator<Buffer>, of?: Readable): Lender {
  return lender({ stream: kept(chunks), loans: released(chunks), of })
}

interface Lending {
  stream: AsyncGenerator<Buffer>
  loans: AsyncGenerator<Buffer>
  of: Readable | undefined
}

/**
 * A stream that nobody reads is closed at once, also while the loans are read: a generator of its own waits for nothing. What is wrong
 * with the loans is its error, too: by that others tell who failed.
 */
function lender({ stream: chunks, loans, of }: Lending): Lender {
  const stream = Readable.from(chunks, { objectMode: false, highWaterMark: waitingBytes })
  // whoever reads the loans gets the errors, however late
  of?.on('error', () => {})
  stream.once('close', () => of?.destroy())
  async function* lent(): AsyncGenerator<Buffer> {
    try {
      yield* loans
    } catch (error) {
      stream.on('error', () => {}).destroy(error as Error)
      throw error
    }
  }
  return Object.assign(stream, { loans: lent })
}

async function* copies(loans: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  for await (const loan of loans) yield Buffer.from(loan)
}

async function* kept(chunks: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  yield* chunks
}

/** A stream of what is made of another one's pieces: it lends where that one does, and ends it. */
export function madeOf(source: Readable, pieces: AsyncGenerator<Buffer>): Readable {
  if (isLender(source)) return lending(pieces, source)
  const stream = Readable.from(pieces, { objectMode: false, highWaterMark: waitingBytes })
  source.on('error', () => {})
  return stream.once('close', () => source.destroy())
}

/** What a stream has, in loans where it lends. */
export function piecesOf(stream: Readable): AsyncIterable<Buffer> {
  return isLender(stream) ? stream.loans() : stream
}

/**
 * Makes a lender of a stream whose chunks nobody else has: their memory goes back as soon as they were used. What a pipe gives is 64 KiB
 * at a time, and the collector looks through everything again and again for its sake.
 */
export function lendingChunks(stream: Readable): Lender {
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
