import type { Readable } from 'node:stream'
import { madeOf, piecesOf } from '../io/lending.ts'
import type { Pace } from '../io/pace.ts'
import type { Body, GetOptions, PutOptions, Storage } from '../storage.ts'

/**
 * The same storage, but bytes go to it and come from it at a pace. Small objects that are in memory, such as a manifest, are counted but
 * never wait: they say what became of a run. What a storage sends again by itself is not counted.
 */
export function limited(storage: Storage, pace: Pace): Storage {
  async function put(key: string, body: Body, options: PutOptions) {
    if (Buffer.isBuffer(body)) {
      pace.charge(body.length)
      return storage.put(key, body, options)
    }
    const slow = (stream: Readable) => paced(stream, pace, options.signal)
    return storage.put(key, typeof body === 'function' ? () => slow(body()) : slow(body), options)
  }

  async function get(key: string, options: GetOptions = {}): Promise<Readable> {
    return paced(await storage.get(key, options), pace, options.signal)
  }

  return { ...storage, put, get }
}

/** The same bytes later. Its end, whichever way, is that of its source, too. */
function paced(source: Readable, pace: Pace, signal: AbortSignal | undefined): Readable {
  const closed = new AbortController()
  const stop = signal ? AbortSignal.any([signal, closed.signal]) : closed.signal
  const stream = madeOf(source, flowing(piecesOf(source), pace, stop))
  // who reads is told, however late
  stream.on('error', () => {})
  // a stream of a generator is closed when that has come to its end: it must not wait for its turn before
  const destroy = stream._destroy.bind(stream)
  stream._destroy = (error, done) => {
    closed.abort(error ?? new Error('nobody reads any more'))
    source.destroy()
    destroy(error, done)
  }
  return stream
}

async function* flowing(chunks: AsyncIterable<Buffer>, pace: Pace, signal: AbortSignal): AsyncGenerator<Buffer> {
  const end = pace.open()
  try {
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length; ) {
        const bytes = Math.min(pace.piece(), chunk.length - at)
        await pace.take(bytes, signal)
        yield chunk.subarray(at, at + bytes)
        at += bytes
      }
    }
  } finally {
    end()
  }
}
