import { assemble, compile, type Exported, signed, type, unsigned } from '../../io/wasm.ts'

/**
 * What turns values into literals of SQL, in a memory of its own: values are put in from `input` on, and may be so many bytes as
 * `inputBytes`; literals are made from `output` on, and end before `outputEnd`. Sixteen bytes behind both may be touched.
 */
export interface Literals {
  memory: Uint8Array<ArrayBuffer>
  /** The bytes from `from` to `to` with a backslash before those that need one. Gives where they end in the output. */
  escaped(from: number, to: number, at: number): number
  /** Two letters for each byte. */
  hex(from: number, to: number, at: number): number
}

/** Instructions (WebAssembly, chapter 5.4). */
const code = {
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  branch: 0x0c,
  branchIf: 0x0d,
  select: 0x1b,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  load8: 0x2d,
  load16: 0x2f,
  store8: 0x3a,
  store16: 0x3b,
  const: 0x41,
  below: 0x49,
  notBelow: 0x4f,
  firstBit: 0x68,
  add: 0x6a,
  subtract: 0x6b,
  and: 0x71,
  shiftLeft: 0x74,
}

/** The same of sixteen bytes at once. */
const wide = {
  load: [0xfd, 0x00, 0, 0],
  store: [0xfd, 0x0b, 0, 0],
  splat: [0xfd, 0x0f],
  equal: [0xfd, 0x23],
  or: [0xfd, 0x50],
  bits: [0xfd, 0x64],
}

/** What a string must not have as it is, and the letter behind the backslash instead. */
const escapes: [number, string][] = [
  [0x00, '0'],
  [0x0a, 'n'],
  [0x0d, 'r'],
  [0x1a, 'Z'],
  [0x27, "'"],
  [0x5c, '\\'],
]

const lettersAt = 0
const digitsAt = 256
export const input = 1024
export const inputBytes = 64 * 1024
const width = 16
export const output = input + inputBytes + width
const pages = 16
export const outputEnd = pages * 64 * 1024 - width

// parameters of both
const from = 0
const to = 1
const out = 2

const get = (local: number) => [code.get, local]
const constant = (value: number) => [code.const, ...signed(value)]
const advance = (local: number, by: number[]) => [...get(local), ...by, code.add, code.set, local]
/** As long as there are bytes; instructions inside go on with `branch 0`. */
const whileLeft = (body: number[]) => [
  ...[code.block, type.none, code.loop, type.none],
  ...[...get(from), ...get(to), code.notBelow, code.branchIf, 1],
  ...[...body, code.branch, 0, code.end, code.end],
]

/** Sixteen bytes are copied as they are; from the first that needs a backslash on, they are copied again behind it. */
function escapedBytes(): Exported {
  const [bytes, found, count] = [3, 4, 5]
  const marks = escapes.flatMap(([byte], i) => [
    ...[...get(bytes), ...constant(byte), ...wide.splat, ...wide.equal],
    ...(i > 0 ? wide.or : []),
  ])
  const left = [...get(to), ...get(from), code.subtract]
  const body = [
    ...[...get(from), ...wide.load, code.set, bytes, ...get(out), ...get(bytes), ...wide.store],
    // those of the sixteen that belong to it
    ...[...left, ...constant(width), ...left, ...constant(width), code.below, code.select, code.set, count],
    ...[...constant(1), ...get(count), code.shiftLeft, ...constant(1), code.subtract],
    ...[...marks, ...wide.bits, code.and, code.tee, found],
    ...[code.if, type.none],
    ...[...get(found), code.firstBit, code.set, count],
    ...[...advance(from, get(count)), ...advance(out, get(count))],
    ...[...get(out), ...constant(0x5c), code.store8, 0, 0],
    ...[...get(out), ...get(from), code.load8, 0, 0, code.load8, 0, ...unsigned(lettersAt), code.store8, 0, 1],
    ...[...advance(from, constant(1)), ...advance(out, constant(2))],
    ...[code.else, ...advance(from, get(count)), ...advance(out, get(count)), code.end],
  ]
  const locals = [type.v128, type.i32, type.i32]
  return { name: 'escaped', parameters: 3, result: true, locals, body: [...whileLeft(body), ...get(out)] }
}

/** The same for processors without instructions for sixteen bytes (of Intel's before SSE 4.1, which virtual machines may pretend to be). */
function escapedByByte(): Exported {
  const letter = 3
  const body = [
    ...[...get(from), code.load8, 0, 0, code.load8, 0, ...unsigned(lettersAt), code.tee, letter],
    ...[code.if, type.none],
    ...[...get(out), ...constant(0x5c), code.store8, 0, 0, ...get(out), ...get(letter), code.store8, 0, 1],
    ...[...advance(out, constant(2)), code.else],
    ...[...get(out), ...get(from), code.load8, 0, 0, code.store8, 0, 0, ...advance(out, constant(1)), code.end],
    ...advance(from, constant(1)),
  ]
  return { name: 'escaped', parameters: 3, result: true, locals: [type.i32], body: [...whileLeft(body), ...get(out)] }
}

function hexDigits(): Exported {
  const digits = [...get(from), code.load8, 0, 0, ...constant(1), code.shiftLeft, code.load16, 0, ...unsigned(digitsAt)]
  const body = [
    ...[...get(out), ...digits, code.store16, 0, 0],
    ...[...advance(from, constant(1)), ...advance(out, constant(2))],
  ]
  return { name: 'hex', parameters: 3, result: true, body: [...whileLeft(body), ...get(out)] }
}

type Functions = Pick<Literals, 'escaped' | 'hex'>
type Instance = ReturnType<typeof compiled>

function compiled(escaped: Exported) {
  return compile<Functions>(assemble([escaped, hexDigits()], pages))
}

const kinds = {
  fastest: () => {
    try {
      return compiled(escapedBytes())
    } catch {
      return compiled(escapedByByte())
    }
  },
  byByte: () => compiled(escapedByByte()),
}
/** Compiled with the first use. */
const instances: { [kind in keyof typeof kinds]?: Instance } = {}

export function literals(kind: keyof typeof kinds = 'fastest'): Literals {
  instances[kind] ??= kinds[kind]()
  const { memory, escaped, hex } = instances[kind]()
  const bytes = new Uint8Array(memory.buffer)
  for (const [byte, letter] of escapes) bytes[lettersAt + byte] = letter.charCodeAt(0)
  for (let byte = 0; byte < 256; byte++)
    bytes.set(Buffer.from(byte.toString(16).toUpperCase().padStart(2, '0')), digitsAt + 2 * byte)
  return { memory: bytes, escaped, hex }
}
