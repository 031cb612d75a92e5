import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { type Header, pack } from 'tar-stream'
import { expect, test } from 'vitest'
import { type Member, membersOf, packed } from '../../io/archive.ts'

const modified = new Date('2026-11-21T00:00:00Z')

function fileOf(name: string, bytes: Buffer, size = bytes.length): Member {
  return { name, size, modified, data: () => [bytes] }
}

async function archiveOf(members: Member[]): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(packed(members)))
}

async function readBack(archive: Buffer, chunk = archive.length): Promise<[string, string][]> {
  const chunks = function* () {
    for (let at = 0; at < archive.length; at += chunk) yield archive.subarray(at, at + chunk)
  }
  const found: [string, string][] = []
  for await (const { name, size, data } of membersOf(Readable.from(chunks(), { objectMode: false }), 'x.tar')) {
    const bytes = Buffer.concat(await Array.fromAsync(data))
    expect(bytes.length).toBe(size)
    found.push([name, createHash('sha256').update(bytes).digest('hex')])
  }
  return found
}

const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const long = `nightly/1795218000/${'a/'.repeat(120)}file`
const files = {
  empty: Buffer.alloc(0),
  'plan/é.sql': Buffer.from('x'),
  [long]: Buffer.alloc(1_500_000, 7),
  last: Buffer.alloc(512, 1),
}

test.each([1000, 65_536, 10_000_000])('what was packed comes back, in pieces of %i bytes', async (chunk) => {
  const archive = await archiveOf(Object.entries(files).map(([name, bytes]) => fileOf(name, bytes)))
  expect(archive.length % 512).toBe(0)
  expect(await readBack(archive, chunk)).toEqual(Object.entries(files).map(([name, bytes]) => [name, hash(bytes)]))
})

test('a member of more than 8 GiB has its size in the header', async () => {
  const size = 9 * 2 ** 30
  const endless = async function* () {
    for (;;) yield Buffer.alloc(65_536)
  }
  const chunks: Buffer[] = []
  for await (const chunk of packed([{ name: 'large', size, modified, data: endless }])) {
    chunks.push(chunk)
    if (chunks.length === 3) break
  }
  const found = membersOf(Readable.from(chunks, { objectMode: false }), 'x.tar')
  const { value } = await found.next()
  expect(value).toMatchObject({ name: 'large', size })
  await found.return(undefined)
})

test('an archive is cut off, wherever it ends', async () => {
  const archive = await archiveOf([fileOf('a', Buffer.alloc(3000)), fileOf('b', Buffer.alloc(10))])
  for (const length of [100, 511, 513, 1000, 3500, 512 + 3000 + 72 + 100]) {
    await expect(readBack(archive.subarray(0, length)), `${length}`).rejects.toMatchObject({
      kind: 'verification',
      message: 'x.tar was cut off: it ends before the backup does',
    })
  }
})

test.each<[string, Buffer]>([
  ['text', Buffer.from('CREATE TABLE a (id INT);\n'.repeat(100))],
  ['zstd', Buffer.from('28b52ffd'.repeat(1000), 'hex')],
])('%s is no tar archive', async (_, bytes) => {
  await expect(readBack(bytes)).rejects.toMatchObject({
    kind: 'verification',
    message: expect.stringMatching(/^x\.tar is no tar archive: Invalid tar header/),
    hint: expect.stringContaining('decompress'),
  })
})

test.each<[Header['type'], Partial<Header>]>([
  ['symlink', { linkname: '/etc/passwd' }],
  ['link', { linkname: 'a' }],
  ['directory', {}],
  ['character-device', {}],
  ['fifo', {}],
])('a %s is refused', async (type, more) => {
  const archive = pack()
  archive.entry({ name: 'a', type, ...more } as Header)
  archive.finalize()
  const chunks = (await Array.fromAsync(archive)) as Buffer[]
  await expect(readBack(Buffer.concat(chunks))).rejects.toMatchObject({
    kind: 'verification',
    message: `x.tar has "a", a ${type}`,
  })
})

test('data of another length than was said fails the archive', async () => {
  await expect(archiveOf([fileOf('a', Buffer.from('xyz'), 4)])).rejects.toThrow('Size mismatch')
})

test('a member that fails, fails the archive with its own error and opens no other', async () => {
  const opened: string[] = []
  const members = function* (): Generator<Member> {
    for (const name of ['a', 'b', 'c']) {
      yield {
        name,
        size: 4,
        modified,
        async *data() {
          opened.push(name)
          yield Buffer.from('xy')
          if (name === 'b') throw new Error('disk on fire')
          yield Buffer.from('xy')
        },
      }
    }
  }
  await expect(Array.fromAsync(packed(members()))).rejects.toThrow('disk on fire')
  expect(opened).toEqual(['a', 'b'])
})

test('who stops reading an archive ends what feeds it', async () => {
  let ended = false
  const endless: Member = {
    name: 'a',
    size: 2 ** 40,
    modified,
    async *data() {
      try {
        for (;;) yield Buffer.alloc(65_536)
      } finally {
        ended = true
      }
    },
  }
  for await (const _ of packed([endless])) break
  await expect.poll(() => ended).toBe(true)
})
