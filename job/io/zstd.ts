import { pipeline, type Readable, Transform } from 'node:stream'
import { JobError } from '../errors.ts'
import { isLender } from '../storage.ts'
import { compressorOf, decompressorOf, type Work } from './compressors.ts'
import { Frames, formatFrames } from './frames.ts'
import { inPieces, lendingItsOwn, piecesOf, waitingBytes } from './lending.ts'
import { release } from './memory.ts'

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

/** Streams that are compressed or read just now. */
let streams = 0

/** Frames of a stream at work: Node has four threads for all. Memory is about twice this many frames for each stream. */
function framesAtOnce(): number {
  return streams > 1 ? 2 : 4
}

/** Faster than 3 by a half for more bytes: a dump is bound by the processor, not by the line (docs/benchmarks.md). */
export const usualLevel = 1

/**
 * Zstandard frames, one after the other, and a table of them that programs for zstd's seekable format know: any `zstd -d` reads them as one.
 * Errors of the source reach the reader.
 */
export function compress(source: Readable, level: number = usualLevel): Readable {
  const framing = new Framing(level)
  if (isLender(source)) return lendingItsOwn(amongStreams(framed(source.loans(), framing)), source)
  const stream = new Compress(framing)
  pipeline(source, stream, () => {})
  return stream
}

async function* framed(source: AsyncIterable<Buffer>, framing: Framing): AsyncGenerator<Buffer> {
  for await (const data of source) yield* framing.add(data)
  yield* framing.end()
}

/** Counts among the streams as long as it is read. */
async function* amongStreams(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  streams += 1
  try {
    yield* pieces
  } finally {
    streams -= 1
  }
}

/** What the frames held. An early end is told by the part's length and hash, not by this. */
export function decompress(source: Readable, where = 'the data'): Readable {
  return lendingItsOwn(amongStreams(plainOf(source, where)), source)
}

/** Not Node's stream: it ends with the first frame after which its own buffer is not full. */
async function* plainOf(source: Readable, where: string): AsyncGenerator<Buffer> {
  const frames = new Frames(largestFrame)
  const plainOfFrame = decompressorOf(largestFrame)
  const atWork: Promise<Buffer[]>[] = []
  for await (const data of piecesOf(source)) {
    for (const frame of frames.add(data, where)) {
      const work = plainOfFrame(frame).finally(() => release(frame))
      // it is awaited in its turn
      work.catch(() => {})
      atWork.push(work)
      while (atWork.length >= framesAtOnce()) yield* await plain(atWork.shift(), where)
    }
  }
  for (const work of atWork) yield* await plain(work, where)
  frames.end(where)
}

async function plain(work: Promise<Buffer[]> | undefined, where: string): Promise<Buffer[]> {
  try {
    return (await work) ?? []
  } catch (cause) {
    throw new JobError('verification', `${where} is not what was compressed`, {
      hint: 'the part is damaged: restore another backup, or from another storage',
      cause,
    })
  }
}

class Compress extends Transform {
  private readonly framing: Framing

  constructor(framing: Framing) {
    super({ ...inPieces, writableHighWaterMark: waitingBytes })
    this.framing = framing
    streams += 1
  }

  override _transform(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.pass(this.framing.add(chunk)).then(() => done(), done)
  }

  override _flush(done: (error?: Error | null) => void): void {
    this.pass(this.framing.end()).then(() => done(), done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    streams -= 1
    done(error)
  }

  private async pass(pieces: AsyncIterable<Buffer>): Promise<void> {
    for await (const piece of pieces) this.push(piece)
  }
}

/** Cuts a stream into frames and compresses several of them at once. What it is given is used only until the next is asked for. */
class Framing {
  private readonly compress: Work
  private readonly frameSize: number
  private frame: Buffer<ArrayBuffer>
  private filled = 0
  private readonly sizes: { stored: number; plain: number }[] = []
  private readonly spare: Buffer<ArrayBuffer>[] = []
  private readonly atWork: Promise<Buffer[]>[] = []

  constructor(level: number) {
    this.frameSize = level < wideLevel ? frameSize : wideFrameSize
    this.frame = Buffer.allocUnsafeSlow(this.frameSize)
    this.compress = compressorOf(level)
  }

  async *add(data: Buffer): AsyncGenerator<Buffer> {
    for (let at = 0; at < data.length; ) {
      const bytes = data.copy(this.frame, this.filled, at)
      at += bytes
      this.filled += bytes
      if (this.filled < this.frameSize) continue
      this.send()
      while (this.atWork.length >= framesAtOnce()) yield* (await this.atWork.shift()) ?? []
      this.next()
    }
  }

  /** Nothing at all is a frame too: `zstd -d` refuses an empty file. */
  async *end(): AsyncGenerator<Buffer> {
    if (this.filled > 0 || this.sizes.length === 0) this.send()
    for (const work of this.atWork) yield* await work
    yield formatFrames(this.sizes)
  }

  private send(): void {
    const full = this.frame
    const size = { stored: 0, plain: this.filled }
    this.sizes.push(size)
    const work = this.compress(full.subarray(0, this.filled)).finally(() => this.spare.push(full))
    const counted = work.then((frame) => {
      size.stored = frame.reduce((sum, piece) => sum + piece.length, 0)
      return frame
    })
    // it is awaited in its turn
    counted.catch(() => {})
    this.atWork.push(counted)
  }

  private next(): void {
    this.frame = this.spare.pop() ?? Buffer.allocUnsafeSlow(this.frameSize)
    this.filled = 0
  }
}
