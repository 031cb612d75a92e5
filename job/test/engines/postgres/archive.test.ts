import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { openArchive, readArchive, readContents, watch } from '../../../engines/postgres/archive.ts'

/** Writes archives as pg_dump does. */
function int(number: number): Buffer {
  const bytes = Buffer.alloc(5)
  bytes[0] = number < 0 ? 1 : 0
  bytes.writeUInt32LE(Math.abs(number), 1)
  return bytes
}

function text(value: string | null, encoding: BufferEncoding = 'utf8'): Buffer {
  if (value === null) return int(-1)
  const bytes = Buffer.from(value, encoding)
  return Buffer.concat([int(bytes.length), bytes])
}

interface Made {
  id: number
  kind: string
  name: string
  sql?: string
  copy?: string
  needs?: number[]
  data?: boolean
}

function entry(made: Made, version: number, encoding: BufferEncoding): Buffer {
  const { id, kind, name, sql = '', copy = null, needs = [7, 8], data = false } = made
  const texts = (...values: (string | null)[]) => values.map((value) => text(value, encoding))
  return Buffer.concat([
    int(id),
    int(data ? 1 : 0),
    ...texts('0', `${16000 + id}`, name, kind),
    int(3),
    ...texts(sql, '', copy, 'public', null, null),
    ...(version >= 116 ? [int(114)] : []),
    ...texts('owner', 'false', ...needs.map(String), null),
    Buffer.from([3]),
    Buffer.alloc(8),
  ])
}

function header(version: number, entries: number): Buffer {
  const start = [Buffer.from('PGDMP'), Buffer.from([1, version - 100, 0, 4, 8, 1])]
  const times = [0, 1, 2, 3, 4, 5, 0].map(int)
  const compression = version >= 115 ? Buffer.from([0]) : int(0)
  return Buffer.concat([...start, compression, ...times, text('shop'), text('17.1'), text('17.1'), int(entries)])
}

/** COPY's lines in pieces of odd lengths, as buffers fall. */
function rows(id: number, lines: string): Buffer {
  const all = Buffer.from(`${lines}\\.\n\n\n`)
  const pieces = [all.subarray(0, 3), all.subarray(3)]
  return Buffer.concat([Buffer.from([1]), int(id), ...pieces.flatMap((piece) => [int(piece.length), piece]), int(0)])
}

function objects(id: number, values: string[]): Buffer {
  const one = (value: string, i: number) => Buffer.concat([int(4711 + i), ...(value ? [text(value)] : []), int(0)])
  return Buffer.concat([Buffer.from([3]), int(id), ...values.map(one), int(0)])
}

function archive(version = 116, { encoding = 'UTF8', node = 'utf8' as BufferEncoding } = {}): Buffer {
  const made: Made[] = [
    { id: 1, kind: 'ENCODING', name: 'ENCODING', sql: `SET client_encoding = '${encoding}';\n` },
    { id: 2, kind: 'TABLE DATA', name: 'größe', data: true, copy: 'COPY public."größe" (a) FROM stdin;\n', needs: [1] },
    { id: 3, kind: 'TABLE DATA', name: 'empty', data: true },
    { id: 4, kind: 'BLOBS', name: 'BLOBS', data: true },
    { id: 5, kind: 'SEQUENCE SET', name: 'stand', sql: "SELECT pg_catalog.setval('public.stand', 7, true);\n" },
  ]
  return Buffer.concat([
    header(version, made.length),
    ...made.map((one) => entry(one, version, node)),
    rows(2, '1\ta\\nb\n2\t\\N\n3\tc\n'),
    rows(3, ''),
    objects(4, ['abc\n\n', '', 'd']),
  ])
}

const inPieces = (bytes: Buffer, size: number) =>
  Readable.from(
    Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size)),
  )

