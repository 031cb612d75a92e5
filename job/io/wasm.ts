/**
 * WebAssembly put together from its instructions, for loops over bytes that JavaScript is several times slower at. What it is given are
 * bytes as chapter 5 of the specification has them.
 */
export interface Exported {
  name: string
  parameters: number
  /** An i32, or nothing. */
  result?: boolean
  /** Types of its locals, one after the other. */
  locals?: number[]
  body: number[]
}

export const type = { i32: 0x7f, i64: 0x7e, v128: 0x7b, none: 0x40 }

/** A number of any size. */
export function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)]
}

/** Up to 8191. */
export function signed(value: number): number[] {
  return value < 64 ? [value] : [(value & 127) | 128, value >>> 7]
}

function counted(bytes: number[]): number[] {
  return [...unsigned(bytes.length), ...bytes]
}

function list(items: readonly number[][]): number[] {
  return [...unsigned(items.length), ...items.flat()]
}

const text = (name: string) => counted([...Buffer.from(name)])

/** All parameters are i32. The memory, of so many pages of 64 KiB, is exported too. */
export function assemble(functions: readonly Exported[], pages: number): Uint8Array<ArrayBuffer> {
  const signatures = functions.map(({ parameters, result }) => [
    0x60,
    ...counted(new Array<number>(parameters).fill(type.i32)),
    ...(result ? [1, type.i32] : [0]),
  ])
  const bodies = functions.map(({ locals = [], body }) =>
    counted([...list(locals.map((one) => [1, one])), ...body, 0x0b]),
  )
  const sections: [number, number[]][] = [
    [1, list(signatures)],
    [3, list(functions.map((_, i) => unsigned(i)))],
    [5, [1, 0, ...unsigned(pages)]],
    [7, list([[...text('memory'), 2, 0], ...functions.map(({ name }, i) => [...text(name), 0, ...unsigned(i)])])],
    [10, list(bodies)],
  ]
  const magic = [0, ...Buffer.from('asm'), 1, 0, 0, 0]
  return Uint8Array.from([...magic, ...sections.flatMap(([id, bytes]) => [id, ...counted(bytes)])])
}

/** Of what Node has, and its types do not name. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object) => { exports: unknown }
}

/** Makes instances, each with a memory of its own. */
export function compile<Functions>(
  code: Uint8Array<ArrayBuffer>,
): () => Functions & { memory: { buffer: ArrayBuffer } } {
  const module = new WebAssembly.Module(code)
  return () => new WebAssembly.Instance(module).exports as never
}
