import { PassThrough, type Readable } from 'node:stream'
import { JobError } from '../errors.ts'
import type { Stored } from '../storage.ts'
import type { Destination, Destinations } from './destinations.ts'
import { inPieces } from './lending.ts'
import type { Outgoing } from './outgoing.ts'

/** A storage that takes nothing for so long, while the others wait for it, is out. */
const stalledMs = 10 * 60_000
/** How long the end of an object may take when all of it was sent. */
const finishMs = 60 * 60_000
/** What a storage may lag behind, besides what it keeps by itself. */
const lag = 2 * 1024 * 1024

interface Spread {
  key: string
  /** Bytes, when known. */
  size?: number | undefined
  to: Destinations
  signal: AbortSignal
  /** How it goes into each of those that take part. */
  outgoing: ReadonlyMap<Destination, Outgoing>
}

/** One storage's end of the stream. */
interface Branch {
  destination: Destination
  stream: PassThrough
  /** Undefined when the storage is out; rejects when it was the last one. */
  stored: Promise<Stored | undefined>
}

/**
 * Sends a stream to several storages at once, and resolves to what each has that did not fail. The slowest sets the pace, but one that
 * stands still is out. A stream that fails is the producer's failure: nothing is visible then, and nobody is out.
 */
export async function spread(source: Readable, options: Spread): Promise<Map<Destination, Stored>> {
  let broken = false
  const branches = [...options.outgoing.keys()].map((destination) => open(destination))
  try {
    await feed(source, branches, options)
  } catch (error) {
    broken = true
    source.destroy()
    for (const { stream } of branches) stream.destroy(error as Error)
    await Promise.allSettled(branches.map((branch) => finished(branch, options)))
    throw error
  }
  const found = new Map<Destination, Stored>()
  for (const branch of branches) {
    const stored = await finished(branch, options)
    if (stored) found.set(branch.destination, stored)
  }
  options.signal.throwIfAborted()
  return found

  function open(destination: Destination): Branch {
    const { to, signal, outgoing } = options
    const { key, size, open: form } = outgoing.get(destination) as Outgoing
    // a storage that failed before it read does not listen to the error that ends its branch
    const stream = new PassThrough({ ...inPieces, writableHighWaterMark: lag }).on('error', () => {})
    const ends = AbortSignal.any([signal, destination.out])
    const put = destination.storage.put(key, form(stream), { signal: ends, ...(size === undefined ? {} : { size }) })
    const stored = put.catch((error) => {
      stream.destroy()
      try {
        if (!broken && !signal.aborted) to.drop(destination, error)
        return undefined
      } finally {
        if (branches?.every((branch) => branch.stream.destroyed)) source.destroy()
      }
    })
    stored.catch(() => {})
    return { destination, stream, stored }
  }
}

async function feed(source: Readable, branches: Branch[], options: Spread): Promise<void> {
  const { key, size, signal } = options
  let sent = 0
  try {
    for await (const chunk of source) {
      sent += (chunk as Buffer).length
      if (size !== undefined && sent > size) break
      const full = branches.filter(({ stream }) => !stream.destroyed && !stream.write(chunk))
      if (full.length > 0) await Promise.all(full.map((branch) => room(branch, options)))
      if (branches.every(({ stream }) => stream.destroyed)) break
    }
  } catch (error) {
    // it was us who ended it, because no storage wants any more
    if (!branches.every(({ stream }) => stream.destroyed)) throw error
  }
  signal.throwIfAborted()
  if (branches.every(({ stream }) => stream.destroyed)) return
  if (size !== undefined && sent !== size)
    throw new JobError(
      'storage',
      `the data for ${key} should have ${size} bytes but has ${sent > size ? 'more' : sent}`,
    )
  for (const { stream } of branches) stream.end()
}

/** Resolves when the storage takes more, or never will. */
function room({ stream, destination }: Branch, { key, to }: Spread): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (how: () => void) => {
      clearTimeout(timer)
      stream.off('drain', go)
      stream.off('close', go)
      how()
    }
    const go = () => end(resolve)
    // one that is slow, because its plan has limits, is not still
    const left = () => stream.readableLength + stream.writableLength
    let before = left()
    const look = () => {
      if (left() < before) {
        before = left()
        timer = setTimeout(look, stalledMs)
        return
      }
      try {
        to.drop(destination, stalled(destination, `took nothing of ${key} for ${stalledMs / 60_000} minutes`))
        stream.destroy()
      } catch (error) {
        end(() => reject(error))
      }
    }
    let timer = setTimeout(look, stalledMs)
    stream.once('drain', go)
    stream.once('close', go)
  })
}

/** A storage that is out does not have to say so: it may hang. */
async function finished({ stored, destination }: Branch, { key, to }: Spread): Promise<Stored | undefined> {
  const { promise: given, resolve, reject } = Promise.withResolvers<undefined>()
  const out = () => resolve(undefined)
  const timer = setTimeout(() => {
    try {
      to.drop(destination, stalled(destination, `did not finish ${key} within ${finishMs / 60_000} minutes`))
    } catch (error) {
      reject(error)
    }
  }, finishMs)
  if (destination.out.aborted) out()
  else destination.out.addEventListener('abort', out, { once: true })
  try {
    return await Promise.race([stored, given])
  } finally {
    clearTimeout(timer)
    destination.out.removeEventListener('abort', out)
  }
}

function stalled({ storage }: Destination, text: string): JobError {
  return new JobError('storage', `storage ${storage.name} ${text}`, {
    hint: 'it set the pace of all others until then; find out why it hangs',
  })
}
