import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, expect, test, vi } from 'vitest'
import { anyOf } from '../../io/destinations.ts'
import { fileStream } from '../../io/lending.ts'
import { checkPart, readPart, writePart } from '../../io/parts.ts'
import { frameSize } from '../../io/zstd.ts'
import type { Part } from '../../manifest.ts'
import { readAll } from '../../storage.ts'
import { encrypting } from '../contracts/parts.ts'
import { destinationsOf } from '../fakes/destinations.ts'
import { faulty } from '../fakes/faulty.ts'
import { memoryStorage } from '../fakes/memory.ts'
import { piecesOf, seeded, someBytes } from '../fakes/seeded.ts'
import { patiently } from '../patience.ts'

const signal = new AbortController().signal
const backup = { plan: 'nightly', id: '1', signal }
const onBytes = () => {}

const contents: [string, Buffer][] = [
  ['nothing', Buffer.alloc(0)],
  ['one byte', Buffer.from('x')],
  ['exactly one frame', Buffer.alloc(frameSize, 'row')],
  ['several frames that compress', Buffer.alloc(19 * 1024 * 1024 + 7, 'INSERT INTO t VALUES (1);\n')],
  ['several frames that do not', randomBytes(9 * 1024 * 1024 + 1)],
]

describe('a compressed part', () => {
  test.each(contents)('of %s comes back, and zstd reads it too', async (_, content) => {
    const storage = memoryStorage()
    const chunks = Array.from({ length: Math.ceil(content.length / 65_000) }, (_, i) =>
      content.subarray(i * 65_000, (i + 1) * 65_000),
    )
    const data = Readable.from(chunks, { objectMode: false })
    const to = destinationsOf([storage])
    const part = anyOf(await writePart({ ...backup, path: 'shop/orders.sql', data, to, onBytes }))
    expect(part).toMatchObject({ path: 'shop/orders.sql.zst', codec: 'zstd', plain: { size: content.length } })
    const back = await buffer(await readPart(part, { ...backup, storage }))
    expect(back.equals(content)).toBe(true)
    const stored = await readAll(storage, 'nightly/1/shop/orders.sql.zst')
    expect(stored.length).toBe(part.size)
    expect((await unzstd(stored)).equals(content)).toBe(true)
  })

  test('of an encrypted one is checked by its own sums, whatever a manifest without signature says', async () => {
    const storage = await encrypting(memoryStorage())
    const data = Readable.from([randomBytes(300_000)], { objectMode: false })
    const to = destinationsOf([storage])
    const part = anyOf(await writePart({ ...backup, path: 'shop/orders.sql', data, to, onBytes }))
    const key = `nightly/1/${part.path}`
    const stored = await readAll(storage, key)
    stored[200_000] = (stored[200_000] as number) ^ 1
    await storage.put(key, stored, {})
    const sha256 = createHash('sha256').update(stored).digest('hex')
    const checking = (one: Part, from = storage) => checkPart(one, { ...backup, storage: from })
    await expect(checking(part)).rejects.toMatchObject({ kind: 'verification' })
    await expect(checking({ ...part, sha256 })).rejects.toMatchObject({ kind: 'verification' })
    const { encryption: _, ...without } = storage
    await expect(checking({ ...part, sha256 }, without)).rejects.toMatchObject({ kind: 'configuration' })
  })

  test('of a file, which is read into the same memory again and again, comes back', async () => {
    const content = someBytes(seeded(3), 7_000_001)
    const folder = mkdtempSync(join(tmpdir(), 'parts-'))
    writeFileSync(join(folder, 'rows'), content)
    const storage = memoryStorage()
    const data = fileStream(join(folder, 'rows'), signal)
    const part = anyOf(await writePart({ ...backup, path: 'rows', data, to: destinationsOf([storage]), onBytes }))
    expect((await buffer(await readPart(part, { ...backup, storage }))).equals(content)).toBe(true)
    rmSync(folder, { recursive: true })
  })

  test('of a higher level is smaller, and comes back', async () => {
    const content = someBytes(seeded(9), 5_000_000)
    const sizes: number[] = []
    for (const level of [1, 3, 9]) {
      const storage = memoryStorage()
      const data = Readable.from(piecesOf(seeded(level), content), { objectMode: false })
      const to = destinationsOf([storage])
      const part = anyOf(await writePart({ ...backup, path: 'shop/orders.sql', data, level, to, onBytes }))
      expect((await buffer(await readPart(part, { ...backup, storage }))).equals(content)).toBe(true)
      sizes.push(part.size)
    }
    expect(sizes).toEqual(sizes.toSorted((a, b) => b - a))
    expect(new Set(sizes).size).toBe(3)
  })

  test('whose producer fails is not stored', async () => {
    const storage = memoryStorage()
    const data = Readable.from(
      (async function* () {
        yield Buffer.alloc(9_000_000)
        throw new Error('the dump broke off')
      })(),
    )
    const writing = writePart({ ...backup, path: 'a', data, to: destinationsOf([storage]), onBytes })
    await expect(writing).rejects.toThrow('the dump broke off')
    expect(await storage.head('nightly/1/a.zst')).toBeUndefined()
  })

  test('whose storage fails ends its producer', async () => {
    const data = new Readable({
      read() {
        this.push(randomBytes(1_000_000))
      },
    })
    const storage = faulty(memoryStorage(), { on: 'put', how: 'fail', error: new Error('the disk is full') })
    await expect(writePart({ ...backup, path: 'a', data, to: destinationsOf([storage]), onBytes })).rejects.toThrow(
      'full',
    )
    await vi.waitFor(() => expect(data.destroyed).toBe(true), patiently)
  })

  test.each([
    ['cut', (stored: Buffer) => stored.subarray(0, -1), /bytes/],
    [
      'changed',
      (stored: Buffer) => Buffer.concat([stored.subarray(0, -1), Buffer.from([(stored.at(-1) as number) ^ 1])]),
      /sha256|zstd|checksum|match/i,
    ],
  ])('that was %s errors before its end', async (_, spoil, says) => {
    const storage = memoryStorage()
    const data = Readable.from([randomBytes(5_000_000)])
    const part = anyOf(await writePart({ ...backup, path: 'a', data, to: destinationsOf([storage]), onBytes }))
    const key = 'nightly/1/a.zst'
    const stored = await readAll(storage, key)
    await storage.delete([key])
    await storage.put(key, spoil(stored), { signal })
    await expect(buffer(await readPart(part, { ...backup, storage }))).rejects.toThrow(says)
  })
})

function unzstd(stored: Buffer): Promise<Buffer> {
  const child = spawn('zstd', ['-dc'], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(stored)
  return buffer(child.stdout)
}
