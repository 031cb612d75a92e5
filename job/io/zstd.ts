import { pipeline, Readable, Transform } from 'node:stream'
import { promisify } from 'node:util'
import { zstdDecompress } from 'node:zlib'
import { JobError } from '../errors.ts'
import { type Compressors, compressorsOf } from './compressors.ts'
import { Frames, formatFrames } from './frames.ts'

const decompressed = promisify(zstdDecompress)

/**
 * Bytes of a frame before compression. Frames are independent, so several are compressed at once, on Node's thread pool. Four times as
 * large ones are smaller by 0.2 % together, and four times the memory of every stream.
 */
export const frameSize = 1024 * 1024

/** From level 3 on zstd looks back so far: with smaller frames it finds less, and they are larger by 2 % together. */
const wideFrameSize = 2 * frameSize
const wideLevel = 3

/** That is read: earlier backups have such frames. */
export const largestFrame = 4 * frameSize

/** Frames of a stream at work: Node has four threads for them. Memory is about twice this many frames. */
const framesAtOnce = 4

/** Of a frame that was read: whole ones would fill the buffers of every stream behind. */
const pieceSize = 256 * 1024

/** Of all streams that are read: each has one, and may have more while others have not. */
let spareFrames = framesAtOnce

/** Faster than 3 by a half for more bytes: a dump is bound by the processor, not by the line (docs/benchmarks.md). */
export const usualLevel = 1

/**
 * Zstandard frames, one after the other, and a table of them that programs for zstd's seekable format know: any `zstd -d` reads them as one.
 * Errors of the source reach the reader.
 */
export function compress(source: Readable, level: number = usualLevel): Readable {
  const stream = new Compress(level)
  pipeline(source, stream, () => {})
  return stream
}

/** What the frames held. An early end is told by the part's length and hash, not by this. */
export function decompress(source: Readable, where = 'the data'): Readable {
  const stream = Readable.from(plainOf(source, where), { objectMode: false, highWaterMark: pieceSize })
  source.on('error', () => {})
  return stream.once('close', () => source.destroy())
}

/** Not Node's stream: it ends with the first frame after which its own buffer is not full. */
async function* plainOf(source: AsyncIterable<Buffer>, where: string): AsyncGenerator<Buffer> {
  const frames = new Frames(largestFrame)
  const atWork: Promise<Buffer>[] = []
  let borrowed = 0
  try {
    for await (const data of source) {
      for (const frame of frames.add(data, where)) {
        const work = decompressed(frame, { maxOutputLength: largestFrame, chunkSize: frameSize })
        // it is awaited in its turn
        work.catch(() => {})
        atWork.push(work)
        if (atWork.length - borrowed === 1) continue
        if (spareFrames > 0) {
          spareFrames -= 1
          borrowed += 1
        } else yield* inPieces(await plain(atWork.shift(), where))
      }
    }
    for (const work of atWork) yield* inPieces(await plain(work, where))
    frames.end(where)
  } finally {
    spareFrames += borrowed
  }
}

function* inPieces(frame: Buffer): Generator<Buffer> {
  for (let at = 0; at < frame.length; at += pieceSize) yield frame.subarray(at, at + pieceSize)
}

async function plain(work: Promise<Buffer> | undefined, where: string): Promise<Buffer> {
  try {
    return (await work) as Buffer
  } catch (cause) {
    throw new JobError('verification', `${where} is not what was compressed`, {
      hint: 'the part is damaged: restore another backup, or from another storage',
      cause,
    })
  }
}

class Compress extends Transform {
  private readonly compressors: Compressors
  private readonly frameSize: number
  private frame: Buffer<ArrayBuffer>
  private filled = 0
  private readonly sizes: { stored: number; plain: number }[] = []
  private readonly spare: Buffer<ArrayBuffer>[] = []
  private readonly atWork: Promise<Buffer[]>[] = []

  constructor(level: number) {
    super({ readableHighWaterMark: 512 * 1024, writableHighWaterMark: 2 * 1024 * 1024 })
    this.frameSize = level < wideLevel ? frameSize : wideFrameSize
    this.frame = Buffer.allocUnsafeSlow(this.frameSize)
    this.compressors = compressorsOf(level)
  }

  override _transform(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.fill(chunk).then(() => done(), done)
  }

  override _flush(done: (error?: Error | null) => void): void {
    this.finish().then(() => done(), done)
  }

  private async fill(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      const bytes = chunk.copy(this.frame, this.filled, at)
      at += bytes
      this.filled += bytes
      if (this.filled === this.frameSize) await this.send()
    }
  }

  private async send(): Promise<void> {
    const full = this.frame
    const size = { stored: 0, plain: this.filled }
    this.sizes.push(size)
    const work = this.compressors.frame(full.subarray(0, this.filled)).finally(() => this.spare.push(full))
    const counted = work.then((frame) => {
      size.stored = frame.reduce((sum, piece) => sum + piece.length, 0)
      return frame
    })
    // it is awaited in its turn
    counted.catch(() => {})
    this.atWork.push(counted)
    if (this.atWork.length >= framesAtOnce) for (const piece of (await this.atWork.shift()) ?? []) this.push(piece)
    this.frame = this.spare.pop() ?? Buffer.allocUnsafeSlow(this.frameSize)
    this.filled = 0
  }

  /** Nothing at all is a frame too: `zstd -d` refuses an empty file. */
  private async finish(): Promise<void> {
    if (this.filled > 0 || this.sizes.length === 0) await this.send()
    for (const work of this.atWork) for (const piece of await work) this.push(piece)
    this.push(formatFrames(this.sizes))
  }
}
