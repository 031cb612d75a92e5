import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { type Copy, openShelf } from '../../io/copies.ts'
import { writePart } from '../../io/parts.ts'
import type { Part } from '../../manifest.ts'
import type { Storage } from '../../storage.ts'
import { destinationsOf } from '../fakes/destinations.ts'
import { type Fault, type FaultyStorage, faulty } from '../fakes/faulty.ts'
import { type MemoryStorage, memoryStorage } from '../fakes/memory.ts'

const signal = new AbortController().signal
const backup = { plan: 'nightly', id: '5', signal }
const content = randomBytes(5_000_000)

/** A part in three storages, the first two of which have faults; `plain` says how it is stored. */
async function setUp({ plain = true }: { plain?: boolean } = {}, ...faults: Fault[][]) {
  const memories = ['a', 'b', 'c'].map((name) => memoryStorage({ name }))
  const data = Readable.from([content], { objectMode: false })
  const to = destinationsOf(memories)
  const written = await writePart({ ...backup, path: 'shop.sql', data, plain, to, onBytes: () => {} })
  const storages = memories.map((memory, i) => faulty(memory, ...(faults[i] ?? [])))
  const copies = storages.map((storage): Copy => ({ storage, part: written.get(storage.name) as Part }))
  const warnings: string[] = []
  const shelf = openShelf({ ...backup, warn: (message) => warnings.push(message) })
  return { memories, storages, copies, shelf, warnings, read: async () => buffer(await shelf.read(copies)) }
}

/** Not the bytes: nobody wants to see them. */
const failureOf = (reading: Promise<Buffer>) =>
  reading.then(
    () => 'it was read',
    (error: unknown) => error,
  )

const gets = (storage: Storage) => (storage as FaultyStorage).calls.filter((call) => call.startsWith('get')).length

function flip(memory: MemoryStorage | undefined, at: number): void {
  for (const { bytes } of memory?.objects.values() ?? []) bytes[at] = (bytes[at] as number) ^ 1
}

describe.each([
  ['as it was written', true],
  ['compressed', false],
])('a part that is stored %s', (_, plain) => {
  test('is read from the first storage alone when it is sound there', async () => {
    const { storages, warnings, read } = await setUp({ plain })
    expect((await read()).equals(content)).toBe(true)
    expect([storages.map(gets), warnings]).toEqual([[1, 0, 0], []])
  })

  test('and missing is read from the next, with a warning', async () => {
    const { memories, storages, warnings, read } = await setUp({ plain })
    memories[0]?.objects.clear()
    expect((await read()).equals(content)).toBe(true)
    expect(storages.map(gets)).toEqual([1, 1, 0])
    expect(warnings).toEqual([expect.stringMatching(/^storage a has no shop\.sql.*; storage b has shop\.sql.* too/)])
  })

  test.each([0, 70_000, 3_333_333])('and breaks off after %d bytes is gone on with from the next', async (at) => {
    const { warnings, read } = await setUp({ plain }, [{ on: 'get', how: 'break', at }])
    expect((await read()).equals(content)).toBe(true)
    expect(warnings).toEqual([expect.stringContaining('get: broken on purpose; storage b has shop.sql')])
  })

  test('and breaks off in two storages is gone on with from the third', async () => {
    const { read } = await setUp(
      { plain },
      [{ on: 'get', how: 'break', at: 3_000_000 }],
      [{ on: 'get', how: 'break', at: 4_000_000 }],
    )
    expect((await read()).equals(content)).toBe(true)
  })

  test('is checked where it is sound, and read there afterwards', async () => {
    const { memories, copies, storages, shelf, warnings, read } = await setUp({ plain })
    flip(memories[0], 2_500_000)
    memories[1]?.objects.clear()
    expect(await shelf.check(copies)).toBe(content.length)
    expect([storages.map(gets), warnings.length]).toEqual([[1, 1, 1], 2])
    expect((await read()).equals(content)).toBe(true)
    expect(storages.map(gets)).toEqual([1, 1, 2])
  })

  test.each(['flip', 'cut'])('and a %s everywhere is found when it is checked', async (how) => {
    const { memories, copies, shelf } = await setUp({ plain })
    for (const memory of memories) {
      if (how === 'flip') flip(memory, 2_500_000)
      else for (const object of memory.objects.values()) object.bytes = object.bytes.subarray(0, -1)
    }
    await expect(shelf.check(copies)).rejects.toMatchObject({ kind: 'verification' })
  })

  test('and damaged everywhere is an error that does not help', async () => {
    const { memories, shelf, read } = await setUp({ plain })
    for (const memory of memories) flip(memory, 2_500_000)
    for (let i = 0; i < 3; i++) expect(await failureOf(read())).toMatchObject({ kind: 'verification' })
    shelf.helps()
    expect(await failureOf(read())).toMatchObject({ kind: 'verification' })
    expect(shelf.helps()).toBe(false)
  })
})

test('a part that is damaged is an error when all of it was given, and is sound when it is read again', async () => {
  const { memories, shelf, warnings, read } = await setUp()
  flip(memories[0], 2_500_000)
  expect(await failureOf(read())).toMatchObject({ kind: 'verification' })
  expect(shelf.helps()).toBe(true)
  expect(shelf.helps()).toBe(false)
  expect((await read()).equals(content)).toBe(true)
  expect(warnings).toHaveLength(1)
})

test('a compressed part that is damaged is gone on with from the next storage: its frames have sums of their own', async () => {
  const { memories, warnings, read } = await setUp({ plain: false })
  flip(memories[0], 2_500_000)
  expect((await read()).equals(content)).toBe(true)
  expect(warnings).toHaveLength(1)
})

test('a part that is damaged before it breaks off is an error, whatever the next storage has', async () => {
  // so far that streams cannot have kept all of it to themselves
  const { memories, read } = await setUp({ plain: true }, [{ on: 'get', how: 'break', at: content.length - 1 }])
  flip(memories[0], 10)
  expect(await failureOf(read())).toMatchObject({
    kind: 'verification',
    message: 'shop.sql was read from several storages, and is not what was stored',
  })
})

test('what is used whole is tried with one copy after the other', async () => {
  const { copies, shelf, warnings } = await setUp()
  const tried: string[] = []
  const used = await shelf.use(copies, async ({ storage }) => {
    tried.push(storage.name)
    if (storage.name !== 'c') throw new Error(`${storage.name} is no good`)
    return storage.name
  })
  expect([used, tried, warnings.length]).toEqual(['c', ['a', 'b', 'c'], 2])
})

test('nothing else is tried when the run was stopped', async () => {
  const stop = new AbortController()
  const { copies } = await setUp()
  const shelf = openShelf({ ...backup, signal: stop.signal, warn: () => {} })
  const tried: string[] = []
  const used = shelf.use(copies, async ({ storage }) => {
    tried.push(storage.name)
    stop.abort(new Error('stopped'))
    throw new Error('cut')
  })
  await expect(used).rejects.toThrow('stopped')
  expect(tried).toEqual(['a'])
})
