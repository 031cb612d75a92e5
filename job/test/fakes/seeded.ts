/** Numbers that look random and are the same for the same seed, from 0 to before `below`. */
export function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/** Bytes that compress about as tables do: some random, some repeated. */
export function someBytes(random: (below: number) => number, size: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at < size; ) {
    const length = Math.min(size - at, 1 + random(50_000))
    const repeated = random(3) > 0
    const pattern = Buffer.from(Array.from({ length: repeated ? 1 + random(40) : 997 }, () => random(256)))
    bytes.fill(pattern, at, at + length)
    at += length
  }
  return bytes
}

/** The bytes in pieces of any size. */
export function* piecesOf(random: (below: number) => number, bytes: Buffer): Generator<Buffer> {
  const largest = 1 + random(300_000)
  for (let at = 0; at < bytes.length; ) {
    const next = at + 1 + random(largest)
    yield bytes.subarray(at, next)
    at = next
  }
}
