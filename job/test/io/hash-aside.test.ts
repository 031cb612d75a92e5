import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { contentIn } from '../../io/hash-aside.ts'

const block = 512 * 1024
const large = { size: 100 * block }

test.each([0, 1, block - 1, block, block + 1, 9 * block, 9 * block + 3])('%i bytes', async (size) => {
  const bytes = randomBytes(size)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  for (const expected of [{ size: 1 }, large]) {
    const told: number[] = []
    const found = await contentIn(chunks(bytes), { ...expected, onBytes: (count) => void told.push(count) })
    expect({ ...found, told: told.reduce((sum, count) => sum + count, 0) }).toEqual({ size, sha256, told: size })
  }
})

test('several streams at once, each with its own hash', async () => {
  const all = [3, 5, 7].map((blocks) => randomBytes(blocks * block))
  const found = await Promise.all(all.map((bytes) => contentIn(chunks(bytes), large)))
  expect(found.map(({ sha256 }) => sha256)).toEqual(
    all.map((bytes) => createHash('sha256').update(bytes).digest('hex')),
  )
})

test.each([{ size: 1 }, large])('of $size bytes: what fails on the way fails, with its own error', async (expected) => {
  async function* broken() {
    yield randomBytes(5 * block)
    throw new Error('the disk is gone')
  }
  await expect(contentIn(Readable.from(broken()), expected)).rejects.toThrow('the disk is gone')
})

function chunks(bytes: Buffer): Readable {
  const size = 65_537
  return Readable.from(
    Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size)),
    { objectMode: false },
  )
}
