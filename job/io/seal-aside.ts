import type { Readable } from 'node:stream'
import { JobError } from '../errors.ts'
import type { Lender } from '../storage.ts'
import { answersTo, aside, blocksAtOnce } from './aside.ts'
import { blocksOf, type Filled } from './blocks.ts'
import { blockSize, sealedBlockSize } from './chunks.ts'
import type { Content } from './content.ts'
import { lending } from './lending.ts'
import { beginFile, type FileKey } from './seal.ts'
import type { Block, Opening, Sealed } from './seal-thread.ts'

export interface SealedAside {
  stream: Lender
  /** Call after the end: what went in, and what came out. */
  result(): { plain: Content; stored: Content }
}

const sealing = aside<Opening, Block, Sealed>(new URL('./seal-thread.ts', import.meta.url), 'encrypts')

/**
 * As `seal`, on a thread of its own, which hashes too: a stream that nothing else is done to would spend most of its time here.
 */
export function sealAside(source: Readable, fileKey: FileKey): SealedAside {
  const { head, key } = beginFile(fileKey)
  const sizes = { plain: 0, stored: head.length }
  let hashes: Sealed['hashes']
  async function* sealed(): AsyncGenerator<Buffer> {
    const { ask, close } = sealing.open({ key, head })
    const spare = Array.from({ length: blocksAtOnce }, () => new ArrayBuffer(blockSize))
    const loans = Array.from({ length: blocksAtOnce }, () => new ArrayBuffer(sealedBlockSize))
    const blocks = blocksOf(source, () => Buffer.from(spare.pop() as ArrayBuffer))
    const seal = ({ block, ends }: Filled) => {
      const [plain, sealed] = [block.buffer as ArrayBuffer, loans.pop() as ArrayBuffer]
      return ask({ plain, sealed, size: block.length, ends }, [plain, sealed])
    }
    try {
      yield head
      for await (const { plain, sealed, size, stored, ...last } of answersTo(blocks, seal, blocksAtOnce)) {
        sizes.plain += size
        sizes.stored += stored
        hashes = last.hashes
        yield Buffer.from(sealed, 0, stored)
        spare.push(plain)
        loans.push(sealed)
      }
    } finally {
      close()
    }
  }
  return {
    stream: lending(sealed(), source),
    result: () => {
      if (!hashes) throw new JobError('bug', 'a stream was sealed and not read to its end')
      return {
        plain: { size: sizes.plain, sha256: hashes.plain },
        stored: { size: sizes.stored, sha256: hashes.stored },
      }
    },
  }
}
