import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { store, tap, verified } from '../../io/pipeline.ts'
import type { Storage } from '../../storage.ts'
import { faulty } from '../fakes/faulty.ts'
import { memoryStorage } from '../fakes/memory.ts'

const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
const signal = new AbortController().signal
const data = Buffer.from('0123456789'.repeat(50_000))
const pieces = function* () {
  for (let at = 0; at < data.length; at += 65_536) yield data.subarray(at, at + 65_536)
}
const stream = () => Readable.from(pieces(), { objectMode: false })
const part = { path: 'users.sql', size: data.length, sha256: sha256(data) }
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
    expect(await store({ ...request, data: stream(), size: data.length, storages, onBytes })).toEqual(part)
    for (const { objects } of storages) expect(objects.get(request.key)?.bytes.equals(data)).toBe(true)
    expect(bytes).toBe(data.length)
  })

  test.each([1, 2])('without bytes is stored on %d storages too', async (count) => {
    const storages = Array.from({ length: count }, () => memoryStorage())
    const empty = Readable.from([], { objectMode: false })
    expect(await store({ ...request, data: empty, storages })).toEqual({
      path: 'users.sql',
      size: 0,
      sha256: sha256(''),
    })
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
    expect(await store({ ...request, data: stream, storages: [again] })).toEqual(part)
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
    const sent = await store({
      ...request,
      data: Readable.from(produce(), { objectMode: false }),
      storages: [memoryStorage(), slow],
    })
    expect(sent.size).toBe(64 * chunk.length)
    expect(ahead).toBeLessThan(16 * chunk.length)
  })
})

describe('nothing is visible, and the producer is ended', () => {
  const two = () => [memoryStorage({ name: 'a' }), memoryStorage({ name: 'b' })] as const

  test.each([1, 2])('when the producer of a part for %d storages fails', async (count) => {
    const storages = two().slice(0, count)
    await expect(store({ ...request, data: broken(), storages })).rejects.toThrow('lost connection')
    for (const { objects } of storages) expect(objects.size).toBe(0)
  })

  test.each([
    ['the only storage', 1, 0],
    ['the first storage', 2, 0],
    ['the second storage', 2, 1],
  ])('when %s fails before it reads', async (_, count, which) => {
    const memories = two().slice(0, count)
    const storages = memories.map((memory, i) => (i === which ? faulty(memory, { on: 'put', how: 'fail' }) : memory))
    const source = endless()
    const closed = new Promise((resolve) => source.once('close', resolve))
    await expect(store({ ...request, data: source, storages })).rejects.toThrow('put: broken on purpose')
    await closed
    for (const { objects } of memories) expect(objects.size).toBe(0)
  })

  test('when a storage fails in the middle', async () => {
    const [a, b] = two()
    const full: Storage = {
      ...b,
      put: async (_key, body) => {
        for await (const _ of body as Readable) throw new Error('disk full')
        return { size: 0 }
      },
    }
    await expect(store({ ...request, data: endless(), storages: [a, full] })).rejects.toThrow('disk full')
    expect(a.objects.size).toBe(0)
  })

  test.each([1, 2])('when the data for %d storages has another size than was said', async (count) => {
    const storages = two().slice(0, count)
    for (const size of [data.length - 1, data.length + 1]) {
      await expect(store({ ...request, data: stream(), size, storages })).rejects.toMatchObject({ kind: 'storage' })
    }
    for (const { objects } of storages) expect(objects.size).toBe(0)
  })

  test('when the run is aborted while a storage stalls', async () => {
    const [a, b] = two()
    const stop = new AbortController()
    const storages = [a, faulty(b, { on: 'put', how: 'stall' })]
    const stored = store({ ...request, signal: stop.signal, data: endless(), storages })
    stop.abort(new Error('stopped'))
    await expect(stored).rejects.toThrow('stopped')
    expect(a.objects.size).toBe(0)
  })
})

test('a storage that has another size than was sent is an error', async () => {
  const memory = memoryStorage({ name: 'liar' })
  const liar: Storage = { ...memory, put: async (...args) => ({ size: (await memory.put(...args)).size - 1 }) }
  for (const storages of [[liar], [memoryStorage(), liar]]) {
    await expect(store({ ...request, data: stream(), storages })).rejects.toMatchObject({
      kind: 'storage',
      message: `storage liar has ${data.length - 1} bytes of users.sql, ${data.length} were sent`,
    })
  }
})

describe('a stored part that is read', () => {
  const checked = (bytes: Buffer) =>
    buffer(verified(Readable.from([bytes], { objectMode: false }), part, 'users.sql in storage main'))

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
    await expect(buffer(verified(broken(), part, 'x'))).rejects.toThrow('lost connection')
  })
})
