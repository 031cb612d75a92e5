import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fileStream, lendingItsOwn } from '../../io/lending.ts'
import { store } from '../../io/pipeline.ts'
import { tap } from '../../io/tap.ts'
import { chunksOf } from '../../storages/incoming.ts'
import { destinationsOf } from '../fakes/destinations.ts'
import { memoryStorage } from '../fakes/memory.ts'

const data = randomBytes(3_000_001)
const sha256 = createHash('sha256').update(data).digest('hex')
const { signal } = new AbortController()
let folder: string
let path: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-lending-'))
  path = join(folder, 'data')
  await writeFile(path, data)
})
afterAll(() => rm(folder, { recursive: true }))

async function copied(loans: AsyncIterable<Buffer>): Promise<Buffer> {
  const copies: Buffer[] = []
  for await (const loan of loans) copies.push(Buffer.from(loan))
  return Buffer.concat(copies)
}

/** Whether this process has the file open. */
async function isOpen(): Promise<boolean> {
  const links = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''))
  return (await Promise.all(links)).includes(path)
}

describe('a file', () => {
  test('has the same bytes in loans and as a stream', async () => {
    expect((await copied(fileStream(path, signal).loans())).equals(data)).toBe(true)
    expect((await buffer(fileStream(path, signal))).equals(data)).toBe(true)
  })

  test('is lent from two pieces of memory, however long it is', async () => {
    const memories = new Set<ArrayBufferLike>()
    for await (const loan of fileStream(path, signal).loans()) memories.add(loan.buffer)
    expect(memories.size).toBe(2)
  })

  test.each([
    ['read to its end', async () => void (await copied(fileStream(path, signal).loans()))],
    ['read as a stream', async () => void (await buffer(fileStream(path, signal)))],
    [
      'left in the middle',
      async () => {
        for await (const _ of fileStream(path, signal).loans()) break
      },
    ],
    ['never read', async () => void fileStream(path, signal).destroy()],
  ])('that was %s is closed', async (_, read) => {
    await read()
    await expect.poll(isOpen).toBe(false)
  })

  test('that is not there is an error of its reader', async () => {
    await expect(copied(fileStream(join(folder, 'none'), signal).loans())).rejects.toThrow('ENOENT')
    await expect(buffer(fileStream(join(folder, 'none'), signal))).rejects.toThrow('ENOENT')
  })

  test('is read no further after an abort', async () => {
    const stop = new AbortController()
    const read = async () => {
      for await (const _ of fileStream(path, stop.signal).loans()) stop.abort(new Error('enough'))
    }
    await expect(read()).rejects.toThrow('enough')
  })
})

describe('chunks that nobody else has', () => {
  const chunks = async function* () {
    for (let at = 0; at < data.length; at += 1_000_000) yield Buffer.from(data.subarray(at, at + 1_000_000))
  }

  test('give their memory back when they were lent, but not what they share with others', async () => {
    const loans: Buffer[] = []
    const all = await copied(
      (async function* () {
        for await (const loan of lendingItsOwn(chunks()).loans()) {
          loans.push(loan)
          yield loan
        }
      })(),
    )
    expect(all.equals(data)).toBe(true)
    expect(loans.map((loan) => loan.length)).toEqual([0, 0, 0, 1])
  })

  test('leave pieces that Node cuts for everybody where they are', async () => {
    const { poolSize } = Buffer
    const sizes = Array.from({ length: (2 * poolSize) / 64 }, () => 64)
    const small = async function* () {
      for (const size of sizes) yield Buffer.allocUnsafe(size).fill(7)
    }
    for await (const loan of lendingItsOwn(small()).loans()) expect(loan.length).toBe(64)
    expect(Buffer.from('still there').toString()).toBe('still there')
  })

  test('tell what is wrong with them to who has only the stream', async () => {
    const broken = async function* () {
      yield Buffer.from('x')
      throw new Error('the source failed')
    }
    const stream = lendingItsOwn(broken())
    await expect(copied(stream.loans())).rejects.toThrow('the source failed')
    expect(stream.errored).toMatchObject({ message: 'the source failed' })
  })

  test('give it back with the last of what was cut from it', async () => {
    const whole = Buffer.allocUnsafeSlow(3000)
    data.copy(whole, 0, 0, 3000)
    const { buffer: memory } = whole
    const cut = async function* () {
      for (const [from, to] of [
        [0, 1000],
        [1000, 2999],
        [2999, 3000],
      ])
        yield whole.subarray(from, to)
    }
    const sizes: number[] = []
    const bytes: Buffer[] = []
    for await (const loan of lendingItsOwn(cut()).loans()) {
      sizes.push(memory.byteLength)
      bytes.push(Buffer.from(loan))
    }
    expect([...sizes, memory.byteLength]).toEqual([3000, 3000, 3000, 0])
    expect(Buffer.concat(bytes).equals(data.subarray(0, 3000))).toBe(true)
  })

  test('belong to who reads them as a stream', async () => {
    expect((await buffer(lendingItsOwn(chunks()))).equals(data)).toBe(true)
  })
})

describe('a tap on a file', () => {
  test('lends what it has hashed', async () => {
    const tapped = tap(fileStream(path, signal))
    expect((await copied(chunksOf(tapped.stream, { key: 'data' }))).equals(data)).toBe(true)
    expect(tapped.result()).toEqual({ size: data.length, sha256 })
  })

  test.each([1, 2])('has hashed what %d storages got', async (count) => {
    const storages = Array.from({ length: count }, (_, i) => memoryStorage({ name: `s${i}` }))
    const request = { key: 'a/5/data', path: 'data', size: data.length, signal }
    const copies = await store({ ...request, data: () => fileStream(path, signal), to: destinationsOf(storages) })
    const part = { path: 'data', size: data.length, sha256 }
    expect(copies).toEqual(new Map(storages.map(({ name }) => [name, part])))
    for (const { objects } of storages) expect(objects.get(request.key)?.bytes.equals(data)).toBe(true)
  })
})
