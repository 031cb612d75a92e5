import { Readable } from 'node:stream'
import { JobError } from '../errors.ts'
import { lendingChunks } from '../io/lending.ts'
import type { Lender } from '../storage.ts'

export interface Guard {
  /** What is read, for errors. */
  what: string
  /** Bytes that must come; undefined where the server does not say. */
  expected: number | undefined
  /** How long the source may be silent while more is wanted of it; a slow consumer does not count. */
  stallMs?: number
  signal?: AbortSignal | undefined
  /** Makes a JobError of what the source fails with. */
  explain(error: unknown): unknown
}

/**
 * The same bytes, but every way not to get all of them is an error: a short end, a break, silence, an abort. The source's chunks must be
 * nobody else's.
 */
export function guarded(source: Readable, { what, expected, stallMs = 0, signal, explain }: Guard): Lender {
  let received = 0
  let timer: NodeJS.Timeout | undefined
  const stream = new Readable({
    // as `inPieces`, of what sockets give: 1 MiB
    objectMode: true,
    highWaterMark: 16,
    read() {
      expect()
      source.resume()
    },
    destroy(error, done) {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      source.destroy()
      done(error)
    },
  })
  const broken = (text: string) => stream.destroy(new JobError('storage', `${what}: ${text}`, { retryable: true }))
  const abort = () => void stream.destroy(signal?.reason)
  const expect = () => {
    clearTimeout(timer)
    if (stallMs > 0) timer = setTimeout(() => broken(`no data for ${stallMs / 1000} seconds`), stallMs)
  }

  source.on('data', (chunk: Buffer) => {
    received += chunk.length
    if (expected !== undefined && received > expected) return broken(`more than the ${expected} bytes announced`)
    if (stream.push(chunk)) return expect()
    clearTimeout(timer)
    return source.pause()
  })
  source.on('end', () => {
    clearTimeout(timer)
    if (expected === undefined || received === expected) stream.push(null)
    else broken(`ended after ${received} of ${expected} bytes`)
  })
  source.on('error', (error) => stream.destroy(explain(error) as Error))
  source.on('close', () => {
    if (!source.readableEnded && !stream.destroyed) broken(`broke off after ${received} of ${expected} bytes`)
  })
  source.pause()
  if (signal?.aborted) abort()
  else signal?.addEventListener('abort', abort, { once: true })
  return lendingChunks(stream)
}
