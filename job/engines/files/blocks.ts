import { JobError } from '../../errors.ts'

/** A stream that is read in pieces of the reader's choice. */
export interface Blocks {
  /** Throws `verification` with `otherwise` when the stream ends before. */
  exactly(length: number, otherwise: string): Promise<Buffer>
  /** What there is, 1 to `most` bytes; nothing at the end. */
  some(most: number): Promise<Buffer>
}

export function blocksOf(source: AsyncIterable<Buffer>): Blocks {
  const chunks = source[Symbol.asyncIterator]()
  let rest: Buffer = Buffer.alloc(0)

  async function more(): Promise<boolean> {
    const { done, value } = await chunks.next()
    if (!done) rest = rest.length > 0 ? Buffer.concat([rest, value]) : value
    return !done
  }

  function take(length: number): Buffer {
    const taken = rest.subarray(0, length)
    rest = rest.subarray(length)
    return taken
  }

  return {
    exactly: async (length, otherwise) => {
      while (rest.length < length) {
        if (!(await more())) throw new JobError('verification', `the archive is not complete: ${otherwise}`)
      }
      return take(length)
    },
    some: async (most) => {
      while (rest.length === 0) if (!(await more())) break
      return take(most)
    },
  }
}