describe.for([114, 115, 116])('an archive of version %i', (version) => {
  test.for([1, 3, 64, 100_000])('tells its rows and objects, in pieces of %i bytes', async (size) => {
    const { entries, rows, largeObjects } = await readArchive(inPieces(archive(version), size), 'x')
    expect(entries.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
      'ENCODING ENCODING',
      'TABLE DATA größe',
      'TABLE DATA empty',
      'BLOBS BLOBS',
      'SEQUENCE SET stand',
    ])
    expect(entries[1]).toMatchObject({
      id: 2,
      oid: '16002',
      schema: 'public',
      owner: 'owner',
      section: 'data',
      needs: [1],
    })
    expect(entries[1]?.copy).toBe('COPY public."größe" (a) FROM stdin;\n')
    expect(entries[4]).toMatchObject({ copy: '', needs: [7, 8] })
    expect(rows).toEqual(
      new Map([
        [2, 3],
        [3, 0],
      ]),
    )
    expect(largeObjects).toBe(3)
  })
})

test.for([1, 2, 3, 5, 7, 64, 100_000])(
  'the rows of tables come without the lengths between them, in pieces of %i bytes',
  async (size) => {
    const found: Record<string, string> = {}
    const ended: string[] = []
    // nobody else may have the memory of the chunks
    const own = Readable.from(
      (async function* () {
        for await (const piece of inPieces(archive(), size)) yield Buffer.from(piece)
      })(),
    )
    for await (const { entry, bytes, last } of (await openArchive(own, 'x')).rows) {
      expect(ended).not.toContain(entry.name)
      found[entry.name] = (found[entry.name] ?? '') + bytes
      if (last) ended.push(entry.name)
    }
    expect(found).toEqual({ größe: '1\ta\\nb\n2\t\\N\n3\tc\n\\.\n\n\n', empty: '\\.\n\n\n' })
    expect(ended).toEqual(['größe', 'empty'])
  },
)

test('rows of an archive that is cut off end with an error', async () => {
  const all = async (bytes: Buffer) => {
    for await (const _ of (await openArchive(inPieces(bytes, 4096), 'x')).rows);
  }
  const whole = archive()
  for (const length of [whole.length - 1, whole.length - 20, 400, 10])
    await expect(all(Buffer.from(whole.subarray(0, length)))).rejects.toThrow('ended before it was complete')
  await all(Buffer.from(whole))
})

test.each([
  ['that is none', () => Buffer.alloc(100_000, 'x'), 'is none: it does not begin with PGDMP'],
  ['that ends before its rows', () => archive().subarray(0, 60), 'ended before it was complete'],
])('what is read of an archive %s is let go of', async (_, bytes, says) => {
  const source = inPieces(Buffer.from(bytes()), 50)
  await expect(openArchive(source, 'x')).rejects.toThrow(says)
  expect(source.destroyed).toBe(true)
})

test('an archive that is closed before its end lets go of what it is read of', async () => {
  const source = inPieces(archive(), 50)
  const { rows, close } = await openArchive(source, 'x')
  for await (const _ of rows) break
  await close()
  expect(source.destroyed).toBe(true)
})

test('an archive passes unchanged', async () => {
  const bytes = archive()
  const { stream, archive: found } = watch(inPieces(bytes, 50), 'x')
  expect(await buffer(stream)).toEqual(bytes)
  expect(found.rows.get(2)).toBe(3)
})

test('an archive that is cut off anywhere is told from a whole one', async () => {
  const bytes = archive()
  for (let length = 0; length < bytes.length; length++)
    await expect(readArchive(inPieces(bytes.subarray(0, length), 4096), 'x'), `${length}`).rejects.toThrow(
      'ended before it was complete',
    )
})

test('names are read in the encoding of the database', async () => {
  const entries = await readContents(inPieces(archive(114, { encoding: 'LATIN1', node: 'latin1' }), 30), 'x')
  expect(entries[1]?.name).toBe('größe')
})

test.for([
  ['no archive', Buffer.from('hello world, this is SQL')],
  ['another format', Buffer.from([...Buffer.from('PGDMP'), 1, 16, 0, 4, 8, 3, 0])],
  ['a version that does not exist yet', Buffer.from([...Buffer.from('PGDMP'), 1, 99, 0, 4, 8, 1, 0])],
  ['a block too many', Buffer.concat([archive(), rows(99, 'x\n')])],
] as const)('%s is refused', async ([, bytes]) => {
  await expect(readArchive(inPieces(bytes, 4096), 'x')).rejects.toThrow(/the archive x/)
})
