import { assemble, compile, signed, type, unsigned } from '../../io/wasm.ts'

/** CRC-64 as RDB files and serialised values have it: Jones' polynomial, reflected, begun with 0. */
export interface Crc64 {
  update(bytes: Buffer, from?: number, to?: number): void
  /** The eight bytes as the server writes them, at `at`. */
  write(into: Buffer, at: number): void
  reset(): void
  /** The same state, to go on differently from here. */
  copy(): Crc64
}

/**
 * Numbers of JavaScript have no 64 bits: the loop is WebAssembly, put together below, several times as fast as in two halves. All share one
 * memory, since nothing is awaited while it is used.
 */
export function crc64(low = 0, high = 0): Crc64 {
  return {
    update: (bytes, from = 0, to = bytes.length) => {
      words[0] = low
      words[1] = high
      for (let at = from; at < to; at += roomForData) {
        const end = Math.min(to, at + roomForData)
        memory.set(bytes.subarray(at, end), dataAt)
        pass(dataAt, dataAt + end - at)
      }
      low = words[0]
      high = words[1]
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

/** Of its memory: the state, eight tables of 256 words, the bytes to pass. */
const tablesAt = 2048
const tableSize = 2048
const dataAt = tablesAt + 8 * tableSize
const pages = 2
const roomForData = pages * 65536 - dataAt

/** Bytes of instructions (WebAssembly, chapter 5.4). Locals: 0 where to read, 1 where to end, 2 the state. */
const code = {
  block: 0x02,
  loop: 0x03,
  end: 0x0b,
  branch: 0x0c,
  branchIf: 0x0d,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  load64: 0x29,
  load8: 0x31,
  store64: 0x37,
  const32: 0x41,
  const64: 0x42,
  above: 0x4b,
  notBelow: 0x4f,
  add32: 0x6a,
  and32: 0x71,
  shiftLeft32: 0x74,
  xor64: 0x85,
  shiftRight64: 0x88,
  wrap: 0xa7,
}

/** What table `table` has for the lowest byte of the word on the stack. */
function look(table: number): number[] {
  const c = code
  const index = [c.wrap, c.const32, ...signed(255), c.and32, c.const32, ...signed(3), c.shiftLeft32]
  return [...index, c.load64, 3, ...unsigned(tablesAt + table * tableSize)]
}

function shifted(bits: number): number[] {
  return [code.get, 2, code.const64, ...signed(bits), code.shiftRight64]
}

function advance(bytes: number): number[] {
  return [code.get, 0, code.const32, ...signed(bytes), code.add32, code.set, 0]
}

/** pass(from, to): the state over the bytes between. */
function body(): number[] {
  const c = code
  const word = [c.get, 2, c.get, 0, c.load64, 0, 0, c.xor64, c.set, 2]
  // the first byte has seven more to pass, the last one none
  const looks = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((i) => [
    ...shifted(8 * i),
    ...look(7 - i),
    ...(i > 0 ? [c.xor64] : []),
  ])
  const byEight = [
    ...[c.block, type.none, c.loop, type.none],
    ...[c.get, 0, c.const32, ...signed(8), c.add32, c.get, 1, c.above, c.branchIf, 1],
    ...[...word, ...looks, c.set, 2, ...advance(8), c.branch, 0, c.end, c.end],
  ]
  const byte = [c.get, 2, c.get, 0, c.load8, 0, 0, c.xor64, ...look(0), ...shifted(8), c.xor64, c.set, 2]
  const byOne = [
    ...[c.block, type.none, c.loop, type.none],
    ...[c.get, 0, c.get, 1, c.notBelow, c.branchIf, 1],
    ...[...byte, ...advance(1), c.branch, 0, c.end, c.end],
  ]
  const begin = [c.const32, 0, c.load64, 0, 0, c.set, 2]
  const keep = [c.const32, 0, c.get, 2, c.store64, 0, 0]
  return [...begin, ...byEight, ...byOne, ...keep]
}

const made = compile<{ pass(from: number, to: number): void }>(
  assemble([{ name: 'pass', parameters: 2, locals: [type.i64], body: body() }], pages),
)()
const { pass } = made
const memory = new Uint8Array(made.memory.buffer)
const words = new Int32Array(made.memory.buffer, 0, 2) as unknown as [number, number]

/** Table n: a byte with n zero bytes behind it. */
function fillTables(): void {
  const table = new BigUint64Array(made.memory.buffer, tablesAt, 8 * 256)
  const polynomial = 0x95ac9329ac4bc9b5n
  for (let i = 0; i < table.length; i++) {
    let word = i < 256 ? BigInt(i) : (table[i - 256] as bigint)
    for (let bit = 0; bit < 8; bit++) word = word & 1n ? (word >> 1n) ^ polynomial : word >> 1n
    table[i] = word
  }
}
fillTables()
