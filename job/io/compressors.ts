import { constants, createZstdCompress } from 'node:zlib'
import { seats } from './parallel.ts'

/** Of what comes out of a frame: most in one go, since each costs a turn of the thread pool. */
const chunkSize = 512 * 1024

/** As many as Node has threads for them. */
const most = 4

export interface Compressors {
  /** One whole frame of zstd, in pieces. The bytes are lent until then. */
  frame(bytes: Buffer): Promise<Buffer[]>
}

type Compressor = (bytes: Buffer) => Promise<Buffer[]>

const levels = new Map<number, Compressors>()

/**
 * The compressors of a level, for all streams together. They are kept: to make one for each frame took a quarter of the processor's
 * time for compression, and much of the garbage collector's.
 */
export function compressorsOf(level: number): Compressors {
  const known = levels.get(level) ?? together(level)
  levels.set(level, known)
  return known
}

function together(level: number): Compressors {
  const seat = seats(most)
  const idle: Compressor[] = []
  return {
    frame: async (bytes) => {
      const leave = await seat()
      const compress = idle.pop() ?? compressor(level)
      try {
        return await compress(bytes)
      } finally {
        idle.push(compress)
        leave()
      }
    },
  }
}

/** Makes one frame of each write: it ends where the write ends, and has its size in it. */
function compressor(level: number): Compressor {
  const params = { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 }
  const stream = createZstdCompress({ params, chunkSize, flush: constants.ZSTD_e_end })
  let pieces: Buffer[] = []
  stream.on('data', (piece) => pieces.push(piece))
  return (bytes) => {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer[]>()
    pieces = []
    stream.once('error', reject)
    stream.write(bytes, (error) => {
      // it may hold the last of it until somebody asks
      while (!error && stream.read() !== null);
      stream.off('error', reject)
      if (!error) resolve(pieces)
    })
    return promise
  }
}
