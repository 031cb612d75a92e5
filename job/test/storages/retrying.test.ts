import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { JobError } from '../../errors.ts'
import { isExisting, isMissing, readAll } from '../../storage.ts'
import { retrying } from '../../storages/retrying.ts'
import { hash, listed, someBytes, storageContract } from '../contracts/storage.ts'
import { type Fault, faulty } from '../fakes/faulty.ts'
import { memoryStorage } from '../fakes/memory.ts'
import { quickPacing } from './bucket.ts'

storageContract('retrying', async () => ({ storage: retrying(memoryStorage()), dispose: async () => {} }))

/** A storage with one large object and three small ones, and these faults. */
async function setUp(...faults: Fault[]) {
  const memory = memoryStorage()
  const bytes = someBytes(1_000_000)
  await memory.put('large', bytes, {})
  for (const key of ['list/a', 'list/b', 'list/c']) await memory.put(key, Buffer.from(key), {})
  const broken = faulty(memory, ...faults)
  const pacing = quickPacing()
  return { memory, bytes, broken, pacing, storage: retrying(broken, { attempts: 4, pacing }) }
}

const lasting = new JobError('storage', 'will never work')

describe('retrying', () => {
  test('puts a buffer again until it is stored', async () => {
    const { storage, memory, pacing } = await setUp({ on: 'put', how: 'fail', times: 3 })
    expect(await storage.put('new', Buffer.from('x'), {})).toMatchObject({ size: 1 })
    expect(memory.objects.get('new')?.bytes.toString()).toBe('x')
    expect(pacing.pauses).toEqual([125, 250, 500])
  })

  test('puts what a function gives again, with a new stream each time', async () => {
    const { storage, memory } = await setUp({ on: 'put', how: 'lose' })
    let made = 0
    await storage.put('new', () => Readable.from([Buffer.from(`stream ${++made}`)]), {})
    expect(memory.objects.get('new')?.bytes.toString()).toBe('stream 2')
  })

  test('does not put a stream again', async () => {
    const { storage, broken } = await setUp({ on: 'put', how: 'fail' })
    await expect(storage.put('new', Readable.from([Buffer.from('x')]), {})).rejects.toThrow('on purpose')
    expect(broken.calls).toEqual(['put new'])
  })

  test('reports an object that its own lost attempt may have stored', async () => {
    const { storage } = await setUp({ on: 'put', how: 'lose' })
    const put = storage.put('new', Buffer.from('x'), { ifAbsent: true })
    expect(isExisting(await put.catch((error) => error))).toBe(true)
  })

  test.each<Fault['on']>(['put', 'get', 'head', 'list', 'delete'])(
    'gives up %s after its attempts, with the last error',
    async (on) => {
      const { storage, broken, pacing } = await setUp({ on, how: 'fail', times: 100 })
      const calls = {
        put: () => storage.put('large', Buffer.from('x'), {}),
        get: () => storage.get('large'),
        head: () => storage.head('large'),
        list: () => Array.fromAsync(storage.list('list/')),
        delete: () => storage.delete(['large']),
      }
      await expect(calls[on]()).rejects.toThrow(`${on}: broken on purpose`)
      expect(broken.calls).toHaveLength(4)
      expect(pacing.pauses).toHaveLength(3)
    },
  )

  test.each<Fault['on']>(['head', 'delete', 'list', 'get', 'put'])('does %s again', async (on) => {
    const { storage, memory, bytes } = await setUp({ on, how: 'fail', times: 2 })
    expect(await storage.head('large')).toMatchObject({ size: 1_000_000 })
    expect(await listed(storage, 'list/')).toEqual(['list/a', 'list/b', 'list/c'])
    expect(hash(await readAll(storage, 'large'))).toBe(hash(bytes))
    await storage.put('new', Buffer.from('x'), {})
    await storage.delete(['large', 'list/a'])
    expect([...memory.objects.keys()].sort()).toEqual(['list/b', 'list/c', 'new'])
  })

  test('does not try again what cannot succeed', async () => {
    const { storage, broken } = await setUp({ on: 'head', how: 'fail', error: lasting, times: 9 })
    await expect(storage.head('large')).rejects.toBe(lasting)
    expect(isMissing(await storage.get('nothing').catch((error) => error))).toBe(true)
    expect(broken.calls).toEqual(['head large', 'get nothing'])
  })

  test('takes an unknown error for a bug', async () => {
    const { storage, broken } = await setUp({ on: 'head', how: 'fail', error: new TypeError('bug'), times: 9 })
    await expect(storage.head('large')).rejects.toThrow('bug')
    expect(broken.calls).toHaveLength(1)
  })

  describe('a stream that breaks', () => {
    test.each<[string, number, { start: number; end?: number } | undefined]>([
      ['at once', 0, undefined],
      ['in the middle', 123_456, undefined],
      ['at its last byte', 999_999, undefined],
      ['in the middle of a range', 1000, { start: 5000, end: 77_777 }],
      ['in the middle of an open range', 1000, { start: 5000 }],
      ['at once, in a range', 0, { start: 5000, end: 77_777 }],
    ])('goes on where it broke: %s', async (_, at, range) => {
      const { storage, bytes, broken } = await setUp({ on: 'get', how: 'break', at })
      const chunks: Buffer[] = []
      for await (const chunk of await storage.get('large', range ? { range } : {})) chunks.push(chunk as Buffer)
      const end = range?.end === undefined ? bytes.length : range.end + 1
      expect(hash(Buffer.concat(chunks))).toBe(hash(bytes.subarray(range?.start ?? 0, end)))
      expect(broken.calls.filter((call) => call === 'get large')).toHaveLength(2)
    })

    test('again and again goes on as long as there is progress', async () => {
      const { storage, bytes } = await setUp({ on: 'get', how: 'break', at: 100_000, times: 9 })
      expect(hash(await readAll(storage, 'large'))).toBe(hash(bytes))
    })

    test('without any progress is given up', async () => {
      const { storage, broken } = await setUp({ on: 'get', how: 'break', at: 0, times: 100 })
      await expect(readAll(storage, 'large')).rejects.toThrow('on purpose')
      expect(broken.calls).toHaveLength(4)
    })

    test('after its last byte has ended', async () => {
      const { memory, pacing } = await setUp()
      await memory.put('short', Buffer.from('abc'), {})
      const late = { ...memory, get: async () => Readable.from(failingAfter(Buffer.from('abc'))) }
      expect((await readAll(retrying(late, { pacing }), 'short')).toString()).toBe('abc')
    })
  })

  test('a stream that is left early lets go of the storage', async () => {
    const { memory } = await setUp()
    let source: Readable | undefined
    const storage = retrying({
      ...memory,
      get: async (key, options) => {
        source = await memory.get(key, options)
        return source
      },
    })
    const stream = await storage.get('large')
    for await (const _ of stream) break
    await expect.poll(() => source?.destroyed).toBe(true)
  })

  test('a list that breaks goes on after the last entry, and gives nothing twice', async () => {
    const { storage } = await setUp({ on: 'list', how: 'break', at: 0 }, { on: 'list', how: 'break', at: 2, nth: 2 })
    expect(await listed(storage, '')).toEqual(['large', 'list/a', 'list/b', 'list/c'])
  })

  test('a delimited list that breaks gives its folders once', async () => {
    const { storage } = await setUp({ on: 'list', how: 'break', at: 1, times: 2 })
    const entries = await Array.fromAsync(storage.list('', { delimiter: '/' }))
    expect(entries.map(({ key }) => key)).toEqual(['large', 'list/'])
  })

  test('nothing is tried again after an abort', async () => {
    const stop = new AbortController()
    const { storage, broken } = await setUp({ on: 'put', how: 'stall' })
    const put = storage.put('new', Buffer.from('x'), { signal: stop.signal })
    put.catch(() => {})
    stop.abort(new JobError('storage', 'stop', { retryable: true }))
    await expect(put).rejects.toThrow('stop')
    await expect(storage.get('large', { signal: stop.signal })).rejects.toThrow('stop')
    expect(broken.calls).toEqual(['put new', 'get large'])
  })

  test('an abort ends the wait', async () => {
    const stop = new AbortController()
    const { broken } = await setUp({ on: 'put', how: 'fail', times: 9 })
    const storage = retrying(broken)
    const put = storage.put('new', Buffer.from('x'), { signal: stop.signal })
    put.catch(() => {})
    await new Promise(setImmediate)
    stop.abort(new Error('stop'))
    await expect(put).rejects.toThrow('stop')
    expect(broken.calls).toEqual(['put new'])
  })
})

async function* failingAfter(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
  throw new JobError('storage', 'broken after the end', { retryable: true })
}
