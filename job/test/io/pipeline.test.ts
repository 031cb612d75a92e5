import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { seats } from '../../io/parallel.ts'
import { store, verified } from '../../io/pipeline.ts'
import { tap } from '../../io/tap.ts'
import type { Storage } from '../../storage.ts'
import { chunksOf, openBody } from '../../storages/incoming.ts'
import { destinationsOf } from '../fakes/destinations.ts'
import { faulty } from '../fakes/faulty.ts'
import { type MemoryStorage, memoryStorage } from '../fakes/memory.ts'

const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
const signal = new AbortController().signal
const data = Buffer.from('0123456789'.repeat(50_000))
const pieces = function* () {
  for (let at = 0; at < data.length; at += 65_536) yield data.subarray(at, at + 65_536)
}
const stream = () => Readable.from(pieces(), { objectMode: false })
const part = { path: 'users.sql', size: data.length, sha256: sha256(data) }
/** That every storage has the same. */
const everywhere = (storages: readonly Storage[], same = part) => new Map(storages.map(({ name }) => [name, same]))
const request = { key: 'nightly/5/users.sql', path: 'users.sql', signal }

/** A producer that would never end by itself. */
function endless(): Readable {
  return Readable.from(
    (function* () {
      for (;;) yield data
    })(),
    { objectMode: false },
  )
}

/** A producer that fails after its first bytes. */
function broken(): Readable {
  return Readable.from(
    (function* () {
      yield data
      throw new Error('lost connection')
    })(),
    { objectMode: false },
  )
}

describe('a tap', () => {
  test('hashes and counts what passes', async () => {
    const counts: number[] = []
    const tapped = tap(stream(), (bytes) => counts.push(bytes))
    expect((await buffer(tapped.stream)).equals(data)).toBe(true)
    expect(tapped.result()).toEqual({ size: part.size, sha256: part.sha256 })
    expect(counts.reduce((sum, count) => sum + count)).toBe(data.length)
  })

  test('hands on the error of its source', async () => {
    await expect(buffer(tap(broken()).stream)).rejects.toThrow('lost connection')
  })

  test('ends its source when nobody reads on', async () => {
    const source = endless()
    const closed = new Promise((resolve) => source.once('close', resolve))
    tap(source).stream.destroy()
    await closed
  })
})

describe('a part', () => {
  test.each([1, 2, 3])('is read once and stored on %d storages', async (count) => {
    const storages = Array.from({ length: count }, (_, i) => memoryStorage({ name: `s${i}` }))
    let bytes = 0
    const onBytes = (more: number) => {
      bytes += more
    }
    const to = destinationsOf(storages)
    const copies = await store({ ...request, data: stream(), size: data.length, to, onBytes })
    expect(copies).toEqual(everywhere(storages))
    for (const { objects } of storages) expect(objects.get(request.key)?.bytes.equals(data)).toBe(true)
    expect(bytes).toBe(data.length)
  })

  test.each([1, 2])('without bytes is stored on %d storages too', async (count) => {
    const storages = Array.from({ length: count }, (_, i) => memoryStorage({ name: `s${i}` }))
    const empty = Readable.from([], { objectMode: false })
    const copies = await store({ ...request, data: empty, to: destinationsOf(storages) })
    expect(copies).toEqual(everywhere(storages, { path: 'users.sql', size: 0, sha256: sha256('') }))
    for (const { objects } of storages) expect(objects.get(request.key)?.bytes).toHaveLength(0)
  })

  test('is opened again when its storage has to try again, and counted once', async () => {
    const memory = memoryStorage()
    const again: Storage = {
      ...memory,
      put: async (key, body, options) => {
        if (typeof body !== 'function') throw new Error('cannot be read twice')
        body().destroy()
        return memory.put(key, body, options)
      },
    }
    expect(await store({ ...request, data: stream, to: destinationsOf([again]) })).toEqual(everywhere([again]))
  })

  test('is sent at the pace of the slowest storage', async () => {
    const chunk = Buffer.alloc(1024 * 1024)
    let [made, ahead] = [0, 0]
    function* produce() {
      for (; made < 64; made++) yield chunk
    }
    const slow: Storage = {
      ...memoryStorage(),
      put: async (_key, body) => {
        let taken = 0
        for await (const bytes of body as Readable) {
          await new Promise(setImmediate)
          taken += (bytes as Buffer).length
          ahead = Math.max(ahead, made * chunk.length - taken)
        }
        return { size: taken }
      },
    }
    const copies = await store({
      ...request,
      data: Readable.from(produce(), { objectMode: false }),
      to: destinationsOf([memoryStorage({ name: 'fast' }), slow]),
    })
    expect([...copies.values()].map(({ size }) => size)).toEqual([64 * chunk.length, 64 * chunk.length])
    expect(ahead).toBeLessThan(16 * chunk.length)
  })
})

