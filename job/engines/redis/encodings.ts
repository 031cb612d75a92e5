/**
 * How each type of value is written in an RDB, as far as its end must be found: a step is one of these, so many bytes as they are, or a
 * list, which stands for a length and then the list so many times. Source: rdbSaveObject of Redis 6.0 to 8.0 and Valkey 7.2 to 9.1.
 */
export type Step = number | readonly Step[]

/** A length and that many bytes, a number, or compressed. */
export const string = -1
export const length = -2
/** A floating point number as text, of old versions. */
export const decimal = -3
/** What a module wrote, piece by piece, to its end mark. */
export const moduleData = -4

const streamId = [length, length] as const
const pending = 16
const time = 8

function stream(version: 1 | 2 | 3): Step[] {
  const counted = version >= 2
  const consumer = [string, time, ...(version >= 3 ? [time] : []), [pending]]
  const group = [string, ...streamId, ...(counted ? [length] : []), [pending, time, length], consumer]
  const ends = counted ? [...streamId, ...streamId, length] : []
  return [[string, string], length, ...streamId, ...ends, group]
}

export interface Encoding {
  /** As TYPE says. */
  type: string
  steps: readonly Step[]
  /** Its fields may have ends: with the last one the key is gone. `ahead`: the value begins with the earliest; `inside`: somewhere in it. */
  fieldEnds?: 'ahead' | 'inside'
}

const common: Record<number, Encoding> = {
  0: { type: 'string', steps: [string] },
  1: { type: 'list', steps: [[string]] },
  2: { type: 'set', steps: [[string]] },
  3: { type: 'zset', steps: [[string, decimal]] },
  4: { type: 'hash', steps: [[string, string]] },
  5: { type: 'zset', steps: [[string, 8]] },
  7: { type: 'module', steps: [length, moduleData] },
  9: { type: 'hash', steps: [string] },
  10: { type: 'list', steps: [string] },
  11: { type: 'set', steps: [string] },
  12: { type: 'zset', steps: [string] },
  13: { type: 'hash', steps: [string] },
  14: { type: 'list', steps: [[string]] },
  15: { type: 'stream', steps: stream(1) },
  16: { type: 'hash', steps: [string] },
  17: { type: 'zset', steps: [string] },
  18: { type: 'list', steps: [[length, string]] },
  19: { type: 'stream', steps: stream(2) },
  20: { type: 'set', steps: [string] },
  21: { type: 'stream', steps: stream(3) },
}

/** Hashes whose fields expire: the two products went different ways under the same numbers. */
const redis: Record<number, Encoding> = {
  24: { type: 'hash', steps: [time, [length, string, string]], fieldEnds: 'ahead' },
  25: { type: 'hash', steps: [time, string], fieldEnds: 'ahead' },
}
const valkey: Record<number, Encoding> = {
  22: { type: 'hash', steps: [[string, string, time]], fieldEnds: 'inside' },
}

export type Product = 'Redis' | 'Valkey'

/** Undefined for types that are not known: nothing tells where they end. */
export function encodingOf(type: number, product: Product): Encoding | undefined {
  return common[type] ?? (product === 'Redis' ? redis : valkey)[type]
}
