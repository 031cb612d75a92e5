import { Readable } from 'node:stream'
import { BSON, type Document } from 'mongodb'
import { describe, expect, test } from 'vitest'
import { walkArchive, withoutCollections } from '../../../engines/mongodb/archive.ts'
import { lending } from '../../../io/lending.ts'
import type { Lender } from '../../../storage.ts'
import { archiveOf } from '../../fakes/mongo-archive.ts'

async function walk(bytes: Buffer, piece = bytes.length) {
  const pieces = Array.from({ length: Math.ceil(bytes.length / piece) }, (_, i) =>
    bytes.subarray(i * piece, (i + 1) * piece),
  )
  const { stream, contents } = await walkArchive(Readable.from(pieces), { what: 'the archive', kind: 'server' })
  const out: Buffer[] = []
  for await (const chunk of stream) out.push(chunk as Buffer)
  return { out: Buffer.concat(out), ...contents() }
}

const orders = {
  db: 'shop',
  collection: 'orders',
  metadata: { indexes: [{ name: '_id_' }, { name: 'by customer' }], type: 'collection' },
  documents: Array.from({ length: 50 }, (_, i) => ({ _id: i, note: 'x'.repeat(i * 7) })),
}
const recent = { db: 'shop', collection: 'recent', metadata: { options: { viewOn: 'orders' }, type: 'view' } }
const weather = {
  db: 'shop',
  collection: 'weather',
  metadata: { options: { timeseries: { timeField: 't' } }, type: 'timeseries' },
  data: 'system.buckets.weather',
  documents: [{ _id: 1, control: { version: 1 } }],
}
const capped = { db: 'shop', collection: 'log', metadata: { options: { capped: true, size: 4096 } }, documents: [] }
const users = { db: 'admin', collection: 'system.users', metadata: {}, documents: [{ _id: 'shop.ann' }] }
const usersOfOne = { db: 'shop', collection: '$admin.system.users', metadata: {}, documents: [{ _id: 'shop.ann' }] }

function oplog(...entries: Document[]) {
  const documents = entries.map((entry, i) => ({ ts: new BSON.Timestamp({ t: 1_800_000_000, i: i + 1 }), ...entry }))
  return { db: '', collection: 'oplog', documents }
}

function sizeOf(documents: Document[]): number {
  return documents.reduce((sum, one) => sum + BSON.calculateObjectSize(one), 0)
}

/** Each loan is overwritten as soon as the next is asked for. */
async function* loansOf(bytes: Buffer, piece: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += piece) {
    const loan = Buffer.from(bytes.subarray(at, at + piece))
    yield loan
    loan.fill(0xee)
  }
}

describe('an archive without some collections', () => {
  const ours = { db: 'holdfast', collection: 'restores', metadata: {}, documents: [{ _id: 'once' }] }
  const settings = { db: 'config', collection: 'settings', metadata: {}, documents: [] }
  const replayed = oplog({ op: 'i', ns: 'shop.orders', o: { _id: 100 } })
  const leftOut = ({ db, collection }: { db: string; collection: string }) =>
    db === 'holdfast' || db === 'config' || collection === 'system.users'

  async function left(bytes: Buffer, piece: number): Promise<Buffer> {
    const stream = await withoutCollections(lending(loansOf(bytes, piece)), leftOut)
    const out: Buffer[] = []
    for await (const loan of (stream as Lender).loans()) out.push(Buffer.from(loan))
    return Buffer.concat(out)
  }

  test.each([1, 3, 64, 1000, 1_000_000])('has all others as they were, read in pieces of %i bytes', async (piece) => {
    const bytes = archiveOf([ours, orders, { ...recent, without: 'data' }, users, weather, settings, capped, replayed])
    const expected = archiveOf([orders, { ...recent, without: 'data' }, weather, capped, replayed])
    expect((await left(bytes, piece)).equals(expected)).toBe(true)
  })

  test('is the same when it has none of them, and an empty one when it has no others', async () => {
    for (const bytes of [archiveOf([orders, replayed]), archiveOf([])])
      expect((await left(bytes, 100)).equals(bytes)).toBe(true)
    expect((await left(archiveOf([users, ours]), 100)).equals(archiveOf([]))).toBe(true)
  })

  test('is refused when it is damaged', async () => {
    const bytes = archiveOf([orders])
    bytes.writeInt32LE(-7, bytes.length - 4)
    await expect(left(bytes, 100)).rejects.toMatchObject({ kind: 'verification' })
  })

  test.each([-1, -4, -500, 0.5, 0])('is refused when it is cut at %d', async (end) => {
    const bytes = archiveOf([users, orders])
    const cut = bytes.subarray(0, end < 0 ? end : bytes.length * end)
    await expect(left(cut, 100)).rejects.toMatchObject({
      kind: 'verification',
      message: expect.stringMatching(/ends in the middle|is empty/),
    })
  })
})

