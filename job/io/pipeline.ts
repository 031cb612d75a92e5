import { createHash } from 'node:crypto'
import { pipeline, type Readable, Transform } from 'node:stream'
import { JobError } from '../errors.ts'
import type { Part } from '../manifest.ts'
import { isLender, type Lender } from '../storage.ts'
import { spread } from './branches.ts'
import { type Copies, type Destination, type Destinations, sameIn } from './destinations.ts'
import { lending } from './lending.ts'

/** Hashes and counts what passes. */
export interface Tap {
  stream: Readable
  /** Call after the end. */
  result(): { size: number; sha256: string }
}

export function tap(source: Readable, onBytes?: (bytes: number) => void): Tap {
  const hash = createHash('sha256')
  let size = 0
  const see = (chunk: Buffer) => {
    hash.update(chunk)
    size += chunk.length
    onBytes?.(chunk.length)
  }
  const stream = isLender(source) ? lending(seen(source, see), source) : passing(source, see)
  return { stream, result: () => ({ size, sha256: hash.digest('hex') }) }
}

function passing(source: Readable, see: (chunk: Buffer) => void): Readable {
  const stream = new Transform({
    readableHighWaterMark: 2 * 1024 * 1024,
    writableHighWaterMark: 2 * 1024 * 1024,
    transform(chunk: Buffer, _, done) {
      see(chunk)
      done(null, chunk)
    },
  })
  // the callback gets every failure; it also reaches whoever reads the tap, as its own error
  pipeline(source, stream, () => {})
  return stream
}

async function* seen(source: Lender, see: (chunk: Buffer) => void): AsyncGenerator<Buffer> {
  for await (const chunk of source.loans()) {
    see(chunk)
    yield chunk
  }
}

interface Store {
  /** Where the part goes in each storage. */
  key: string
  path: string
  /** A stream is read once; a function can be called again when the storage has to try again. */
  data: Readable | (() => Readable)
  size?: number
  to: Destinations
  signal: AbortSignal
  onBytes?: (bytes: number) => void
}

/**
 * Sends one part to every storage, reading the data once, and resolves to the copies of those that did not fail. What a storage says it
 * has must be what was sent. Rejects when the producer fails, and when the last storage of the run does.
 */
export async function store({ to, ...part }: Store): Promise<Copies> {
  const [only, ...others] = to.live()
  if (!only) return new Map()
  if (others.length === 0) return storeInOne(only, { to, ...part })
  const { key, path, data, size, signal, onBytes } = part
  const tapped = tap(typeof data === 'function' ? data() : data, onBytes)
  const stored = await spread(tapped.stream, { key, size, to, signal })
  const sent = tapped.result()
  const copies = new Map<string, Part>()
  for (const [destination, { size }] of stored) {
    if (size === sent.size) copies.set(destination.storage.name, { path, ...sent })
    else to.drop(destination, otherSize(destination, { path, size, sent: sent.size }))
  }
  return copies
}

/** Without a second stream in between: this storage may ask for the data again. */
async function storeInOne(destination: Destination, options: Store): Promise<Copies> {
  const { key, path, data, size, to, signal, onBytes } = options
  let tapped: Tap | undefined
  const open = () => {
    tapped = tap(typeof data === 'function' ? data() : data, onBytes)
    return tapped.stream
  }
  const how = { signal: AbortSignal.any([signal, destination.out]), ...(size === undefined ? {} : { size }) }
  try {
    const stored = await destination.storage.put(key, typeof data === 'function' ? open : open(), how)
    const sent = tapped?.result()
    if (!sent) throw new JobError('bug', `${path} was stored without being read`)
    if (stored.size !== sent.size) throw otherSize(destination, { path, size: stored.size, sent: sent.size })
    return sameIn([destination], { path, ...sent })
  } catch (error) {
    const broken = tapped?.stream.errored
    // a storage that failed before it read has not ended the producer
    tapped?.stream.destroy()
    signal.throwIfAborted()
    if (broken && !destination.out.aborted) throw error
    to.drop(destination, error)
    return new Map()
  }
}

function otherSize({ storage }: Destination, { path, size, sent }: { path: string; size: number; sent: number }) {
  return new JobError('storage', `storage ${storage.name} has ${size} bytes of ${path}, ${sent} were sent`)
}

/** A stored part as a stream that errors at its end when it is not what the manifest says. */
export function verified(source: Readable, part: Pick<Part, 'size' | 'sha256'>, where: string): Readable {
  const hash = createHash('sha256')
  let size = 0
  const check = new Transform({
    readableHighWaterMark: 2 * 1024 * 1024,
    writableHighWaterMark: 2 * 1024 * 1024,
    transform(chunk: Buffer, _, done) {
      hash.update(chunk)
      size += chunk.length
      done(null, chunk)
    },
    flush(done) {
      if (size !== part.size)
        done(
          new JobError('verification', `${where} has ${size} bytes, the manifest says ${part.size}`, { hint: damaged }),
        )
      else if (hash.digest('hex') !== part.sha256)
        done(
          new JobError('verification', `${where} is not what was stored: its sha256 differs from the manifest`, {
            hint: damaged,
          }),
        )
      else done()
    },
  })
  pipeline(source, check, () => {})
  return check
}

export const damaged =
  'the part is damaged: restore another backup, or from another storage; `holdfast verify` lists all damage'
