import type { Transform } from 'node:stream'
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib'
import { seats } from './parallel.ts'

/** Of what comes out of a frame: most in one go, since each costs a turn of the thread pool. */
const storedChunk = 512 * 1024
/** Of what is in a frame: whole ones would fill the buffers of every stream behind. */
const plainChunk = 256 * 1024

/** As many as Node has threads for them. */
const most = 4

/** What one whole frame of zstd becomes, or what becomes one, in pieces. The bytes are lent until then. */
export type Work = (bytes: Buffer) => Promise<Buffer[]>

const compressors = new Map<number, Work>()
const decompressors = new Map<number, Work>()

/**
 * The compressors of a level, for all streams together. They are kept: to make one for each frame took a quarter of the processor's
 * time for compression, half of it for decompression, and much of the garbage collector's.
 */
export function compressorOf(level: number): Work {
  const known = compressors.get(level) ?? kept(() => compressor(level))
  compressors.set(level, known)
  return known
}

/** Likewise, for frames that hold up to so many bytes. Of frames as `Frames` cuts them: the rest of one that is cut spoils the next. */
export function decompressorOf(largest: number): Work {
  const known = decompressors.get(largest) ?? kept(() => decompressor(largest))
  decompressors.set(largest, known)
  return known
}

/** One that failed is not used again. */
function kept(make: () => Work): Work {
  const seat = seats(most)
  const idle: Work[] = []
  return async (bytes) => {
    const leave = await seat()
    try {
      const work = idle.pop() ?? make()
      const pieces = await work(bytes)
      idle.push(work)
      return pieces
    } finally {
      leave()
    }
  }
}

/** Makes one frame of each write: it ends where the write ends, and has its size in it. */
function compressor(level: number): Work {
  const params = { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 }
  return throughout(createZstdCompress({ params, chunkSize: storedChunk, flush: constants.ZSTD_e_end }))
}

function decompressor(largest: number): Work {
  // bytes behind the frame would end the stream, and with it those that come later
  const options = { chunkSize: plainChunk, rejectGarbageAfterEnd: true }
  return throughout(createZstdDecompress(options), largest)
}

function throughout(stream: Transform, largest = Number.POSITIVE_INFINITY): Work {
  let pieces: Buffer[] = []
  let size = 0
  stream.on('data', (piece: Buffer) => {
    pieces.push(piece)
    size += piece.length
    if (size > largest) stream.destroy(new Error(`more than ${largest} bytes in a frame`))
  })
  return (bytes) => {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer[]>()
    pieces = []
    size = 0
    stream.once('error', reject)
    stream.write(bytes, (error) => {
      // the event tells the error
      if (error || stream.destroyed) return
      // it may hold the last of it until somebody asks
      while (stream.read() !== null);
      stream.off('error', reject)
      resolve(pieces)
    })
    return promise
  }
}
