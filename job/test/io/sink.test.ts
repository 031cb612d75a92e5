import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { Readable } from 'node:stream'
import { beforeEach, describe, expect, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import type { BackupFacts } from '../../engine.ts'
import { openDestinations } from '../../io/destinations.ts'
import { openSink, type SourceSink } from '../../io/sink.ts'
import { memoryStore, type Store, signal } from '../catalog/store.ts'

const id = '1795218000'
const listKey = `nightly/${id}/ledger/parts.json`
const factsKey = `nightly/${id}/facts-ledger.json`
const facts: BackupFacts = {
  server: { product: 'test', version: '1' },
  tools: { dump: '2' },
  facts: { rows: 3, deeper: { none: null } },
  warnings: ['slow'],
}
const keys = () => generateKeyPairSync('ed25519').privateKey
const key = keys()
let store: Store

beforeEach(() => {
  store = memoryStore()
})

describe('what a failed run of a plan that signs kept', () => {
  beforeEach(async () => {
    const sink = sinkOf({ key })
    await sink.write('a.sql', Readable.from(['create table a;']))
    await sink.keepFacts(facts)
  })

  test('is taken up as it was', async () => {
    const sink = sinkOf({ key })
    await sink.takeUp(await keptFacts())
    expect(sink.parts(store)).toMatchObject([{ path: 'ledger/a.sql.zst', plain: { size: 15 } }])
  })

  test.each<[string, () => void]>([
    ['another hash of a part', () => edit(listKey, (text) => text.replace(/"sha256": "../, '"sha256": "00'))],
    ['a part that was put in', () => edit(listKey, (text) => text.replace('"parts": [', `"parts": [${strange},`))],
    ['other facts', () => edit(factsKey, (text) => text.replace('"rows": 3', '"rows": 4'))],
    ['a list without signature', () => edit(listKey, (text) => JSON.stringify(JSON.parse(text).parts))],
    ['what is no list', () => edit(listKey, () => '{')],
  ])('is refused with %s', async (_, change) => {
    change()
    const taking = sinkOf({ key }).takeUp(await keptFacts())
    await expect(taking).rejects.toMatchObject({ kind: 'verification', hint: expect.stringContaining('a new backup') })
  })

  test('is refused when somebody else signed it, and in another place', async () => {
    const kept = await keptFacts()
    await expect(sinkOf({ key: keys() }).takeUp(kept)).rejects.toMatchObject({ kind: 'verification' })
    store.objects.set(listKey.replace('ledger', 'shop'), store.objects.get(listKey) as Buffer)
    await expect(sinkOf({ key, source: 'shop' }).takeUp(kept)).rejects.toMatchObject({ kind: 'verification' })
  })

  test('is taken up as well when the plan signs no longer', async () => {
    const sink = sinkOf({})
    await sink.takeUp(await keptFacts())
    expect(sink.parts(store)).toHaveLength(1)
  })
})

test('what a plan without signing kept is taken up', async () => {
  const before = sinkOf({})
  await before.write('a.sql', Readable.from(['create table a;']))
  await before.keepFacts(facts)
  const sink = sinkOf({})
  await sink.takeUp(await keptFacts())
  expect(sink.parts(store)).toEqual(before.parts(store))
  await expect(sinkOf({ key }).takeUp(facts)).rejects.toMatchObject({ kind: 'verification' })
})

const strange = JSON.stringify({ path: 'ledger/b', size: 1, sha256: 'b'.repeat(64) })

function sinkOf({ key, source = 'ledger' }: { key?: KeyObject; source?: string }): SourceSink {
  return openSink({
    catalogs: [openCatalog({ storage: store, plan: 'nightly' })],
    to: openDestinations({ storages: [store], signal, onDrop: () => {} }),
    id,
    source,
    engine: 'mysql',
    key,
    workers: { order: async () => {}, close: async () => {} },
    progress: { begin: () => {}, add: () => {}, end: () => 0 },
    signal,
  })
}

async function keptFacts(): Promise<BackupFacts> {
  const kept = await openCatalog({ storage: store, plan: 'nightly' }).facts(id)
  return kept.ledger as BackupFacts
}

function edit(at: string, change: (text: string) => string): void {
  const before = store.objects.get(at)?.toString() as string
  expect(change(before)).not.toBe(before)
  store.objects.set(at, Buffer.from(change(before)))
}
