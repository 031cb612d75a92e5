import type { Readable } from 'node:stream'
import { piecesOf } from './lending.ts'

export interface Filled {
  block: Buffer
  /** It is the last, and may be empty. */
  ends: boolean
}

/** Puts a stream into memory that is taken for each block. A full one waits for what comes next: it may be the last. */
export async function* blocksOf(source: Readable, take: () => Buffer): AsyncGenerator<Filled> {
  let block = take()
  let filled = 0
  for await (const data of piecesOf(source)) {
    for (let at = 0; at < data.length; ) {
      if (filled === block.length) {
        yield { block, ends: false }
        block = take()
        filled = 0
      }
      const bytes = data.copy(block, filled, at)
      at += bytes
      filled += bytes
    }
  }
  yield { block: block.subarray(0, filled), ends: true }
}