describe('nothing is visible, and the producer is ended', () => {
  const two = () => [memoryStorage({ name: 'a' }), memoryStorage({ name: 'b' })] as const

  test.each([1, 2])(
    'when the producer of a part for %d storages fails: that is no failure of theirs',
    async (count) => {
      const storages = two().slice(0, count)
      const to = destinationsOf(storages)
      await expect(store({ ...request, data: broken(), to })).rejects.toThrow('lost connection')
      for (const { objects } of storages) expect(objects.size).toBe(0)
      expect(to.failures.size).toBe(0)
    },
  )

  test.each([1, 2])('when all of %d storages fail before they read', async (count) => {
    const memories = two().slice(0, count)
    const source = endless()
    const closed = new Promise((resolve) => source.once('close', resolve))
    const to = destinationsOf(memories.map((memory) => faulty(memory, { on: 'put', how: 'fail' })))
    await expect(store({ ...request, data: source, to })).rejects.toThrow('put: broken on purpose')
    await closed
    for (const { objects } of memories) expect(objects.size).toBe(0)
  })

  test.each([1, 2])('when the data for %d storages has another size than was said', async (count) => {
    for (const size of [data.length - 1, data.length + 1]) {
      const storages = two().slice(0, count)
      const to = destinationsOf(storages)
      await expect(store({ ...request, data: stream(), size, to })).rejects.toMatchObject({ kind: 'storage' })
      for (const { objects } of storages) expect(objects.size).toBe(0)
      expect(to.failures.size).toBe(0)
    }
  })

  test('when the run is aborted while a storage stalls: that is no failure of its', async () => {
    const [a, b] = two()
    const stop = new AbortController()
    const to = destinationsOf([a, faulty(b, { on: 'put', how: 'stall' })], stop.signal)
    const stored = store({ ...request, signal: stop.signal, data: endless(), to })
    stop.abort(new Error('stopped'))
    await expect(stored).rejects.toThrow('stopped')
    expect(a.objects.size).toBe(0)
    expect(to.failures.size).toBe(0)
  })
})

