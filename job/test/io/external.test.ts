import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { externalPlace, takeIn } from '../../io/external.ts'
import { readPart } from '../../io/parts.ts'
import type { Part } from '../../manifest.ts'
import type { ExternalPlace, Storage } from '../../storage.ts'
import { encrypting } from '../contracts/parts.ts'
import { destinationsOf } from '../fakes/destinations.ts'
import { memoryStorage } from '../fakes/memory.ts'

const backup = { plan: 'nightly', id: '1', signal: new AbortController().signal }

/** A storage that a database gets to by itself. */
function bucket(name: string): Storage {
  const external = (prefix: string): ExternalPlace => ({ kind: 's3', bucket: name, prefix, forcePathStyle: true })
  return { ...memoryStorage({ name }), external }
}

test('a database that writes by itself gets the first bucket that is not encrypted', () => {
  const candidates = [
    { storage: memoryStorage({ name: 'folder' }), encrypted: false },
    { storage: bucket('safe'), encrypted: true },
    { storage: bucket('open'), encrypted: false },
  ]
  expect(externalPlace(candidates, 'nightly/1/crdb')).toMatchObject({ place: { bucket: 'open' } })
})

test.each<[string, [Storage, boolean][], RegExp]>([
  ['no bucket', [[memoryStorage({ name: 'folder' }), false]], /by itself, and folder is none/],
  ['encrypted ones only', [[bucket('safe'), true]], /what lies in safe is encrypted/],
])('with %s it is refused', (_, storages, says) => {
  const candidates = storages.map(([storage, encrypted]) => ({ storage, encrypted }))
  expect(() => externalPlace(candidates, 'x')).toThrow(
    expect.objectContaining({ kind: 'configuration', message: expect.stringMatching(says) }),
  )
})

test('what it wrote is copied to the other storages, encrypted where they ask for it', async () => {
  const storage = bucket('open')
  const bytes = Buffer.from('rows'.repeat(50_000))
  await storage.put('nightly/1/crdb/data/1.sst', Readable.from([bytes]), {})
  const safe = await encrypting(memoryStorage(), 'safe')
  const to = destinationsOf([storage, safe])
  const [copies] = await takeIn({ ...backup, folder: 'crdb', storage, to, onBytes: () => {} })
  expect(copies?.get('open')).toMatchObject({ path: 'crdb/data/1.sst', size: bytes.length })
  const copy = copies?.get('safe') as Part
  expect(copy).toMatchObject({ path: 'crdb/data/1.sst.age', plain: { size: bytes.length } })
  expect((await buffer(await readPart(copy, { ...backup, storage: safe }))).equals(bytes)).toBe(true)
})