describe('the walk over an archive', () => {
  test.each([1, 3, 64, 1000])('takes loans of %i bytes, and lends the same bytes', async (piece) => {
    const bytes = archiveOf([orders, weather, oplog({ op: 'i', ns: 'shop.orders', o: { _id: 100 } })])
    const { stream, contents } = await walkArchive(lending(loansOf(bytes, piece)), { what: 'it', kind: 'server' })
    const out: Buffer[] = []
    for await (const loan of (stream as Lender).loans()) out.push(Buffer.from(loan))
    expect(Buffer.concat(out).equals(bytes)).toBe(true)
    expect(contents().collections.map(({ documents }) => documents)).toEqual([50, 1])
    expect(contents().oplog?.collections).toEqual({ 'shop.orders': { inserts: 1, deletes: 0, commands: false } })
  })

  test.each([1, 64, 1000])('finds the end missing in loans of %i bytes', async (piece) => {
    const bytes = archiveOf([orders])
    const source = lending(loansOf(bytes.subarray(0, -1), piece))
    const { stream } = await walkArchive(source, { what: 'it', kind: 'server' })
    const read = async () => {
      for await (const _ of (stream as Lender).loans());
    }
    await expect(read()).rejects.toMatchObject({ kind: 'server', message: 'it ends in the middle' })
  })

  test.each([1, 3, 64, 1_000_000])(
    'counts all collections in pieces of %i bytes, and changes nothing',
    async (piece) => {
      const bytes = archiveOf([orders, { ...recent, without: 'data' }, weather, capped, users, usersOfOne])
      const { out, collections } = await walk(bytes, piece)
      expect(out.equals(bytes)).toBe(true)
      expect(collections.map(({ database, name, type, documents }) => [database, name, type, documents])).toEqual([
        ['shop', 'orders', 'collection', 50],
        ['shop', 'recent', 'view', 0],
        ['shop', 'weather', 'timeseries', 1],
        ['shop', 'log', 'collection', 0],
        ['admin', 'system.users', 'collection', 1],
        ['shop', '$admin.system.users', 'collection', 1],
      ])
      expect(collections[0]?.indexes).toEqual(['_id_', 'by customer'])
      expect(collections[0]?.thousandBytes).toBe(sizeOf(orders.documents))
      expect(collections.filter((one) => one.capped).map(({ name }) => name)).toEqual(['log'])
    },
  )

  test('tells the largest thousand of documents, and how many collections were read at once', async () => {
    const documents = Array.from({ length: 2500 }, (_, i) => ({
      _id: i,
      note: 'x'.repeat(i < 1000 || i > 1999 ? 1 : 100),
    }))
    const { collections, collectionsAtOnce } = await walk(archiveOf([{ ...orders, documents }]), 100_000)
    expect(collections[0]?.thousandBytes).toBe(sizeOf(documents.slice(1000, 2000)))
    expect(collectionsAtOnce).toBe(4)
  })

  test('tells what the oplog does to each collection, and its point in time', async () => {
    const { oplog: taken } = await walk(
      archiveOf([
        orders,
        oplog(
          { op: 'n', ns: '', o: { msg: 'periodic noop' } },
          { op: 'i', ns: 'shop.orders', o: { _id: 100 } },
          { op: 'u', ns: 'shop.orders', o: {} },
          {
            op: 'c',
            ns: 'admin.$cmd',
            o: {
              applyOps: [
                { op: 'd', ns: 'shop.orders', o: {} },
                { op: 'i', ns: 'shop.late', o: {} },
              ],
            },
          },
          { op: 'c', ns: 'shop.$cmd', o: { create: 'made' } },
          { op: 'c', ns: 'shop.$cmd', o: { renameCollection: 'shop.a', to: 'shop.b' } },
          { op: 'c', ns: 'gone.$cmd', o: { dropDatabase: 1 } },
        ),
      ]),
      7,
    )
    expect(taken).toEqual({
      entries: 7,
      changes: 7,
      first: { seconds: 1_800_000_000, increment: 1 },
      last: { seconds: 1_800_000_000, increment: 7 },
      collections: {
        'shop.orders': { inserts: 1, deletes: 1, commands: false },
        'shop.late': { inserts: 1, deletes: 0, commands: false },
        'shop.made': { inserts: 0, deletes: 0, commands: true },
        'shop.a': { inserts: 0, deletes: 0, commands: true },
        'shop.b': { inserts: 0, deletes: 0, commands: true },
        'gone.*': { inserts: 0, deletes: 0, commands: true },
      },
    })
  })

  test.each([
    ['nothing', Buffer.alloc(0), /is empty/],
    ['something else', Buffer.from('-- PostgreSQL dump'), /is no archive/],
    ['a collection without its end', archiveOf([{ ...orders, without: 'end' }]), /has no end of shop.orders/],
    ['a collection that was announced only', archiveOf([orders, { ...capped, without: 'data' }]), /lacks shop.log/],
    ['rubbish inside', Buffer.concat([archiveOf([orders]), Buffer.alloc(8)]), /a document of 0 bytes/],
  ])('refuses %s', async (_, bytes, says) => {
    await expect(walk(bytes)).rejects.toThrow(says)
  })

  test('refuses an archive that is cut, wherever it is', async () => {
    const bytes = archiveOf([orders, capped])
    for (let size = 0; size < bytes.length; size += 41)
      await expect(walk(bytes.subarray(0, size), 500)).rejects.toThrow()
    await expect(walk(bytes.subarray(0, -1))).rejects.toThrow()
  })
})
