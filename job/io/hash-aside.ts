import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { JobError } from '../errors.ts'
import { answersTo, aside } from './aside.ts'
import { blocksOf, type Filled } from './blocks.ts'
import type { Block, Hashed } from './hash-thread.ts'
import { piecesOf } from './lending.ts'
import { type Content, worthAThread } from './outgoing.ts'

interface Reading {
  /** Bytes that are expected. */
  size: number
  /** Is told what passes. */
  onBytes?: ((bytes: number) => void) | undefined
}

const blockSize = 512 * 1024
/** Blocks of a stream that are under way. */
const blocksAtOnce = 3

const hashing = aside<object, Block, Hashed>(new URL('./hash-thread.ts', import.meta.url), 'hashes')

/**
 * Reads a stream to its end. What is large is hashed on a thread of its own: this one would spend half of its time with the hash of what
 * is only looked at.
 */
export async function contentIn(source: Readable, { size, onBytes }: Reading): Promise<Content> {
  return (size < worthAThread ? hashHere : hashAside)(source, onBytes)
}

async function hashHere(source: Readable, onBytes: Reading['onBytes']): Promise<Content> {
  const hash = createHash('sha256')
  let size = 0
  for await (const bytes of piecesOf(source)) {
    hash.update(bytes)
    size += bytes.length
    onBytes?.(bytes.length)
  }
  return { size, sha256: hash.digest('hex') }
}

async function hashAside(source: Readable, onBytes: Reading['onBytes']): Promise<Content> {
  const { ask, close } = hashing.open({})
  const spare = Array.from({ length: blocksAtOnce }, () => new ArrayBuffer(blockSize))
  const blocks = blocksOf(source, () => Buffer.from(spare.pop() as ArrayBuffer))
  const hash = ({ block, ends }: Filled) => {
    const data = block.buffer as ArrayBuffer
    return ask({ data, size: block.length, ends }, [data])
  }
  let size = 0
  let sha256: string | undefined
  try {
    for await (const hashed of answersTo(blocks, hash, blocksAtOnce)) {
      size += hashed.size
      onBytes?.(hashed.size)
      sha256 = hashed.sha256
      spare.push(hashed.data)
    }
  } finally {
    close()
  }
  if (sha256 === undefined) throw new JobError('bug', 'a stream was hashed and had no end')
  return { size, sha256 }
}
