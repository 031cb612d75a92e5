/** What a server says to a SELECT, as bytes of the protocol. */
export interface Column {
  type: number
  /** 63 is binary. */
  charset?: number
}

export type Value = Buffer | null

const longest = 0xffffff

/** Physical packets: long ones are continued, one of exactly the longest by an empty one. */
export function packets(payloads: Iterable<Buffer>): Buffer {
  const pieces: Buffer[] = []
  let sequence = 1
  for (const payload of payloads) {
    for (let from = 0; from <= payload.length; from += longest) {
      const piece = payload.subarray(from, from + longest)
      const header = Buffer.alloc(4)
      header.writeUIntLE(piece.length, 0, 3)
      header[3] = sequence++ & 255
      pieces.push(header, piece)
      if (piece.length < longest) break
    }
  }
  return Buffer.concat(pieces)
}

export function counted(bytes: Buffer): Buffer {
  const { length } = bytes
  const [mark, size] = length < 251 ? [length, 0] : length < 2 ** 16 ? [252, 2] : length < 2 ** 24 ? [253, 3] : [254, 8]
  const head = Buffer.alloc(1 + size)
  head[0] = mark
  if (size === 8) head.writeBigUInt64LE(BigInt(length), 1)
  else if (size > 0) head.writeUIntLE(length, 1, size)
  return Buffer.concat([head, bytes])
}

function definition({ type, charset = 45 }: Column): Buffer {
  const names = ['def', 'shop', 't', 't', 'c', 'c'].map((name) => counted(Buffer.from(name)))
  const fixed = Buffer.alloc(13)
  fixed[0] = 12
  fixed.writeUInt16LE(charset, 1)
  fixed[7] = type
  return Buffer.concat([...names, fixed])
}

export const endPacket = Buffer.from([0xfe, 0, 0, 2, 0])
export const errorPacket = (text: string) =>
  Buffer.concat([Buffer.from([0xff, 0x25, 0x05]), Buffer.from(`#70100${text}`)])

export const rowPacket = (row: readonly Value[]) =>
  Buffer.concat(row.map((value) => (value === null ? Buffer.from([251]) : counted(value))))

/** Everything up to the rows. */
export function heading(columns: readonly Column[]): Buffer[] {
  const count =
    columns.length < 251 ? Buffer.from([columns.length]) : counted(Buffer.alloc(columns.length)).subarray(0, 3)
  return [count, ...columns.map(definition), endPacket]
}

export function answer(columns: readonly Column[], rows: readonly (readonly Value[])[]): Buffer {
  return packets([...heading(columns), ...rows.map(rowPacket), endPacket])
}
