import { Readable } from 'node:stream'
import { JobError } from '../errors.ts'
import { madeOf, piecesOf } from '../io/lending.ts'
import type { Body, GetOptions, Listed, PutOptions, Storage } from '../storage.ts'
import { backoff, type Pacing, realPacing } from './backoff.ts'

export interface RetryOptions {
  /** How often to try, the first time included. */
  attempts?: number
  pacing?: Pacing
}

/**
 * The same storage, but what failed and may succeed later is done again: whole bodies are put again, streams of a get
 * and lists go on where they broke off. A body that can be read only once is the storage's own concern.
 */
export function retrying(storage: Storage, { attempts = 6, pacing = realPacing }: RetryOptions = {}): Storage {
  /** Waits before the next attempt, or throws what made the last one fail. */
  async function recover(error: unknown, attempt: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    if (!(error instanceof JobError && error.retryable) || attempt >= attempts) throw error
    await pacing.pause(backoff(attempt, pacing.random), signal).catch((stopped) => {
      signal?.throwIfAborted()
      throw stopped
    })
  }

  async function again<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work()
      } catch (error) {
        await recover(error, attempt, signal)
      }
    }
  }

  const { writable } = storage

  async function put(key: string, body: Body, options: PutOptions) {
    if (body instanceof Readable) return await storage.put(key, body, options)
    return await again(() => storage.put(key, body, options), options.signal)
  }

  async function get(key: string, options: GetOptions = {}): Promise<Readable> {
    const first = await again(() => storage.get(key, options), options.signal)
    const stream = madeOf(first, goOn(key, first, options))
    // an abort may come before anybody reads, or when the reader has let go: who reads is told all the same
    return stream.on('error', () => {})
  }

  async function* goOn(key: string, first: Readable, { range, signal }: GetOptions): AsyncGenerator<Buffer> {
    const start = range?.start ?? 0
    let source = first
    let received = 0
    for (let attempt = 1; ; ) {
      try {
        for await (const chunk of piecesOf(source)) {
          received += chunk.length
          attempt = 1
          yield chunk
        }
        return
      } catch (error) {
        await recover(error, attempt++, signal)
      } finally {
        source.destroy()
      }
      if (range?.end !== undefined && start + received > range.end) return
      const rest = { start: start + received, ...(range?.end === undefined ? {} : { end: range.end }) }
      if (received > 0 && (await again(() => storage.head(key), signal))?.size === rest.start) return
      source = await again(
        () => storage.get(key, { ...(received > 0 || range ? { range: rest } : {}), ...(signal ? { signal } : {}) }),
        signal,
      )
    }
  }

  async function* list(prefix: string, options?: { delimiter?: string }): AsyncIterable<Listed> {
    let last: Buffer | undefined
    for (let attempt = 1; ; ) {
      try {
        for await (const entry of storage.list(prefix, options)) {
          const key = Buffer.from(entry.key)
          if (last && Buffer.compare(key, last) <= 0) continue
          last = key
          attempt = 1
          yield entry
        }
        return
      } catch (error) {
        await recover(error, attempt++)
      }
    }
  }

  return {
    name: storage.name,
    features: storage.features,
    put,
    get,
    head: (key) => again(() => storage.head(key)),
    list,
    ...(writable ? { writable: (prefix: string) => again(() => writable(prefix)) } : {}),
    delete: (keys) => again(() => storage.delete(keys)),
    ...(storage.external ? { external: storage.external } : {}),
    close: () => storage.close(),
  }
}
