import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { dumpOf } from '../../../engines/redis/dump.ts'
import { type Entry, readEntries } from '../../../engines/redis/entries.ts'
import { select } from '../../../engines/redis/selection.ts'
import { count, database, inChunks, key, rdb, text } from './rdb.ts'

const long = 'x'.repeat(20_000)
const id = Buffer.alloc(16, 1)
const time = Buffer.alloc(8, 2)

/** Of each type a value, as it is written. */
const values: [number, string, Buffer][] = [
  [0, 'text', text(long)],
  [0, 'number', Buffer.from([0xc1, 0x10, 0x27])],
  [1, 'list', Buffer.concat([count(2), text('a'), text(long)])],
  [
    3,
    'old zset',
    Buffer.concat([count(3), text('a'), text('1.5'), text('b'), Buffer.from([255]), text('c'), text('2')]),
  ],
  [5, 'zset', Buffer.concat([count(1), text('a'), time])],
  [
    7,
    'module',
    Buffer.concat([
      count(9),
      count(2),
      count(70),
      count(3),
      Buffer.alloc(4),
      count(4),
      time,
      count(5),
      text(long),
      count(0),
    ]),
  ],
  [18, 'quicklist', Buffer.concat([count(2), count(2), text('listpack'), count(1), text(long)])],
  [
    21,
    'stream',
    Buffer.concat([
      ...[count(1), text(id), text('listpack'), ...Array(8).fill(count(300))],
      ...[count(1), text('group'), count(1), count(2), count(3), count(2), id, time, count(1), id, time, count(90)],
      ...[count(1), text('consumer'), time, time, count(1), id],
    ]),
  ],
  [
    24,
    'fields with ends',
    Buffer.concat([time, count(2), count(0), text('a'), text('b'), count(99), text('c'), text(long)]),
  ],
  [25, 'few fields with ends', Buffer.concat([time, text('listpack')])],
]

const file = rdb([
  Buffer.concat([Buffer.from([0xfa]), text('redis-ver'), text('8.0.2')]),
  Buffer.concat([Buffer.from([0xf5]), text('#!lua name=shop\nreturn 1')]),
  database(0),
  ...values.map(([type, name, value], i) => key(type, name, value, i === 1 ? 1795218000123 : undefined)),
  key(0, 'holdfast:restore', text('{}')),
  database(3),
  key(0, 'resque:queue', text('job')),
  key(0, 'other', text('value')),
])

async function entries(bytes: Buffer, size: number): Promise<Entry[]> {
  const found: Entry[] = []
  const source = Readable.from(inChunks(bytes, size), { objectMode: false })
  await readEntries(source, { wanted: () => true, entry: (entry) => found.push(entry), pace: async () => {} })
  return found
}

async function dump(bytes: Buffer, { size = 4096, selection = select(), behind = '' } = {}) {
  const mark = Buffer.from('m'.repeat(40))
  const chunks = inChunks(Buffer.concat([bytes, mark, Buffer.from(behind)]), size)
  const { stream, counted } = dumpOf(
    { replicationId: '', offset: 0, framing: { mark }, chunks },
    { selection, server: 'server' },
  )
  const read: Buffer[] = []
  for await (const chunk of stream) read.push(chunk)
  return { bytes: Buffer.concat(read), counted }
}

test.each([1, 7, 4096, 1_000_000])('every value is cut out as it is, in chunks of %i bytes', async (size) => {
  const found = await entries(file, size)
  expect(found.map(({ key: name }) => name.toString())).toEqual([
    ...values.map(([, name]) => name),
    'holdfast:restore',
    'resque:queue',
    'other',
  ])
  values.forEach(([type, , value], i) => {
    expect(found[i]?.type).toBe(type)
    expect(Buffer.concat(found[i]?.value ?? []).equals(value)).toBe(true)
  })
  expect(found[1]?.expires).toBe(1795218000123)
  expect(found.at(-1)?.database).toBe(3)
})

test.each([1, 4096, 1_000_000])(
  'a dump is the snapshot without the marker, with a right checksum, in chunks of %i bytes',
  async (size) => {
    const { bytes, counted } = await dump(file, { size, behind: '*1\r\n$4\r\nPING\r\n' })
    expect(counted.databases).toEqual({ 0: { keys: values.length, expires: 1 }, 3: { keys: 2, expires: 0 } })
    expect(counted.functions).toEqual(['shop'])
    expect((await entries(bytes, size)).length).toBe(values.length + 2)
    // what is left out is left out once: a second time nothing changes
    expect((await dump(bytes)).bytes.equals(bytes)).toBe(true)
  },
)

test('what is not chosen is not in the dump', async () => {
  const selection = select({ exclude: { databases: [0], keys: ['resque:*'] } })
  const { bytes, counted } = await dump(file, { selection })
  expect((await entries(bytes, 100)).map(({ key: name }) => name.toString())).toEqual(['other'])
  expect(counted.databases).toEqual({ 3: { keys: 1, expires: 0 } })
})

test.each([10, 500, 30_000, -50, -1])('a snapshot that ends after %i bytes is refused', async (bytes) => {
  const mark = Buffer.from('m'.repeat(40))
  const chunks = inChunks(Buffer.concat([file, mark]).subarray(0, bytes), 4096)
  const { stream } = dumpOf(
    { replicationId: '', offset: 0, framing: { mark }, chunks },
    { selection: select(), server: 's' },
  )
  await expect(stream.resume().toArray()).rejects.toThrow(/before the end of its snapshot|does not end/)
})

test('one wrong bit is found by the checksum, and a checksum of 0 is none', async () => {
  const flipped = Buffer.from(file)
  flipped[flipped.indexOf(long) + 5_000] = 0
  await expect(dump(flipped)).rejects.toThrow('checksum')
  flipped.fill(0, flipped.length - 8)
  expect((await dump(flipped)).counted.types.string).toBe(4)
})

test('a value or record that is not known is refused by name', async () => {
  await expect(dump(rdb([database(0), key(28, 'new', text(''))]))).rejects.toThrow('a value of type 28 (key "new")')
  await expect(dump(rdb([Buffer.from([0xf3])]))).rejects.toThrow('a record of kind 243')
})
