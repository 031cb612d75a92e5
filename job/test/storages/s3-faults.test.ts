import { Readable } from 'node:stream'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isExisting, readAll, type Storage } from '../../storage.ts'
import { retrying } from '../../storages/retrying.ts'
import { chunked, hash, listed, someBytes } from '../contracts/storage.ts'
import { type Action, type S3Proxy, type S3Request, startS3Proxy } from '../fakes/s3-proxy.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { openBucket, quickPacing } from './bucket.ts'

const MiB = 2 ** 20
const size = 12 * MiB
const isOf = (operation: string, part?: number) => (request: S3Request) =>
  request.operation === operation && (part === undefined || request.part === part)

const found = await startS3()
afterAll(() => found?.stop())

describe.skipIf(!found)('s3 behind a bad network', () => {
  const server = found as S3Server
  let proxy: S3Proxy
  let bucket: string
  let pacing: ReturnType<typeof quickPacing>
  let storage: Storage
  beforeEach(async () => {
    bucket = await server.createBucket()
    proxy = await startS3Proxy(server.endpoint)
    pacing = quickPacing()
    storage = openBucket({ server, bucket, endpoint: proxy.endpoint, pacing })
  })
  afterEach(async () => {
    await storage.close()
    await proxy.stop()
  })
  /** For tests in which the server is silent; a busy machine is too, so the others are patient. */
  const becomeHasty = async () => {
    await storage.close()
    storage = openBucket({ server, bucket, endpoint: proxy.endpoint, pacing, values: { timeoutSeconds: 1 } })
  }
  const count = (operation: string) => proxy.requests.filter((request) => request.operation === operation).length
  const expectStored = async (key: string) => expect(hash(await readAll(storage, key))).toBe(hash(someBytes(size)))

  const passing: [string, Action][] = [
    ['503 SlowDown', { answer: 503, code: 'SlowDown' }],
    ['500', { answer: 500 }],
    ['429', { answer: 429, code: 'TooManyRequests' }],
    ['408', { answer: 408, code: 'RequestTimeout' }],
    ['a cut connection', 'reset'],
    ['silence', 'stall'],
    ['a lost answer', 'lose'],
  ]
  const requests: [string, number | undefined][] = [
    ['CreateMultipartUpload', undefined],
    ['UploadPart', 1],
    ['UploadPart', 3],
    ['CompleteMultipartUpload', undefined],
    ['HeadObject', undefined],
  ]
  const cases = passing.flatMap(([what, action]) =>
    requests.map(([operation, part]) => ({ what, action, operation, part })),
  )

  test.each(cases)('an upload outlives $what in $operation $part', async ({ action, operation, part }) => {
    if (action === 'stall') await becomeHasty()
    proxy.on(isOf(operation, part), action)
    await storage.put('outlived', chunked(someBytes(size)), { size })
    expect(pacing.pauses[0]).toBe(125)
    if (action !== 'stall') expect(pacing.pauses).toHaveLength(1)
    await expectStored('outlived')
    // The server has begun an upload of which nobody knows the id, when that very answer is lost.
    if (!(action === 'lose' && operation === 'CreateMultipartUpload'))
      expect(await server.uploadsIn(bucket)).toEqual([])
  })

  test('an upload outlives trouble in every part at once', async () => {
    proxy.on(isOf('UploadPart'), { answer: 503, code: 'SlowDown' }, { times: 9 })
    await storage.put('outlived', chunked(someBytes(size)), {})
    await expectStored('outlived')
  })

  test('waits longer from attempt to attempt, and gives up after eight', async () => {
    proxy.on(isOf('UploadPart', 2), { answer: 503, code: 'SlowDown' }, { times: 100 })
    const put = storage.put('given-up', chunked(someBytes(size)), {})
    await expect(put).rejects.toMatchObject({
      kind: 'storage',
      retryable: true,
      message: expect.stringMatching(/main .*put part 2 of given-up/),
    })
    expect(pacing.pauses).toEqual([125, 250, 500, 1000, 2000, 4000, 8000])
    expect(await storage.head('given-up')).toBeUndefined()
    expect(await server.uploadsIn(bucket)).toEqual([])
  })

  test('a refused part ends the upload at once, and its stream', async () => {
    proxy.on(isOf('UploadPart', 1), { answer: 403, code: 'AccessDenied' })
    const endless = new Readable({
      read() {
        this.push(Buffer.alloc(65_536))
      },
    })
    await expect(storage.put('refused', endless, {})).rejects.toThrow(/access denied/)
    expect(endless.destroyed).toBe(true)
    expect(await storage.head('refused')).toBeUndefined()
    expect(await server.uploadsIn(bucket)).toEqual([])
  })

  test('a failed abort does not hide what went wrong', async () => {
    await becomeHasty()
    proxy.on(isOf('UploadPart', 1), { answer: 403, code: 'AccessDenied' })
    proxy.on(isOf('AbortMultipartUpload'), 'stall', { times: 100 })
    await expect(storage.put('refused', chunked(someBytes(size)), {})).rejects.toThrow(/access denied/)
    expect((await server.uploadsIn(bucket)).length).toBe(1)
  })

  test('an abort cuts off a part that takes too long, and removes the upload', async () => {
    await becomeHasty()
    const stop = new AbortController()
    const hold = proxy.holdNext(isOf('UploadPart', 2), 'before')
    const put = storage.put('aborted', chunked(someBytes(size)), { signal: stop.signal })
    put.catch(() => {})
    await hold.held
    stop.abort(new Error('stop'))
    await expect(put).rejects.toThrow('stop')
    hold.release()
    expect(await storage.head('aborted')).toBeUndefined()
    expect(await server.uploadsIn(bucket)).toEqual([])
  })

  test('an upload is removed only when no part of it is under way', async () => {
    const stop = new AbortController()
    const patient = openBucket({ server, bucket, endpoint: proxy.endpoint })
    const hold = proxy.holdNext(isOf('UploadPart', 2), 'before')
    const put = patient.put('aborted', chunked(someBytes(size)), { signal: stop.signal })
    put.catch(() => {})
    await hold.held
    stop.abort(new Error('stop'))
    await patient.head('anything')
    hold.release()
    await expect(put).rejects.toThrow('stop')
    const answered = proxy.answered.filter(({ part, operation }) => part === 2 || operation === 'AbortMultipartUpload')
    expect(answered.map(({ operation }) => operation)).toEqual(['UploadPart', 'AbortMultipartUpload'])
    expect(await server.uploadsIn(bucket)).toEqual([])
    await patient.close()
  })

  test('an abort ends the wait for the next attempt', async () => {
    const stop = new AbortController()
    const patient = openBucket({
      server,
      bucket,
      endpoint: proxy.endpoint,
      pacing: {
        random: () => 0,
        pause: (_, signal) => {
          stop.abort(new Error('stop'))
          return Promise.reject(signal?.reason)
        },
      },
    })
    proxy.on(isOf('UploadPart', 1), { answer: 500 }, { times: 100 })
    await expect(patient.put('aborted', chunked(someBytes(size)), { signal: stop.signal })).rejects.toThrow('stop')
    expect(count('UploadPart')).toBeLessThanOrEqual(3)
    await patient.close()
  })

  describe('if absent', () => {
    test('a completed upload whose answer was lost exists for the second attempt', async () => {
      proxy.on(isOf('CompleteMultipartUpload'), 'lose')
      const put = storage.put('lost/complete', chunked(someBytes(size)), { ifAbsent: true })
      const error = await put.then(
        () => undefined,
        (thrown) => thrown,
      )
      expect(error === undefined || isExisting(error), String(error)).toBe(true)
      await expectStored('lost/complete')
    })

    test('a small object whose answer was lost exists for the second attempt', async () => {
      proxy.on(isOf('PutObject'), 'lose')
      const put = retrying(storage, { pacing }).put('lost/small', Buffer.from('mine'), { ifAbsent: true })
      expect(isExisting(await put.catch((error) => error))).toBe(true)
      expect((await readAll(storage, 'lost/small')).toString()).toBe('mine')
    })

    test('is tried again when the server speaks of a conflict', async () => {
      proxy.on(isOf('PutObject'), { answer: 409, code: 'ConditionalRequestConflict' })
      await retrying(storage, { pacing }).put('conflict', Buffer.from('x'), { ifAbsent: true })
      expect(storage.features.conditionalPut).toBe(true)
    })

    test('a server that knows no conditions is asked first', async () => {
      proxy.on(
        ({ headers }) => headers['if-none-match'] !== undefined,
        { answer: 501, code: 'NotImplemented' },
        { times: 100 },
      )
      await storage.put('unconditional', Buffer.from('first'), { ifAbsent: true })
      expect(storage.features.conditionalPut).toBe(false)
      for (const body of [Buffer.from('second'), chunked(someBytes(size))]) {
        const put = storage.put('unconditional', body, { ifAbsent: true })
        expect(isExisting(await put.catch((error) => error))).toBe(true)
      }
      expect((await readAll(storage, 'unconditional')).toString()).toBe('first')
    })

    test('a large object can be the first on a server that knows no conditions', async () => {
      proxy.on(
        ({ headers }) => headers['if-none-match'] !== undefined,
        { answer: 501, code: 'NotImplemented' },
        { times: 100 },
      )
      await storage.put('unconditional-large', chunked(someBytes(size)), { ifAbsent: true })
      await expectStored('unconditional-large')
      expect(storage.features.conditionalPut).toBe(false)
    })

    test('sends no condition when told never to', async () => {
      const plain = openBucket({ server, bucket, endpoint: proxy.endpoint, values: { conditionalPut: 'never' } })
      await plain.put('never', Buffer.from('first'), { ifAbsent: true })
      expect(
        isExisting(await plain.put('never', Buffer.from('second'), { ifAbsent: true }).catch((error) => error)),
      ).toBe(true)
      expect(proxy.requests.filter(({ headers }) => headers['if-none-match'])).toEqual([])
      await plain.close()
    })
  })

  test('a lost completion of another object is not taken for ours', async () => {
    await storage.put('replaced', chunked(someBytes(size + 5)), {})
    proxy.on(isOf('CompleteMultipartUpload'), { answer: 500 })
    proxy.on(isOf('CompleteMultipartUpload'), { answer: 404, code: 'NoSuchUpload' })
    await expect(storage.put('replaced', chunked(someBytes(size)), {})).rejects.toThrow(/complete replaced/)
  })

  test('a completion whose answer was lost is found done when the server no longer knows the upload', async () => {
    proxy.on(isOf('CompleteMultipartUpload'), 'lose')
    proxy.on(isOf('CompleteMultipartUpload'), { answer: 404, code: 'NoSuchUpload' })
    await storage.put('lost', chunked(someBytes(size)), {})
    await expectStored('lost')
  })

  test('an upload that is gone is an error when no answer was lost', async () => {
    // Not even when there is an object that looks the same.
    await storage.put('gone', chunked(someBytes(size)), {})
    proxy.on(isOf('CompleteMultipartUpload'), { answer: 404, code: 'NoSuchUpload' })
    await expect(storage.put('gone', chunked(someBytes(size)), {})).rejects.toThrow(/complete gone/)
  })

  test('an error inside an answer of 200 is an error', async () => {
    proxy.on(isOf('CompleteMultipartUpload'), { answer: 200, code: 'InternalError' }, { times: 100 })
    await expect(storage.put('inside', chunked(someBytes(size)), {})).rejects.toMatchObject({ retryable: true })
    expect(await server.uploadsIn(bucket)).toEqual([])
  })

  test('an object of another size than was sent is an error', async () => {
    const hold = proxy.holdNext(isOf('HeadObject'), 'before')
    const put = storage.put('overwritten', Buffer.from('12345'), {})
    put.catch(() => {})
    await hold.held
    const other = openBucket({ server, bucket })
    await other.put('overwritten', Buffer.from('123'), {})
    await other.close()
    hold.release()
    await expect(put).rejects.toThrow(/has 3 bytes after 5 bytes were stored/)
  })

  describe('get', () => {
    beforeEach(async () => {
      const direct = openBucket({ server, bucket })
      await direct.put('large', chunked(someBytes(size)), {})
      await direct.close()
    })

    test.each<[string, Action]>([
      ['ends too early', { truncate: 3 * MiB + 7 }],
      ['stands still', { freeze: 3 * MiB + 7 }],
      ['stands still at once', { freeze: 0 }],
    ])('is an error when the answer %s', async (_, action) => {
      await becomeHasty()
      proxy.on(isOf('GetObject'), action)
      await expect(readAll(storage, 'large')).rejects.toMatchObject({ kind: 'storage', retryable: true })
    })

    test.each<[string, Action]>([
      ['ends too early', { truncate: 3 * MiB + 7 }],
      ['stands still', { freeze: 3 * MiB + 7 }],
      ['never comes', 'stall'],
      ['is 503', { answer: 503, code: 'SlowDown' }],
      ['is a cut connection', 'reset'],
    ])('goes on where the answer %s, with retries around it', async (_, action) => {
      await becomeHasty()
      proxy.on(isOf('GetObject'), action, { times: 3 })
      expect(hash(await readAll(retrying(storage, { pacing }), 'large'))).toBe(hash(someBytes(size)))
      expect(count('GetObject')).toBeGreaterThanOrEqual(4)
    })

    test('does not lose patience with a slow reader', async () => {
      await becomeHasty()
      await storage.head('large')
      const stream = await storage.get('large')
      const pieces: Buffer[] = []
      let isFirst = true
      for await (const chunk of stream) {
        pieces.push(chunk as Buffer)
        // Longer than the server may be silent.
        if (isFirst) await new Promise((resolve) => setTimeout(resolve, 1500))
        isFirst = false
      }
      expect(hash(Buffer.concat(pieces))).toBe(hash(someBytes(size)))
    })
  })

  test('a list goes on after a page that failed, without giving anything twice', async () => {
    const keys = Array.from({ length: 1005 }, (_, index) => `many/${String(index).padStart(4, '0')}`)
    const queue = keys.values()
    const work = async () => {
      for (const key of queue) await storage.put(key, Buffer.alloc(0), {})
    }
    await Promise.all(Array.from({ length: 16 }, work))
    proxy.on(isOf('ListObjectsV2'), { answer: 500 }, { skip: 1 })
    expect(await listed(retrying(storage, { pacing }), 'many/')).toEqual(keys)
    expect(count('ListObjectsV2')).toBe(4)
  })

  test.each([
    ['NotImplemented', 501],
    ['MissingContentMD5', 400],
    ['MethodNotAllowed', 405],
  ])('deletes one by one where the server refuses many with %s', async (code, answer) => {
    const keys = Array.from({ length: 20 }, (_, index) => `delete/${index}`)
    for (const key of keys) await storage.put(key, Buffer.alloc(0), {})
    proxy.on(isOf('DeleteObjects'), { answer, code }, { times: 100 })
    await storage.delete([...keys, 'delete/nothing'])
    await storage.delete(['delete/nothing'])
    expect(await listed(storage, 'delete/')).toEqual([])
    expect([count('DeleteObjects'), count('DeleteObject')]).toEqual([1, 22])
  })

  test('a delete that fails names the key', async () => {
    proxy.on(isOf('DeleteObjects'), { answer: 501, code: 'NotImplemented' })
    proxy.on(({ operation, key }) => operation === 'DeleteObject' && key === 'delete/2', {
      answer: 403,
      code: 'AccessDenied',
    })
    await expect(storage.delete(['delete/1', 'delete/2', 'delete/3'])).rejects.toThrow(
      /delete delete\/2: access denied/,
    )
    expect(count('DeleteObject')).toBe(3)
  })

  test('thousands of keys are deleted a thousand at a time', async () => {
    await storage.delete(Array.from({ length: 2500 }, (_, index) => `nothing/${index}`))
    expect(count('DeleteObjects')).toBe(3)
  })

  test('uploads that failed have given their buffers back', async () => {
    const tight = openBucket({ server, bucket, values: { partsInFlight: 2 } })
    for (let round = 0; round < 4; round++) {
      const failing = Readable.from(
        (function* () {
          yield someBytes(7 * MiB)
          throw new Error('producer')
        })(),
      )
      await expect(tight.put('failing', failing, {})).rejects.toThrow('producer')
    }
    expect(await tight.put('fine', chunked(someBytes(size)), {})).toMatchObject({ size })
    await tight.close()
  })

  test('more uploads than there are buffers all come to their end', async () => {
    const tight = openBucket({ server, bucket, values: { partsInFlight: 1 } })
    const puts = Array.from({ length: 6 }, (_, index) =>
      tight.put(`tight/${index}`, chunked(someBytes(6 * MiB + index)), {}),
    )
    expect((await Promise.all(puts)).map((stored) => stored.size)).toEqual(puts.map((_, index) => 6 * MiB + index))
    await tight.close()
  })

  test('an upload that waits for a buffer can be aborted', async () => {
    const tight = openBucket({ server, bucket, values: { partsInFlight: 1 } })
    const hold = new Readable({ read() {} })
    hold.push(someBytes(MiB))
    const first = tight.put('tight/slow', hold, {})
    while (hold.readableLength > 0) await new Promise(setImmediate)
    const stop = new AbortController()
    const second = tight.put('tight/aborted', chunked(someBytes(size)), { signal: stop.signal })
    second.catch(() => {})
    stop.abort(new Error('stop'))
    await expect(second).rejects.toThrow('stop')
    hold.push(null)
    expect(await first).toMatchObject({ size: MiB })
    await tight.close()
  })
})