describe('a storage that fails is out, and the others have the part', () => {
  type Two = [MemoryStorage, MemoryStorage, MemoryStorage]
  const three = () => ['a', 'b', 'c'].map((name) => memoryStorage({ name }))

  /** Takes some chunks, then the rest goes wrong. */
  function failing(memory: Storage, chunks: number): Storage {
    const put: Storage['put'] = async (_key, body) => {
      let taken = 0
      for await (const _ of body as Readable) if (++taken > chunks) throw new Error('disk full')
      throw new Error('disk full at the end')
    }
    return { ...memory, put }
  }

  test.each<[string, number, (memory: Storage) => Storage, string]>([
    ['the first before it reads', 0, (memory) => faulty(memory, { on: 'put', how: 'fail' }), 'broken on purpose'],
    ['the last before it reads', 2, (memory) => faulty(memory, { on: 'put', how: 'fail' }), 'broken on purpose'],
    ['one in the middle', 1, (memory) => failing(memory, 3), 'disk full'],
    ['one at its end', 1, (memory) => failing(memory, 1000), 'disk full at the end'],
    ['one that has another size', 0, liar, `has ${data.length - 1} bytes of users.sql, ${data.length} were sent`],
  ])('%s', async (_, which, spoil, why) => {
    const memories = three()
    const to = destinationsOf(memories.map((memory, i) => (i === which ? spoil(memory) : memory)))
    const good = memories.filter((_, i) => i !== which)
    expect(await store({ ...request, data: stream(), to })).toEqual(everywhere(good))
    for (const { objects } of good) expect(objects.get(request.key)?.bytes.equals(data)).toBe(true)
    expect(String(to.failures.get(memories[which]?.name ?? ''))).toContain(why)
    expect(to.live().map(({ storage }) => storage.name)).toEqual(good.map(({ name }) => name))
  })

  test('and is the only one that wants the part: one that tells its own reader why it ends', async () => {
    const [a, b] = three() as Two
    const stop = new AbortController()
    const put: Storage['put'] = async (key, body) => {
      for await (const _ of chunksOf(openBody(body), { key, signal: stop.signal })) stop.abort(new Error('disk full'))
      return { size: 0 }
    }
    const to = destinationsOf([a, { ...b, put }])
    const lacking = to.only(({ storage }) => storage.name === 'b')
    expect(await store({ ...request, data: stream(), to: lacking })).toEqual(new Map())
    expect(String(to.failures.get('b'))).toContain('disk full')
    expect(to.live().map(({ storage }) => storage.name)).toEqual(['a'])
  })

  test('and gets no further part', async () => {
    const [a, b] = three() as Two
    const bad = faulty(b, { on: 'put', how: 'fail' })
    const to = destinationsOf([a, bad])
    await store({ ...request, data: stream(), to })
    expect(await store({ ...request, key: 'next', data: stream(), to })).toEqual(everywhere([a]))
    expect(bad.calls).toEqual(['put nightly/5/users.sql'])
  })

  test('what it is sent besides ends with it', async () => {
    const [a, b] = three() as Two
    const to = destinationsOf([
      a,
      faulty(b, { on: 'put', how: 'stall', key: 'slow' }, { on: 'put', how: 'fail', key: 'next' }),
    ])
    const slow = store({ ...request, key: 'slow', data: stream(), to })
    await store({ ...request, key: 'next', data: stream(), to })
    expect(await slow).toEqual(everywhere([a]))
  })
})

test('streams that share the memory of two storages do not wait for each other', async () => {
  const large = () =>
    Readable.from(
      (function* () {
        for (let i = 0; i < 20; i++) yield data
      })(),
      { objectMode: false },
    )
  /** Has memory for one stream, and looks at those with this key late. */
  function small(name: string, late: string): Storage {
    const memory = seats(1)
    const put: Storage['put'] = async (key, body) => {
      if (key === late) for (let i = 0; i < 50; i++) await new Promise(setImmediate)
      const release = await memory()
      let size = 0
      for await (const chunk of body as Readable) size += (chunk as Buffer).length
      release()
      return { size }
    }
    return { ...memoryStorage({ name }), features: { conditionalPut: true, streams: 1 }, put }
  }
  const to = destinationsOf([small('a', 'one'), small('b', 'other')])
  const stored = ['one', 'other'].map((key) => store({ ...request, key, data: large(), to }))
  for (const copies of await Promise.all(stored)) expect([...copies.keys()]).toEqual(['a', 'b'])
})

