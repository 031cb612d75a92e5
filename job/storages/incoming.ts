import type { Readable } from 'node:stream'
import { JobError } from '../errors.ts'
import { piecesOf } from '../io/lending.ts'
import type { Body } from '../storage.ts'

/** A body as the stream that it is now. Its errors are kept for whoever reads it, even when it fails before. */
export function openBody(body: Body): Buffer | Readable {
  if (Buffer.isBuffer(body)) return body
  const stream = typeof body === 'function' ? body() : body
  stream.on('error', () => {})
  return stream
}

export interface Expectation {
  key: string
  size?: number | undefined
  signal?: AbortSignal | undefined
}

/**
 * The chunks of a body. Throws what the producer failed with as it is; a stream that was closed before its end, another
 * size than expected and an abort are errors too. However it ends, the stream is destroyed. A chunk is the caller's only
 * until it asks for the next.
 */
export async function* chunksOf(body: Buffer | Readable, { key, size, signal }: Expectation): AsyncGenerator<Buffer> {
  let received = 0
  const abort = () => {
    // without the reason: it did not fail by itself
    if (!Buffer.isBuffer(body)) body.destroy()
  }
  if (signal?.aborted) abort()
  else signal?.addEventListener('abort', abort, { once: true })
  try {
    for await (const chunk of sourceOf(body)) {
      signal?.throwIfAborted()
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Buffer)
      received += bytes.length
      if (size !== undefined && received > size) throw wrongSize(key, size, `more than ${size}`)
      if (bytes.length > 0) yield bytes
    }
    signal?.throwIfAborted()
  } catch (error) {
    signal?.throwIfAborted()
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error
    throw new JobError('storage', `the data for ${key} was cut off after ${received} bytes`, { cause: error })
  } finally {
    signal?.removeEventListener('abort', abort)
    if (!Buffer.isBuffer(body)) body.destroy()
  }
  requireSize(received, { key, size })
}

function sourceOf(body: Buffer | Readable): Iterable<Buffer> | AsyncIterable<unknown> {
  return Buffer.isBuffer(body) ? [body] : piecesOf(body)
}

/** Throws when a body has another size than the caller said. */
export function requireSize(received: number, { key, size }: Expectation): void {
  if (size !== undefined && received !== size) throw wrongSize(key, size, received)
}

function wrongSize(key: string, size: number, got: number | string): JobError {
  return new JobError('storage', `the data for ${key} should have ${size} bytes but has ${got}`)
}
