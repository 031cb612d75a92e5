import { createHash } from 'node:crypto'
import { pipeline, type Readable, Transform } from 'node:stream'
import { isLender, type Lender } from '../storage.ts'
import { inPieces, lending, waitingBytes } from './lending.ts'

/** Hashes and counts what passes. */
export interface Tap {
  stream: Readable
  /** Call after the end. */
  result(): { size: number; sha256: string }
}

export function tap(source: Readable, onBytes?: (bytes: number) => void): Tap {
  const hash = createHash('sha256')
  let size = 0
  const stream = watched(source, (chunk) => {
    hash.update(chunk)
    size += chunk.length
    onBytes?.(chunk.length)
  })
  return { stream, result: () => ({ size, sha256: hash.digest('hex') }) }
}

/** Tells of what passes, and does not hash it. */
export function counted(source: Readable, onBytes: ((bytes: number) => void) | undefined): Readable {
  return onBytes ? watched(source, (chunk) => onBytes(chunk.length)) : source
}

function watched(source: Readable, see: (chunk: Buffer) => void): Readable {
  return isLender(source) ? lending(seen(source, see), source) : passing(source, see)
}

function passing(source: Readable, see: (chunk: Buffer) => void): Readable {
  const stream = new Transform({
    ...inPieces,
    writableHighWaterMark: waitingBytes,
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