describe('a storage that stands still', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
  afterEach(() => void vi.useRealTimers())

  test.each<[string, Storage['put'], number, string]>([
    ['and takes nothing', () => new Promise(() => {}), 10, 'took nothing of nightly/5/users.sql for 10 minutes'],
    [
      'when it has everything',
      async (_key, body) => {
        for await (const _ of body as Readable);
        return new Promise(() => {})
      },
      60,
      'did not finish nightly/5/users.sql within 60 minutes',
    ],
  ])('%s is out in the end', async (_, put, minutes, why) => {
    const memory = memoryStorage({ name: 'a' })
    const hanging: Storage = { ...memoryStorage({ name: 'b' }), put }
    const to = destinationsOf([memory, hanging])
    const large = Readable.from(
      (function* () {
        for (let i = 0; i < 10; i++) yield data
      })(),
      { objectMode: false },
    )
    const stored = store({ ...request, data: large, to })
    // until nothing but its clock goes on
    const rest = () => vi.getTimerCount() > 0 && (minutes === 10 || memory.objects.size > 0)
    while (!rest()) await new Promise(setImmediate)
    await vi.advanceTimersByTimeAsync(minutes * 60_000 - 1)
    expect(to.failures.size).toBe(0)
    await vi.advanceTimersByTimeAsync(1)
    expect([...(await stored).keys()]).toEqual(['a'])
    expect(String(to.failures.get('b'))).toContain(`storage b ${why}`)
    expect(memory.objects.get(request.key)?.bytes.length).toBe(10 * data.length)
  })
})

test('a storage that takes a little now and then is slow, and not out', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const slow = memoryStorage({ name: 'slow' })
  const limited: Storage = {
    ...slow,
    put: (key, body, options) => {
      const late = async function* () {
        for await (const chunk of body as Readable) {
          await new Promise((resolve) => setTimeout(resolve, 9 * 60_000))
          yield chunk
        }
      }
      return slow.put(key, Readable.from(late(), { objectMode: false, highWaterMark: 1 }), options)
    },
  }
  const to = destinationsOf([memoryStorage({ name: 'a' }), limited])
  const chunks = Array.from({ length: 20 }, () => Buffer.alloc(1024 * 1024))
  const stored = store({ ...request, data: Readable.from(chunks, { objectMode: false }), to })
  let done = false
  stored.finally(() => {
    done = true
  })
  while (!done) {
    await vi.advanceTimersByTimeAsync(60_000)
    await new Promise(setImmediate)
  }
  expect([...(await stored).keys()]).toEqual(['a', 'slow'])
  expect(to.failures.size).toBe(0)
})

test('the only storage that has another size than was sent is an error', async () => {
  const to = destinationsOf([liar(memoryStorage({ name: 'liar' }))])
  await expect(store({ ...request, data: stream(), to })).rejects.toMatchObject({
    kind: 'storage',
    message: `storage liar has ${data.length - 1} bytes of users.sql, ${data.length} were sent`,
  })
})

function liar(memory: Storage): Storage {
  return { ...memory, put: async (...args) => ({ size: (await memory.put(...args)).size - 1 }) }
}

describe('a stored part that is read', () => {
  const checked = (bytes: Buffer) =>
    buffer(
      verified(Readable.from([bytes], { objectMode: false }), { content: part, where: 'users.sql in storage main' }),
    )

  test('comes as it was stored', async () => expect((await checked(data)).equals(data)).toBe(true))

  const flipped = Buffer.from(data)
  flipped[77_777] = (flipped[77_777] as number) ^ 1

  test.each<[string, Buffer, string]>([
    ['is short', data.subarray(1), `has ${data.length - 1} bytes, the manifest says ${data.length}`],
    ['is empty', Buffer.alloc(0), 'has 0 bytes'],
    ['is long', Buffer.concat([data, Buffer.from('x')]), `has ${data.length + 1} bytes`],
    ['has a bit changed', flipped, 'its sha256 differs from the manifest'],
  ])('errors when it %s, naming where it lies', async (_, bytes, message) => {
    await expect(checked(bytes)).rejects.toMatchObject({
      kind: 'verification',
      message: expect.stringContaining(message),
      hint: expect.stringContaining('restore another backup'),
    })
    await expect(checked(bytes)).rejects.toThrow('users.sql in storage main')
  })

  test('hands on the error of the storage', async () => {
    await expect(buffer(verified(broken(), { content: part, where: 'x' }))).rejects.toThrow('lost connection')
  })
})
