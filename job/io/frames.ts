import { JobError } from '../errors.ts'

/**
 * Where Zstandard frames begin and end (RFC 8878), and the table of them at the end of a part: a frame that decompressors skip, as the
 * seekable format of zstd (contrib/seekable_format) has it.
 */

const frameMagic = 0xfd2fb528
const skippableMagic = 0x184d2a50
const tableMagic = 0x184d2a5e
const seekableMagic = 0x8f92eab1
const entrySize = 8
/** Number of frames, a byte of flags, the magic number. */
export const footerSize = 9

/** Bytes of one frame. */
export interface FrameSizes {
  stored: number
  plain: number
}

export function formatFrames(frames: readonly FrameSizes[]): Buffer {
  const bytes = Buffer.alloc(tableSize(frames.length))
  bytes.writeUInt32LE(tableMagic, 0)
  bytes.writeUInt32LE(bytes.length - 8, 4)
  for (const [i, { stored, plain }] of frames.entries()) {
    bytes.writeUInt32LE(stored, 8 + i * entrySize)
    bytes.writeUInt32LE(plain, 12 + i * entrySize)
  }
  bytes.writeUInt32LE(frames.length, bytes.length - footerSize)
  bytes.writeUInt32LE(seekableMagic, bytes.length - 4)
  return bytes
}

/** Bytes that the table takes at the end; undefined when these last bytes are not those of a table. */
export function tableSizeIn(footer: Buffer): number | undefined {
  if (footer.length !== footerSize || footer.readUInt32LE(5) !== seekableMagic || footer[4] !== 0) return undefined
  return tableSize(footer.readUInt32LE(0))
}

export function parseFrames(table: Buffer): FrameSizes[] {
  const count = (table.length - 8 - footerSize) / entrySize
  return Array.from({ length: count }, (_, i) => ({
    stored: table.readUInt32LE(8 + i * entrySize),
    plain: table.readUInt32LE(12 + i * entrySize),
  }))
}

function tableSize(count: number): number {
  return 8 + count * entrySize + footerSize
}

/** Cuts a stream into its frames; what is to be skipped is left out. Holds one frame and what came with its end. */
export class Frames {
  private readonly held: Buffer
  private filled = 0
  /** Bytes to come of what is skipped. */
  private skip = 0

  /** `plainSize`: what a frame holds at most. Random bytes grow a little. */
  constructor(plainSize: number) {
    this.held = Buffer.allocUnsafeSlow(2 * plainSize + 64 * 1024)
  }

  /** The frames that are whole now, each in memory of its own. Throws `verification` when these are none. */
  *add(data: Buffer, where: string): Generator<Buffer> {
    for (let at = 0; at < data.length; ) {
      const bytes = data.copy(this.held, this.filled, at)
      if (bytes === 0) throw noFrames(where)
      at += bytes
      this.filled += bytes
      yield* this.cut(where)
    }
  }

  /** Throws `verification` when a frame has begun and not ended. */
  end(where: string): void {
    if (this.filled > 0 || this.skip > 0) throw noFrames(where)
  }

  private *cut(where: string): Generator<Buffer> {
    let start = 0
    for (;;) {
      const skipped = Math.min(this.skip, this.filled - start)
      this.skip -= skipped
      start += skipped
      const head = headOf(this.held.subarray(start, this.filled), where)
      if (!head) break
      if (head.kind === 'frame') yield ofItsOwn(this.held.subarray(start, start + head.size))
      if (head.kind === 'frame') start += head.size
      else this.skip = head.size
    }
    this.held.copyWithin(0, start, this.filled)
    this.filled -= start
  }
}

/** Small ones would lie beside what others have. */
function ofItsOwn(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}

/** What begins here; undefined when it is not all here, and for a skippable frame when its head is not. */
function headOf(bytes: Buffer, where: string): { kind: 'frame' | 'skippable'; size: number } | undefined {
  if (bytes.length < 4) return undefined
  const magic = bytes.readUInt32LE(0)
  if ((magic & 0xfffffff0) >>> 0 === skippableMagic)
    return bytes.length < 8 ? undefined : { kind: 'skippable', size: 8 + bytes.readUInt32LE(4) }
  if (magic !== frameMagic) throw noFrames(where)
  const size = sizeOfFrame(bytes)
  return size === undefined ? undefined : { kind: 'frame', size }
}

/** Undefined when its end is not here. */
function sizeOfFrame(bytes: Buffer): number | undefined {
  const flags = bytes[4]
  if (flags === undefined) return undefined
  const singleSegment = (flags >> 5) & 1
  const contentSize = [singleSegment, 2, 4, 8][flags >> 6] as number
  const dictionary = [0, 1, 2, 4][flags & 3] as number
  const checksum = (flags >> 2) & 1 ? 4 : 0
  let at = 5 + (singleSegment ? 0 : 1) + dictionary + contentSize
  for (let last = false; !last; ) {
    if (at + 3 > bytes.length) return undefined
    const block = bytes.readUIntLE(at, 3)
    last = (block & 1) === 1
    // one byte that is repeated
    const repeated = ((block >> 1) & 3) === 1
    at += 3 + (repeated ? 1 : block >> 3)
  }
  return at + checksum <= bytes.length ? at + checksum : undefined
}

function noFrames(where: string): JobError {
  return new JobError('verification', `${where} is not what was compressed`, {
    hint: 'the part is damaged: restore another backup, or from another storage',
  })
}
