import { createHash } from 'node:crypto'
import { PassThrough, pipeline, type Readable, Transform } from 'node:stream'
import { JobError } from '../errors.ts'
import type { Part } from '../manifest.ts'
import { isLender, type Lender, type Storage } from '../storage.ts'
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
  storages: Storage[]
  signal: AbortSignal
  onBytes?: (bytes: number) => void
}

/** Sends one part to every storage, reading the data once. What each storage says it has must be what was sent. */
export async function store({ key, path, data, size, storages, signal, onBytes }: Store): Promise<Part> {
  let tapped: Tap | undefined
  const open = () => {
    tapped = tap(typeof data === 'function' ? data() : data, onBytes)
    return tapped.stream
  }
  const options = { signal, ...(size === undefined ? {} : { size }) }
  const put = () => {
    const [only] = storages
    if (storages.length !== 1 || !only) return putAll({ storages, key, source: open(), options })
    return Promise.all([only.put(key, typeof data === 'function' ? open : open(), options)])
  }
  const stored = await put().catch((error) => {
    // a storage that failed before it read has not ended the producer
    tapped?.stream.destroy()
    throw error
  })
  const sent = tapped?.result()
  if (!sent) throw new JobError('bug', `${path} was stored without being read`)
  stored.forEach((one, i) => {
    if (one.size !== sent.size)
      throw new JobError(
        'storage',
        `storage ${storages[i]?.name} has ${one.size} bytes of ${path}, ${sent.size} were sent`,
      )
  })
  return { path, ...sent }
}

/** The slowest storage sets the pace; the first failure ends all. */
async function putAll({
  storages,
  key,
  source,
  options,
}: {
  storages: Storage[]
  key: string
  source: Readable
  options: { signal: AbortSignal; size?: number }
}) {
  // a storage that failed before it read does not listen to the error that ends its branch
  const branches = storages.map(() => new PassThrough({ highWaterMark: 2 * 1024 * 1024 }).on('error', () => {}))
  const fail = (error: Error) => {
    for (const branch of branches) branch.destroy(error)
    source.destroy(error)
  }
  const feed = (async () => {
    for await (const chunk of source) {
      for (const branch of branches) {
        if (branch.destroyed) throw new JobError('storage', `a storage stopped reading ${key}`)
        if (!branch.write(chunk)) await drained(branch)
      }
    }
    for (const branch of branches) branch.end()
  })()
  feed.catch(fail)
  const puts = storages.map((storage, i) => storage.put(key, branches[i] as Readable, options))
  for (const put of puts) put.catch(fail)
  const settled = await Promise.allSettled([...puts, feed])
  const failed = settled.find((one) => one.status === 'rejected')
  if (failed) throw failed.reason
  return Promise.all(puts)
}

function drained(branch: PassThrough): Promise<void> {
  return new Promise((resolve, reject) => {
    const clean = () => {
      branch.off('drain', ok)
      branch.off('close', bad)
    }
    const ok = () => {
      clean()
      resolve()
    }
    const bad = () => {
      clean()
      reject(new JobError('storage', 'a storage stopped reading'))
    }
    branch.once('drain', ok)
    branch.once('close', bad)
  })
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
