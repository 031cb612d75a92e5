import { pipeline, type Readable, Transform } from 'node:stream'
import { isLender, type Lender } from '../storage.ts'
import { type Content, hasher } from './content.ts'
import { inPieces, lending, waitingBytes } from './lending.ts'

/** Hashes and counts what passes. */
export interface Tap {
  stream: Readable
  /** Call after the end. */
  result(): Content
}

export function tap(source: Readable, onBytes?: (bytes: number) => void): Tap {
  const { add, content } = hasher(onBytes)
  return { stream: watched(source, add), result: content }
}

/** Tells of what passes, and does not hash it. */
export function counted(source: Readable, onBytes: ((bytes: number) => void) | undefined): Readable {
  return onBytes ? watched(source, (chunk) => onBytes(chunk.length)) : source
}

/** The same bytes; `see` looks at each chunk while it passes and keeps none, `end` at the end. What they throw is an error of the stream. */
export function watched(source: Readable, see: (chunk: Buffer) => void, end = () => {}): Readable {
  return isLender(source) ? lending(seen(source, see, end), source) : passing(source, see, end)
}

function passing(source: Readable, see: (chunk: Buffer) => void, end: () => void): Readable {
  const stream = new Transform({
    ...inPieces,
    writableHighWaterMark: waitingBytes,
    transform(chunk: Buffer, _, done) {
      try {
        see(chunk)
      } catch (error) {
        return done(error as Error)
      }
      done(null, chunk)
    },
    flush(done) {
      try {
        end()
      } catch (error) {
        return done(error as Error)
      }
      done()
    },
  })
  // the callback gets every failure; it also reaches whoever reads the tap, as its own error
  pipeline(source, stream, () => {})
  return stream
}

async function* seen(source: Lender, see: (chunk: Buffer) => void, end: () => void): AsyncGenerator<Buffer> {
  for await (const chunk of source.loans()) {
    see(chunk)
    yield chunk
  }
  end()
}
