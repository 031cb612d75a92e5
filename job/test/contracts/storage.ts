import { createCipheriv, createHash } from 'node:crypto'
import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JobError } from '../../errors.ts'
import { isExisting, isMissing, type Listed, readAll, type Storage } from '../../storage.ts'
import { partsContract } from './parts.ts'

export interface StorageUnderTest {
  storage: Storage
  dispose(): Promise<void>
  /** Whatever an unfinished put has left behind: temporary files, uploads. */
  leftovers?(): Promise<string[]>
  /** What it decides by itself who is first of: all, unless told; of objects in one request; of none, where it can only look and then write. */
  conditionalPut?: 'all' | 'small' | 'none'
}

const MiB = 2 ** 20

/** Every sentence of the contract in storage.ts, over one implementation. */
export function storageContract(name: string, make: () => Promise<StorageUnderTest>): void {
  describe(`storage contract: ${name}`, () => {
    let made: StorageUnderTest
    let storage: Storage
    beforeAll(async () => {
      made = await make()
      storage = made.storage
    })
    afterAll(async () => {
      await storage.close()
      await made.dispose()
    })
    const nothingVisible = async (key: string) => {
      expect(await storage.head(key)).toBeUndefined()
      expect(await listed(storage, key)).toEqual([])
      expect((await made.leftovers?.()) ?? []).toEqual([])
    }

    describe('put', () => {
      test('stores a buffer and confirms its size', async () => {
        expect(await storage.put('put/buffer', Buffer.from('hello'), {})).toMatchObject({ size: 5 })
        expect((await readAll(storage, 'put/buffer')).toString()).toBe('hello')
      })

      test('stores a stream', async () => {
        await storage.put('put/stream', Readable.from([Buffer.from('one '), Buffer.from('two')]), { size: 7 })
        expect((await readAll(storage, 'put/stream')).toString()).toBe('one two')
      })

      test('stores what a function gives', async () => {
        await storage.put('put/function', () => Readable.from([Buffer.from('made')]), {})
        expect((await readAll(storage, 'put/function')).toString()).toBe('made')
      })

      test.each([
        ['an empty buffer', () => Buffer.alloc(0)],
        ['an empty stream', () => Readable.from([])],
        ['a stream of empty chunks', () => Readable.from([Buffer.alloc(0), Buffer.alloc(0)], { objectMode: true })],
      ])('stores %s', async (_, body) => {
        const key = `put/empty-${_.replaceAll(' ', '-')}`
        expect(await storage.put(key, body(), { size: 0 })).toMatchObject({ size: 0 })
        expect(await storage.head(key)).toMatchObject({ size: 0 })
        expect(await readAll(storage, key)).toHaveLength(0)
      })

      test.each([
        ['of known size', 40 * MiB + 1, true],
        ['of unknown size', 40 * MiB + 1, false],
        ['of a whole number of parts', 20 * MiB, false],
        ['of one part and a byte', 5 * MiB + 1, false],
        ['of one part', 5 * MiB, false],
      ])('stores a large stream %s', async (_, size, known) => {
        const bytes = someBytes(size)
        expect(await storage.put('put/large', chunked(bytes), known ? { size } : {})).toMatchObject({ size })
        expect(await hashOf(await storage.get('put/large'))).toBe(hash(bytes))
      })

      test('stores a large buffer', async () => {
        const bytes = someBytes(11 * MiB)
        await storage.put('put/large-buffer', bytes, {})
        expect(await hashOf(await storage.get('put/large-buffer'))).toBe(hash(bytes))
      })

      test('stores many streams at the same time', async () => {
        const sizes = Array.from({ length: 12 }, (_, index) => index * MiB + index)
        await Promise.all(sizes.map((size) => storage.put(`put/many/${size}`, chunked(someBytes(size)), {})))
        for (const size of sizes)
          expect(await hashOf(await storage.get(`put/many/${size}`))).toBe(hash(someBytes(size)))
      })

      test('replaces an object', async () => {
        await storage.put('put/again', Buffer.from('first, and longer'), {})
        await storage.put('put/again', Buffer.from('second'), {})
        expect((await readAll(storage, 'put/again')).toString()).toBe('second')
      })

      test.each([
        ['shorter', 10, 5],
        ['longer', 5, 10],
        ['shorter by a part', 12 * MiB, 6 * MiB],
        ['longer by a part', 6 * MiB, 12 * MiB],
        ['empty instead', 3, 0],
        ['something instead of nothing', 0, 3],
      ])('refuses a stream of another size than told: %s', async (_, size, real) => {
        await expect(storage.put('refused/size', chunked(someBytes(real)), { size })).rejects.toThrow(/should have/)
        await nothingVisible('refused/size')
      })

      test('refuses a buffer of another size than told', async () => {
        await expect(storage.put('refused/size', Buffer.from('four'), { size: 5 })).rejects.toThrow(
          /should have 5 bytes/,
        )
        await nothingVisible('refused/size')
      })

      test.each([
        ['at once', 0],
        ['after some bytes', 1000],
        ['after some parts', 12 * MiB],
      ])('leaves nothing of a producer that fails %s, and throws its error', async (_, after) => {
        const failing = Readable.from(
          (function* () {
            if (after > 0) yield* pieces(someBytes(after))
            throw new JobError('server', 'the dump failed')
          })(),
        )
        await expect(storage.put('refused/producer', failing, {})).rejects.toMatchObject({ kind: 'server' })
        await nothingVisible('refused/producer')
      })

      test.each([
        ['before the put', 0],
        ['after some parts', 12 * MiB],
      ])('refuses a stream that is closed before its end, %s', async (_, after) => {
        const stream = new PassThrough({ highWaterMark: 64 * MiB })
        stream.on('error', () => {})
        if (after > 0) stream.write(someBytes(after))
        else stream.destroy()
        const put = storage.put('refused/closed', stream, {})
        put.catch(() => {})
        if (after > 0) await drained(stream)
        stream.destroy()
        await expect(put).rejects.toMatchObject({ kind: 'storage' })
        await nothingVisible('refused/closed')
      })

      test('does not wait for a stream that had failed before', async () => {
        const stream = new PassThrough()
        stream.on('error', () => {})
        stream.destroy(new Error('failed long ago'))
        await new Promise((resolve) => stream.once('close', resolve))
        await expect(storage.put('refused/failed', stream, {})).rejects.toThrow('failed long ago')
        await nothingVisible('refused/failed')
      })

      test('leaves nothing when it is aborted before it begins', async () => {
        const body = chunked(someBytes(100))
        const put = storage.put('aborted/before', body, { signal: AbortSignal.abort(new Error('stop')) })
        await expect(put).rejects.toThrow('stop')
        expect(body.destroyed).toBe(true)
        await nothingVisible('aborted/before')
      })

      test.each([
        ['in the first bytes', 1000],
        ['after some parts', 13 * MiB],
      ])('leaves nothing when it is aborted %s', async (_, after) => {
        const stop = new AbortController()
        const stream = new PassThrough({ highWaterMark: 64 * MiB })
        stream.write(someBytes(after))
        const put = storage.put('aborted/during', stream, { signal: stop.signal })
        put.catch(() => {})
        await drained(stream)
        stop.abort(new Error('stop'))
        await expect(put).rejects.toThrow('stop')
        expect(stream.destroyed).toBe(true)
        await nothingVisible('aborted/during')
      })
    })

    describe('put if absent', () => {
      test('stores what is not there', async () => {
        await storage.put('absent/new', Buffer.from('first'), { ifAbsent: true })
        expect((await readAll(storage, 'absent/new')).toString()).toBe('first')
      })

      test.each([
        ['a buffer', () => Buffer.from('second')],
        ['a stream', () => Readable.from([Buffer.from('second')])],
        ['a large stream', () => chunked(someBytes(12 * MiB))],
      ])('rejects %s with ObjectExists and leaves the object as it is', async (_, body) => {
        await storage.put('absent/there', Buffer.from('first'), {})
        const error = await storage.put('absent/there', body(), { ifAbsent: true }).catch((thrown) => thrown)
        expect(isExisting(error), String(error)).toBe(true)
        expect((await readAll(storage, 'absent/there')).toString()).toBe('first')
        expect((await made.leftovers?.()) ?? []).toEqual([])
      })

      test.each([
        ['small', 20],
        ['large', 6 * MiB],
      ])('lets one of eight %s writers win', async (size, bytes) => {
        for (let round = 0; round < 3; round++) {
          const key = `absent/race-${size}-${round}`
          const bodies = Array.from({ length: 8 }, (_, writer) => Buffer.alloc(bytes, writer + 1))
          const puts = bodies.map((body) => storage.put(key, body, { ifAbsent: true }))
          const results = await Promise.allSettled(puts)
          const winners = results.flatMap((result, writer) => (result.status === 'fulfilled' ? [writer] : []))
          // who only looks may see nothing eight times; what is there then is one of them, and whole
          const { conditionalPut = 'all' } = made
          if (conditionalPut === 'all' || conditionalPut === size) expect(winners).toHaveLength(1)
          else expect(winners.length).toBeGreaterThan(0)
          for (const result of results)
            if (result.status === 'rejected') expect(isExisting(result.reason), String(result.reason)).toBe(true)
          const won = winners.map((winner) => hash(bodies[winner] as Buffer))
          expect(won).toContain(hash(await readAll(storage, key)))
        }
        expect((await made.leftovers?.()) ?? []).toEqual([])
      })

      test('is decided by the storage, or the storage says that it is not', () => {
        expect(storage.features.conditionalPut).toBe(made.conditionalPut !== 'none')
      })
    })

    describe('get', () => {
      beforeAll(() => storage.put('get/digits', Buffer.from('0123456789'), {}).then(() => {}))

      test.each([
        [{ start: 0 }, '0123456789'],
        [{ start: 3 }, '3456789'],
        [{ start: 3, end: 5 }, '345'],
        [{ start: 9, end: 9 }, '9'],
        [{ start: 7, end: 100 }, '789'],
      ])('gives the range %o', async (range, text) => {
        const chunks: Buffer[] = []
        for await (const chunk of await storage.get('get/digits', { range })) chunks.push(chunk as Buffer)
        expect(Buffer.concat(chunks).toString()).toBe(text)
      })

      test('rejects a range that begins behind the end', async () => {
        await expect(storage.get('get/digits', { range: { start: 10 } })).rejects.toMatchObject({ kind: 'storage' })
      })

      test('rejects with ObjectMissing', async () => {
        const error = await storage.get('get/nothing').catch((thrown) => thrown)
        expect(isMissing(error), String(error)).toBe(true)
        expect(isMissing(await storage.get('nowhere/nothing').catch((thrown) => thrown))).toBe(true)
      })

      test('stops when it is aborted', async () => {
        const stop = new AbortController()
        await storage.put('get/large', chunked(someBytes(12 * MiB)), {})
        const stream = await storage.get('get/large', { signal: stop.signal })
        const read = (async () => {
          for await (const _ of stream) stop.abort(new Error('stop'))
        })()
        await expect(read).rejects.toThrow('stop')
        await expect(storage.get('get/large', { signal: stop.signal })).rejects.toThrow('stop')
      })

      test('may be left before the end', async () => {
        const stream = await storage.get('get/digits')
        stream.destroy()
        await once(stream, 'close')
      })
    })

    describe('head', () => {
      test('tells size and time', async () => {
        await storage.put('head/one', Buffer.from('four'), {})
        const found = await storage.head('head/one')
        expect(found?.size).toBe(4)
        expect(found?.modified).toBeInstanceOf(Date)
      })

      test('gives undefined for nothing and for a folder', async () => {
        await storage.put('head/folder/one', Buffer.from('x'), {})
        expect(await storage.head('head/nothing')).toBeUndefined()
        expect(await storage.head('head/folder')).toBeUndefined()
        expect(await storage.head('head/folder/one/more')).toBeUndefined()
      })
    })

    describe('list', () => {
      const unordered = ['b', 'a/b', 'a.b', 'a-b', 'a/b.c', 'a0', 'A', 'é', 'z', '\u{ff21}', '\u{1f600}', 'a b+c%20&d']
      beforeAll(async () => {
        for (const key of unordered.map((key) => `list/order/${key}`)) {
          // No server knows both `a` and `a/b`; one byte each.
          await storage.put(key, Buffer.from('x'), {})
        }
      })

      test('gives objects in the order of the bytes of their keys', async () => {
        const sorted = unordered.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
        expect(await listed(storage, 'list/order/')).toEqual(sorted.map((key) => `list/order/${key}`))
      })

      test('tells size and time of each object', async () => {
        const entries = await Array.fromAsync(storage.list('list/order/b'))
        expect(entries).toEqual([{ kind: 'object', key: 'list/order/b', size: 1, modified: expect.any(Date) }])
      })

      test('gives what lies deeper as one folder', async () => {
        for (const key of ['list/deep/x', 'list/deep/f/1', 'list/deep/f/2/3', 'list/deep/f.json', 'list/deep/f-x']) {
          await storage.put(key, Buffer.from('x'), {})
        }
        const entries = await Array.fromAsync(storage.list('list/deep/', { delimiter: '/' }))
        expect(entries.map(({ kind, key }) => `${kind} ${key}`)).toEqual([
          'object list/deep/f-x',
          'object list/deep/f.json',
          'folder list/deep/f/',
          'object list/deep/x',
        ])
      })

      test('takes any beginning of a key as prefix', async () => {
        expect(await listed(storage, 'list/order/a/')).toEqual(['list/order/a/b', 'list/order/a/b.c'])
        expect(await listed(storage, 'list/order/a/b.')).toEqual(['list/order/a/b.c'])
        expect(await listed(storage, 'list/ord')).toHaveLength(unordered.length)
        expect(await listed(storage, 'list/order')).toHaveLength(unordered.length)
        expect((await listed(storage, '')).length).toBeGreaterThanOrEqual(unordered.length)
      })

      test('gives nothing below a prefix that is not there', async () => {
        expect(await listed(storage, 'list/nothing/here/')).toEqual([])
        expect(await listed(storage, 'list/order/b/')).toEqual([])
      })

      test('gives more than a thousand objects, each once', async () => {
        const keys = Array.from({ length: 1100 }, (_, index) => `pages/${String(index).padStart(5, '0')}`)
        await inParallel(keys, (key) => storage.put(key, Buffer.alloc(0), {}))
        expect(await listed(storage, 'pages/')).toEqual(keys)
        await storage.delete(keys)
        expect(await listed(storage, 'pages/')).toEqual([])
      }, 120_000)
    })

    describe('delete', () => {
      test('removes objects; one that is missing is no error', async () => {
        for (const key of ['delete/a', 'delete/b/c', 'delete/keep']) await storage.put(key, Buffer.from('x'), {})
        await storage.delete(['delete/a', 'delete/nothing', 'delete/b/c', 'delete/b/nothing/at/all'])
        expect(await listed(storage, 'delete/')).toEqual(['delete/keep'])
        await storage.delete([])
      })

      test('leaves no empty folder', async () => {
        await storage.put('emptied/a/b/c', Buffer.from('x'), {})
        await storage.delete(['emptied/a/b/c'])
        expect(await Array.fromAsync(storage.list('emptied/', { delimiter: '/' }))).toEqual([])
        expect(await Array.fromAsync(storage.list('emptied', { delimiter: '/' }))).toEqual([])
      })
    })

    test('names that look strange are names like others', async () => {
      const keys = [
        'odd/a b',
        'odd/c+d',
        'odd/%2e%2e',
        'odd/ü/ß',
        'odd/漢字',
        'odd/..hidden',
        'odd/e&f<g>"h\'',
        'odd/x=1;y',
        'odd/~!@$()',
      ]
      for (const key of keys) await storage.put(key, Buffer.from(key), {})
      for (const key of keys) expect((await readAll(storage, key)).toString()).toBe(key)
      expect((await listed(storage, 'odd/')).sort()).toEqual([...keys].sort())
      await storage.delete(keys)
      expect(await listed(storage, 'odd/')).toEqual([])
    })

    describe('holds parts', () => partsContract(() => storage))
  })
}

