import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openDestinations } from '../../io/destinations.ts'
import { fileStream } from '../../io/lending.ts'
import { openPace, type Pace } from '../../io/pace.ts'
import { store } from '../../io/pipeline.ts'
import { isLender } from '../../storage.ts'
import { limited } from '../../storages/limited.ts'
import { storageContract } from '../contracts/storage.ts'
import { fakeClock } from '../fakes/clock.ts'
import { memoryStorage } from '../fakes/memory.ts'

const KiB = 1024

storageContract('memory, as fast as 1 GiB a second', async () => {
  const memory = memoryStorage()
  return { storage: limited(memory, openPace({ limit: () => 2 ** 30 })), dispose: async () => {} }
})

function slow(perSecond = KiB) {
  const clock = fakeClock()
  const memory = memoryStorage()
  const pace = openPace({ limit: () => perSecond, clock })
  return { clock, memory, pace, storage: limited(memory, pace) }
}

const bytes = Buffer.alloc(100 * KiB, 7)
const streamOf = () => Readable.from([bytes], { objectMode: false })

async function seconds(clock: ReturnType<typeof fakeClock>, work: Promise<unknown>): Promise<number> {
  let done = false
  work.finally(() => {
    done = true
  })
  const begun = clock.ticks()
  while (!done && clock.ticks() - begun < 3_600_000) await clock.advance(1000)
  await work
  return (clock.ticks() - begun) / 1000
}

test('an upload takes as long as the limit says', async () => {
  const { clock, storage, memory } = slow()
  expect(await seconds(clock, storage.put('a', streamOf(), {}))).toBeGreaterThan(90)
  expect(memory.objects.get('a')?.bytes.equals(bytes)).toBe(true)
})

test('so does a download', async () => {
  const { clock, storage, memory } = slow()
  await memory.put('a', bytes, {})
  const read = async () => Buffer.concat(await Array.fromAsync(await storage.get('a')))
  const reading = read()
  expect(await seconds(clock, reading)).toBeGreaterThan(90)
  expect((await reading).equals(bytes)).toBe(true)
})

test('two storages share the limit: the same bytes twice take twice as long', async () => {
  const { clock, storage, pace } = slow()
  const other = limited(memoryStorage({ name: 'other' }), pace)
  const signal = new AbortController().signal
  const stored = store({
    key: 'a',
    path: 'a',
    data: streamOf(),
    to: openDestinations({ storages: [storage, other], signal, onDrop: () => {} }),
    signal,
  })
  expect(await seconds(clock, stored)).toBeGreaterThan(190)
})

test('a body that is asked for again is slow again', async () => {
  const { clock, storage } = slow()
  await seconds(
    clock,
    storage.put('a', () => streamOf(), {}),
  )
  expect(
    await seconds(
      clock,
      storage.put('a', () => streamOf(), {}),
    ),
  ).toBeGreaterThan(90)
})

test('loans stay loans', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-limited-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  await writeFile(join(dir, 'a'), bytes)
  let lent = false
  const memory = memoryStorage()
  const seeing = {
    ...memory,
    put: ((key, body, options) => {
      lent = body instanceof Readable && isLender(body)
      return memory.put(key, body, options)
    }) as typeof memory.put,
  }
  const signal = new AbortController().signal
  await limited(seeing, openPace({ limit: () => 2 ** 30 })).put('a', fileStream(join(dir, 'a'), signal), {})
  expect(lent).toBe(true)
  expect(memory.objects.get('a')?.bytes.equals(bytes)).toBe(true)
})

test('a small object never waits: the manifest of a slow run is written at once', async () => {
  const { storage, pace, memory } = slow()
  await pace.take(1000 * KiB)
  await storage.put('a.json', Buffer.from('{}'), {})
  expect(memory.objects.has('a.json')).toBe(true)
})

describe('an abort ends the wait of', () => {
  const held = async (pace: Pace) => {
    await pace.take(1000 * KiB)
    return new AbortController()
  }

  test('an upload at once, and nothing is stored', async () => {
    const { storage, pace, memory } = slow()
    const stop = await held(pace)
    const source = streamOf()
    const put = storage.put('a', source, { signal: stop.signal })
    stop.abort(new Error('stopped'))
    await expect(put).rejects.toThrow('stopped')
    expect(source.destroyed).toBe(true)
    expect(memory.objects.size).toBe(0)
  })

  test('a download at once', async () => {
    const { storage, pace, memory } = slow()
    const stop = await held(pace)
    await memory.put('a', bytes, {})
    const reading = Array.fromAsync(await storage.get('a', { signal: stop.signal }))
    stop.abort(new Error('stopped'))
    await expect(reading).rejects.toThrow('stopped')
  })
})

test('who stops reading lets the source go, though it waited', async () => {
  const { storage, pace, memory } = slow()
  await memory.put('a', bytes, {})
  let source: Readable | undefined
  const get = memory.get
  memory.get = async (key, options) => {
    source = await get(key, options)
    return source
  }
  const stream = await limited(memory, pace).get('a')
  await pace.take(1000 * KiB)
  stream.read(1)
  stream.destroy()
  await expect.poll(() => source?.destroyed).toBe(true)
  expect(storage.name).toBe('memory')
})

test('a source that fails, fails the upload with its own error', async () => {
  const { storage } = slow(2 ** 30)
  const failing = Readable.from(
    (async function* () {
      yield Buffer.from('x')
      throw new Error('mysqldump ended with 2')
    })(),
    { objectMode: false },
  )
  await expect(storage.put('a', failing, {})).rejects.toThrow('mysqldump ended with 2')
})
