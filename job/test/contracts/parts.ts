import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { expect, test } from 'vitest'
import { partKey } from '../../catalog/layout.ts'
import { worthAThread } from '../../io/aside.ts'
import { keyOf } from '../../io/keys.ts'
import { checkPart, contentOf, ownPath, readPart, writePart } from '../../io/parts.ts'
import { readRange } from '../../io/ranges.ts'
import type { Part } from '../../manifest.ts'
import { readAll, type Storage } from '../../storage.ts'
import { destinationsOf } from '../fakes/destinations.ts'
import { memoryStorage } from '../fakes/memory.ts'
import { piecesOf, seeded, someBytes } from '../fakes/seeded.ts'

const backup = { plan: 'parts', id: '1', signal: new AbortController().signal }
const rounds = 8

/** Any bytes, in any of the ways that a part is stored, over one storage: alone, and beside one that stores it in another way. */
export function partsContract(open: () => Storage): void {
  test('parts come back, whole and from anywhere, compressed or encrypted or both', async () => {
    const random = seeded(11)
    const [own, other] = [await encrypting(open(), 'own'), await encrypting(memoryStorage(), 'other')]
    for (let i = 0; i < rounds; i++) {
      // one that is encrypted by a thread
      const aside = i === 0
      const bytes = someBytes(
        random,
        aside ? worthAThread + random(100_000) : random(2) ? random(3) : random(5_000_000),
      )
      const storages = [
        !aside && random(2) ? open() : own,
        ...(random(2) ? [other] : []),
        ...(!aside && random(2) ? [memoryStorage({ name: 'third' })] : []),
      ]
      const data = Readable.from(piecesOf(random, bytes), { objectMode: false })
      const [path, plain, known] = [`${i}.sql`, aside || random(2) === 0, aside || random(2) === 0]
      const size = known ? { size: bytes.length } : {}
      const copies = await writePart({
        ...backup,
        path,
        data,
        plain,
        ...size,
        to: destinationsOf(storages),
        onBytes: () => {},
      })
      expect(copies.size).toBe(storages.length)
      for (const storage of storages) {
        const part = copies.get(storage.name) as Part
        expect([ownPath(part), part.codec, part.age !== undefined]).toEqual([
          path,
          plain ? undefined : 'zstd',
          storage.encryption !== undefined,
        ])
        expect(contentOf(part).size).toBe(bytes.length)
        expect((await buffer(await readPart(part, { ...backup, storage }))).equals(bytes)).toBe(true)
        expect(await checkPart(part, { ...backup, storage })).toBe(bytes.length)
        expect((await readAll(storage, partKey('parts', '1', part.path))).length).toBe(part.size)
        const start = random(bytes.length + 1)
        const end = start + random(bytes.length - start + 1)
        const fileKey = part.age && (await keyOf(part, { ...backup, storage }))
        const some = await buffer(await readRange(part, { start, end }, { ...backup, storage, fileKey }))
        expect(some.equals(bytes.subarray(start, end))).toBe(true)
      }
    }
  })
}

/** The same storage under another name, with an identity of its own. */
export async function encrypting(storage: Storage, name = storage.name): Promise<Storage> {
  const identity = await generateX25519Identity()
  const recipients = [await identityToRecipient(identity)]
  return {
    ...storage,
    name,
    encryption: { recipients, at: 'storages.memory.encryption.identities', identities: () => [identity] },
  }
}
