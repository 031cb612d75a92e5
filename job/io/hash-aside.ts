import type { Readable } from 'node:stream'
import { JobError } from '../errors.ts'
import { answersTo, aside, blocksAtOnce, worthAThread } from './aside.ts'
import { blocksOf, type Filled } from './blocks.ts'
import { type Content, hasher } from './content.ts'
import type { Block, Hashed } from './hash-thread.ts'
import { piecesOf } from './lending.ts'

interface Reading {
  /** Bytes that are expected. */
  size: number
  /** Is told what passes. */
  onBytes?: ((bytes: number) => void) | undefined
}

const blockSize = 512 * 1024

const hashing = aside<object, Block, Hashed>(new URL('./hash-thread.ts', import.meta.url), 'hashes')

/**
 * Reads a stream to its end. What is large is hashed on a thread of its own: this one would spend half of its time with the hash of what
 * is only looked at.
 */
export async function contentIn(source: Readable, { size, onBytes }: Reading): Promise<Content> {
  return (size < worthAThread ? hashHere : hashAside)(source, onBytes)
}

async function hashHere(source: Readable, onBytes: Reading['onBytes']): Promise<Content> {
  const { add, content } = hasher(onBytes)
  for await (const bytes of piecesOf(source)) add(bytes)
  return content()
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
