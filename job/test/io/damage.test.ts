import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { beforeAll, describe, expect, test } from 'vitest'
import { anyOf } from '../../io/destinations.ts'
import { readPart, writePart } from '../../io/parts.ts'
import type { Part } from '../../manifest.ts'
import type { Storage } from '../../storage.ts'
import { encrypting } from '../contracts/parts.ts'
import { destinationsOf } from '../fakes/destinations.ts'
import { type MemoryStorage, memoryStorage } from '../fakes/memory.ts'
import { piecesOf, seeded, someBytes } from '../fakes/seeded.ts'

const backup = { plan: 'nightly', id: '1', signal: new AbortController().signal }
const random = seeded(12)
const bytes = someBytes(random, 2_500_000)

type Damage = (stored: Buffer, other: Buffer) => Buffer

const damages: [string, Damage][] = [
  ['cut', (stored) => stored.subarray(0, random(stored.length))],
  ['longer', (stored) => Buffer.concat([stored, stored.subarray(0, 1 + random(100))])],
  ['in another order', (stored) => reordered(stored)],
  ['changed in one bit', (stored) => flipped(stored)],
  ['another part', (_, other) => other],
]

describe.each<[string, { plain: boolean; encrypted: boolean }]>([
  ['stored as it is', { plain: true, encrypted: false }],
  ['compressed', { plain: false, encrypted: false }],
  ['encrypted', { plain: true, encrypted: true }],
  ['compressed and encrypted', { plain: false, encrypted: true }],
])('a part that is %s', (_, { plain, encrypted }) => {
  let memory: MemoryStorage
  let storage: Storage
  let [part, other] = [{} as Part, {} as Part]

  beforeAll(async () => {
    memory = memoryStorage()
    storage = encrypted ? await encrypting(memory) : memory
    part = await written('orders.sql', bytes)
    other = await written('customers.sql', bytes)
  })

  test.each(damages)('is refused when it is %s', async (_, damage) => {
    const object = objectOf(part)
    const sound = object.bytes
    for (let i = 0; i < 10; i++) {
      object.bytes = damage(sound, Buffer.concat([objectOf(other).bytes, Buffer.from('x')]))
      await expect(buffer(await readPart(part, { ...backup, storage }))).rejects.toMatchObject({ kind: 'verification' })
    }
    object.bytes = sound
    expect((await buffer(await readPart(part, { ...backup, storage }))).equals(bytes)).toBe(true)
  })

  if (encrypted)
    test('has nothing in common with another one of the same bytes', () => {
      const [one, two] = [part, other].map((made) => objectOf(made).bytes.subarray(made.age?.header.length)) as [
        Buffer,
        Buffer,
      ]
      let same = 0
      for (const [i, byte] of one.entries()) if (byte === two[i]) same += 1
      // one byte in 256 is by chance
      expect(Math.abs(same / one.length - 1 / 256)).toBeLessThan(0.002)
    })

  if (encrypted)
    test('is refused when a manifest says that it is another one, of this backup or of another', async () => {
      const key = `nightly/1/${part.path}`
      memory.objects.set(key.replace('orders', 'payments'), objectOf(part))
      memory.objects.set(key.replace('/1/', '/2/'), objectOf(part))
      const renamed = { ...part, path: part.path.replace('orders', 'payments') }
      await expect(readPart(renamed, { ...backup, storage })).rejects.toMatchObject({ kind: 'verification' })
      await expect(readPart(part, { ...backup, id: '2', storage })).rejects.toMatchObject({ kind: 'verification' })
    })

  async function written(path: string, content: Buffer): Promise<Part> {
    const data = Readable.from(piecesOf(random, content), { objectMode: false })
    return anyOf(await writePart({ ...backup, path, data, plain, to: destinationsOf([storage]), onBytes: () => {} }))
  }

  function objectOf({ path }: Part) {
    return memory.objects.get(`nightly/1/${path}`) as { bytes: Buffer; modified: Date }
  }
})

function flipped(stored: Buffer): Buffer {
  const copy = Buffer.from(stored)
  const at = random(copy.length)
  copy[at] = (copy[at] as number) ^ (1 << random(8))
  return copy
}

function reordered(stored: Buffer): Buffer {
  const at = 1 + random(stored.length - 1)
  return Buffer.concat([stored.subarray(at), stored.subarray(0, at)])
}
