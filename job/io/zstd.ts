import { pipeline, type Readable, Transform } from 'node:stream'
import { promisify } from 'node:util'
import { constants, createZstdDecompress, zstdCompress } from 'node:zlib'

const compressed = promisify(zstdCompress)

/** Bytes of a frame before compression. Frames are independent, so several are compressed at once, on Node's thread pool. */
const frameSize = 4 * 1024 * 1024

/** Frames at work: Node has four threads for them. Memory is about twice this many frames. */
const framesAtOnce = 4

/** Faster than 3 by a half for a tenth more bytes: a dump is bound by the processor, not by the line (docs/benchmarks.md). */
const options = { params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 } }

/** Zstandard frames, one after the other: any `zstd -d` reads them as one. Errors of the source reach the reader. */
export function compress(source: Readable): Readable {
  const stream = new Frames()
  pipeline(source, stream, () => {})
  return stream
}

/** What the frames held. An early end is told by the part's length and hash, not by this. */
export function decompress(source: Readable): Readable {
  const stream = createZstdDecompress({ chunkSize: 1024 * 1024 })
  pipeline(source, stream, () => {})
  return stream
}

class Frames extends Transform {
  private frame = Buffer.allocUnsafeSlow(frameSize)
  private filled = 0
  private written = 0
  private readonly spare: Buffer<ArrayBuffer>[] = []
  private readonly atWork: Promise<Buffer>[] = []

  constructor() {
    super({ readableHighWaterMark: 2 * 1024 * 1024, writableHighWaterMark: 2 * 1024 * 1024 })
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
      if (this.filled === frameSize) await this.send()
    }
  }

  private async send(): Promise<void> {
    const full = this.frame
    const work = compressed(full.subarray(0, this.filled), options).finally(() => this.spare.push(full))
    // it is awaited in its turn
    work.catch(() => {})
    this.atWork.push(work)
    this.written += 1
    if (this.atWork.length >= framesAtOnce) this.push(await this.atWork.shift())
    this.frame = this.spare.pop() ?? Buffer.allocUnsafeSlow(frameSize)
    this.filled = 0
  }

  /** Nothing at all is a frame too: `zstd -d` refuses an empty file. */
  private async finish(): Promise<void> {
    if (this.filled > 0 || this.written === 0) await this.send()
    for (const work of this.atWork) this.push(await work)
  }
}
