import { crc64 } from '../../../engines/redis/crc64.ts'

/** Pieces of RDB files, as servers write them. */
export function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string)
  return Buffer.concat([count(bytes.length), bytes])
}

export function count(number: number): Buffer {
  if (number < 64) return Buffer.from([number])
  if (number < 16_384) return Buffer.from([0x40 | (number >> 8), number & 255])
  const long = Buffer.alloc(5, 0x80)
  long.writeUInt32BE(number, 1)
  return long
}

export function database(number: number): Buffer {
  return Buffer.concat([Buffer.from([0xfe]), count(number), Buffer.from([0xfb]), count(1), count(0)])
}

export function key(type: number, name: string | Buffer, value: Buffer, expires?: number): Buffer {
  const end = Buffer.alloc(expires === undefined ? 0 : 9, 0xfc)
  if (expires !== undefined) end.writeBigInt64LE(BigInt(expires), 1)
  return Buffer.concat([end, Buffer.from([type]), text(name), value])
}

/** A whole file, with a right checksum. */
export function rdb(pieces: Buffer[], magic = 'REDIS0012'): Buffer {
  const body = Buffer.concat([Buffer.from(magic), ...pieces, Buffer.from([0xff]), Buffer.alloc(8)])
  const checksum = crc64()
  checksum.update(body, 0, body.length - 8)
  checksum.write(body, body.length - 8)
  return body
}

export async function* inChunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield Buffer.from(bytes.subarray(at, at + size))
}