/** The keys below a prefix, as listed. */
export async function listed(storage: Pick<Storage, 'list'>, prefix: string): Promise<string[]> {
  return (await Array.fromAsync(storage.list(prefix))).map(({ key }: Listed) => key)
}

/** The same bytes for the same size. */
export function someBytes(size: number): Buffer {
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, size % 251), Buffer.alloc(16)).update(Buffer.alloc(size))
}

/** A stream of chunks of odd sizes. */
export function chunked(bytes: Buffer): Readable {
  return Readable.from(pieces(bytes), { objectMode: false })
}

function* pieces(bytes: Buffer): Iterable<Buffer> {
  for (let at = 0; at < bytes.length; at += 99_991) yield bytes.subarray(at, at + 99_991)
}

export function hash(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function hashOf(stream: Readable): Promise<string> {
  const sha256 = createHash('sha256')
  for await (const chunk of stream) sha256.update(chunk as Buffer)
  return sha256.digest('hex')
}

/** Resolves when everything written to a stream has been read from it. */
async function drained(stream: PassThrough): Promise<void> {
  while (stream.readableLength + stream.writableLength > 0) await new Promise(setImmediate)
}

async function inParallel(keys: string[], work: (key: string) => Promise<unknown>): Promise<void> {
  const queue = keys.values()
  const worker = async () => {
    for (const key of queue) await work(key)
  }
  await Promise.all(Array.from({ length: 16 }, worker))
}
