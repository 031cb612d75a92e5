/** CRC-64 as RDB files and serialised values have it: Jones' polynomial, reflected, begun with 0. */
export interface Crc64 {
  update(bytes: Buffer, from?: number, to?: number): void
  /** The eight bytes as the server writes them, at `at`. */
  write(into: Buffer, at: number): void
  reset(): void
  /** The same state, to go on differently from here. */
  copy(): Crc64
}

/** Numbers of JavaScript have no 64 bits for this: two halves, eight bytes at a time. */
export function crc64(low = 0, high = 0): Crc64 {
  return {
    update: (bytes, from = 0, to = bytes.length) => {
      let i = from
      for (; i + 8 <= to; i += 8) {
        const a = low ^ word(bytes, i)
        const b = high ^ word(bytes, i + 4)
        low = halves(lows, a, b)
        high = halves(highs, a, b)
      }
      for (; i < to; i++) {
        const at = (low ^ (bytes[i] as number)) & 255
        low = ((low >>> 8) | (high << 24)) ^ (lows[at] as number)
        high = (high >>> 8) ^ (highs[at] as number)
      }
    },
    write: (into, at) => {
      into.writeInt32LE(low, at)
      into.writeInt32LE(high, at + 4)
    },
    reset: () => {
      low = 0
      high = 0
    },
    copy: () => crc64(low, high),
  }
}

function word(bytes: Buffer, i: number): number {
  return (
    (bytes[i] as number) |
    ((bytes[i + 1] as number) << 8) |
    ((bytes[i + 2] as number) << 16) |
    ((bytes[i + 3] as number) << 24)
  )
}

/** The first byte has seven more to pass, the last one none. */
function halves(table: Int32Array, a: number, b: number): number {
  return (
    (table[1792 + (a & 255)] as number) ^
    (table[1536 + ((a >>> 8) & 255)] as number) ^
    (table[1280 + ((a >>> 16) & 255)] as number) ^
    (table[1024 + (a >>> 24)] as number) ^
    (table[768 + (b & 255)] as number) ^
    (table[512 + ((b >>> 8) & 255)] as number) ^
    (table[256 + ((b >>> 16) & 255)] as number) ^
    (table[b >>> 24] as number)
  )
}

const polynomial = { low: 0xac4bc9b5 | 0, high: 0x95ac9329 | 0 }

/** At 256 × n: a byte with n zero bytes behind it. */
const lows = new Int32Array(2048)
const highs = new Int32Array(2048)

for (let i = 0; i < 2048; i++) {
  let low = i < 256 ? i : (lows[i - 256] as number)
  let high = i < 256 ? 0 : (highs[i - 256] as number)
  for (let bit = 0; bit < 8; bit++) {
    const odd = low & 1
    low = (low >>> 1) | (high << 31)
    high >>>= 1
    if (!odd) continue
    low ^= polynomial.low
    high ^= polynomial.high
  }
  lows[i] = low
  highs[i] = high
}
