import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { zstdCompressSync } from 'node:zlib'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { describe, expect, test } from 'vitest'
import { fileKeySize, wrapKey } from '../../io/age.ts'
import { readRange } from '../../io/ranges.ts'
import { seal } from '../../io/seal.ts'
import { compress, decompress, frameSize, largestFrame } from '../../io/zstd.ts'
import type { Part } from '../../manifest.ts'
import { memoryStorage } from '../fakes/memory.ts'
import { piecesOf, seeded, someBytes } from '../fakes/seeded.ts'

const signal = new AbortController().signal
const backup = { plan: 'nightly', id: '1', signal }
const fileKey = randomBytes(fileKeySize)

type How = [string, { zstd: boolean; age: boolean }]
const checked: How[] = [
  ['compressed', { zstd: true, age: false }],
  ['encrypted', { zstd: false, age: true }],
  ['compressed and encrypted', { zstd: true, age: true }],
]
const ways: How[] = [['stored as it is', { zstd: false, age: false }], ...checked]

describe('a part that is', () => {
  test.each(ways)('%s is read from anywhere', async (_, how) => {
    const random = seeded(3)
    for (const size of [1, 65_536, 2 * frameSize, 2 * frameSize + 12_345]) {
      const bytes = someBytes(random, size)
      const { part, storage } = await stored(bytes, how)
      const ranges = [[0, size], [0, 1], [size - 1, size], [size, size], ...manyRanges(random, size)]
      for (const [start, end] of ranges as [number, number][]) {
        const got = await buffer(await readRange(part, { start, end }, { ...backup, storage, fileKey }))
        expect(got.equals(bytes.subarray(start, end)), `${start} to ${end} of ${size}`).toBe(true)
      }
    }
  })

  test.each(checked)('%s shows what was changed where it is read', async (_, how) => {
    const random = seeded(4)
    const bytes = randomBytes(2 * frameSize)
    const { part, storage } = await stored(bytes, how)
    const object = storage.objects.get(`nightly/1/${part.path}`) as { bytes: Buffer }
    for (let i = 0; i < 20; i++) {
      const start = random(bytes.length - 1000)
      const sound = object.bytes
      object.bytes = Buffer.from(sound)
      // nothing is compressed in random bytes, so that it is about there
      const at = start + 600
      object.bytes[at] = (object.bytes[at] as number) ^ 1
      const reading = readRange(part, { start, end: start + 1000 }, { ...backup, storage, fileKey }).then(buffer)
      await expect(reading, `${at}`).rejects.toMatchObject({ kind: 'verification' })
      object.bytes = sound
    }
  })
})

test('a compressed part without a table is refused', async () => {
  const bytes = Buffer.from('row')
  const storage = memoryStorage()
  const frame = zstdCompressSync(bytes)
  await storage.put('nightly/1/a.zst', frame, {})
  const part = { path: 'a.zst', size: frame.length, sha256: '', codec: 'zstd' as const, plain: { size: 3, sha256: '' } }
  await expect(readRange(part, { start: 0, end: 1 }, { ...backup, storage })).rejects.toThrow('no table')
})

describe('frames', () => {
  test('of any size are read to their end, and what is to be skipped is skipped', async () => {
    const random = seeded(5)
    const contents = Array.from({ length: 30 }, () =>
      someBytes(random, random(3) === 0 ? random(30) : random(largestFrame)),
    )
    const skipped = Buffer.from('502a4d18' + '05000000' + '0102030405', 'hex')
    const frames = contents.flatMap((bytes) => [zstdCompressSync(bytes), ...(random(4) === 0 ? [skipped] : [])])
    const source = Readable.from(piecesOf(random, Buffer.concat(frames)), { objectMode: false })
    expect((await buffer(decompress(source))).equals(Buffer.concat(contents))).toBe(true)
  })

  test.each([
    ['no frames', (_: Buffer) => Buffer.from('INSERT INTO')],
    ['cut', (bytes: Buffer) => bytes.subarray(0, 1000)],
    ['cut in the table', (bytes: Buffer) => bytes.subarray(0, -3)],
    ['more than frames', (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('more than that')])],
    ['larger than ours', (_: Buffer) => zstdCompressSync(Buffer.alloc(largestFrame + 1))],
    ['one long frame', (_: Buffer) => zstdCompressSync(randomBytes(3 * largestFrame))],
  ])('that are %s are refused', async (_, spoil) => {
    const bytes = await buffer(compress(Readable.from([randomBytes(100_000)])))
    const reading = buffer(decompress(Readable.from([spoil(bytes)])))
    await expect(reading).rejects.toMatchObject({ kind: 'verification' })
  })
})

async function stored(bytes: Buffer, { zstd, age }: { zstd: boolean; age: boolean }) {
  const storage = memoryStorage()
  const path = `t${zstd ? '.zst' : ''}${age ? '.age' : ''}`
  const recipients = [await identityToRecipient(await generateX25519Identity())]
  const header = await wrapKey({ fileKey, recipients, place: `nightly/1/${path}` })
  const plain = Readable.from(piecesOf(seeded(7), bytes), { objectMode: false })
  const data = zstd ? compress(plain) : plain
  await storage.put(`nightly/1/${path}`, age ? seal(data, { fileKey, header }) : data, { signal })
  const object = storage.objects.get(`nightly/1/${path}`) as { bytes: Buffer }
  const part: Part = {
    path,
    ...contentOf(object.bytes),
    ...(zstd ? { codec: 'zstd' } : {}),
    ...(age ? { age: { header, recipients } } : {}),
    ...(zstd || age ? { plain: contentOf(bytes) } : {}),
  }
  return { part, storage }
}

function contentOf(bytes: Buffer) {
  return { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
}

function manyRanges(random: (below: number) => number, size: number): [number, number][] {
  return Array.from({ length: 10 }, () => {
    const start = random(size)
    return [start, start + random(Math.min(size - start, random(2) ? 200_000 : size) + 1)]
  })
}
