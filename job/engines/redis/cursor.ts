import { JobError } from '../../errors.ts'
import { lzfDecompress } from './lzf.ts'

/** Where an RDB that comes in chunks is being read. What needs more bytes than are there throws `incomplete`: it begins again at `mark`. */
export interface Cursor {
  buffer: Buffer
  at: number
  /** Everything before it is done with. */
  mark: number
  /** Passes so many bytes, and says where they begin. */
  need(bytes: number): number
  byte(): number
  /** A number; or, in front of a string that is a number or compressed, how many bytes follow, with `special` set. */
  length(): number
  special: boolean
  /** Passes a string that is short enough to be had as a whole. */
  string(): void
  /** The string that was passed last. */
  text(): Buffer
  /** Bytes of it, as it is written. */
  size(): number
}

export const incomplete = new Error('more bytes are needed')

export function broken(why: string): JobError {
  return new JobError('verification', `this is not an RDB snapshot that can be read: ${why}`)
}

export function openCursor(): Cursor {
  /** The last string: its bytes, or where its special encoding begins. */
  let from = 0
  let to = 0
  let encoded = false
  const cursor: Cursor = {
    buffer: Buffer.alloc(0),
    at: 0,
    mark: 0,
    special: false,
    need: (bytes) => {
      const begin = cursor.at
      if (begin + bytes > cursor.buffer.length) throw incomplete
      cursor.at = begin + bytes
      return begin
    },
    byte: () => {
      if (cursor.at >= cursor.buffer.length) throw incomplete
      return cursor.buffer[cursor.at++] as number
    },
    length: () => {
      const first = cursor.byte()
      cursor.special = false
      if (first < 64) return first
      if (first < 128) return ((first & 63) << 8) | cursor.byte()
      if (first === 0x80) return cursor.buffer.readUInt32BE(cursor.need(4))
      if (first === 0x81) return Number(cursor.buffer.readBigUInt64BE(cursor.need(8)))
      if (first < 192) throw broken(`a length begins with ${first}`)
      return specialLength(first & 63)
    },
    string: () => {
      const begin = cursor.at
      const bytes = cursor.length()
      encoded = cursor.special
      from = encoded ? begin : cursor.at
      to = cursor.need(bytes) + bytes
    },
    text: () => (encoded ? decode(cursor.buffer, from) : cursor.buffer.subarray(from, to)),
    size: () => to - from,
  }

  function specialLength(kind: number): number {
    if (kind > 3) throw broken(`a text has the encoding ${kind}`)
    const bytes = kind === 3 ? cursor.length() : 1 << kind
    if (kind === 3) cursor.length()
    cursor.special = true
    return bytes
  }
  return cursor
}

/** A string that was written as a number, or compressed. */
function decode(buffer: Buffer, at: number): Buffer {
  switch ((buffer[at] as number) & 63) {
    case 0:
      return Buffer.from(`${buffer.readInt8(at + 1)}`)
    case 1:
      return Buffer.from(`${buffer.readInt16LE(at + 1)}`)
    case 2:
      return Buffer.from(`${buffer.readInt32LE(at + 1)}`)
    default: {
      const cursor = openCursor()
      Object.assign(cursor, { buffer, at: at + 1 })
      const bytes = cursor.length()
      const size = cursor.length()
      return lzfDecompress(buffer.subarray(cursor.at, cursor.at + bytes), size)
    }
  }
}

/** The text that the value of a string key holds. */
export function stringIn(value: Buffer): Buffer {
  const cursor = openCursor()
  cursor.buffer = value
  cursor.string()
  return cursor.text()
}
