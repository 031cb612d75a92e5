import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { carryOut, type Task } from '../../commands/steps.ts'
import type { Engine, RestoreStep, TargetRun } from '../../engine.ts'
import { writePart } from '../../io/parts.ts'
import { ownParts } from '../../io/reader.ts'
import type { Manifest, Part } from '../../manifest.ts'
import { destinationsOf } from '../fakes/destinations.ts'
import { memoryStorage } from '../fakes/memory.ts'
import { fakeJob } from './fake-job.ts'

let dir: string

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'hf-steps-'))
})
afterEach(() => rm(dir, { recursive: true }))

const steps: RestoreStep[] = [
  { name: 'fetch', says: 'downloads', writes: false },
  { name: 'clear', says: 'drops', writes: true },
  { name: 'data', says: 'writes', writes: true },
]

/** Carries three steps out in a folder; resolves to what the engine was told, in order. */
async function carried({ staging, fails }: { staging?: string; fails?: string } = {}): Promise<string[]> {
  const told: string[] = []
  const engine = {
    findMarker: async () => undefined,
    mark: async (_, { state }) => void told.push(state),
    restore: async (_, { name }) => {
      told.push(name)
      if (name === fails) throw new Error('no')
      return {}
    },
  } as Partial<Engine> as Engine
  const run = {
    target: { staging },
    parts: [],
    request: 'hash',
    backupId: '7',
    plan: 'nightly',
  } as unknown as TargetRun
  const task = { name: 'db', engine, run, steps } as unknown as Task
  const storage = memoryStorage()
  const fake = fakeJob({ storages: [storage], backups: {} })
  const job = { ...fake, config: { ...fake.config, tmpDir: dir } }
  const manifest = { plan: 'nightly', id: '7', parts: [], sources: [{ name: 'db' }] } as unknown as Manifest
  await carryOut({ job, task, held: [{ manifest, storage }] }).catch(() => {})
  return told
}

test('the marker is written before the first step that writes, once', async () =>
  expect(await carried()).toEqual(['fetch', 'begun', 'clear', 'data']))

test('nothing is marked when a step that only reads fails', async () =>
  expect(await carried({ fails: 'fetch' })).toEqual(['fetch']))

describe('the folder for downloads', () => {
  const exists = (folder: string) =>
    access(folder).then(
      () => true,
      () => false,
    )

  test('is made below the folder for temporary files', async () => {
    const staging = join(dir, 'restore/of/nightly')
    await carried({ staging })
    expect(await exists(staging)).toBe(true)
  })

  test('is not made elsewhere: it may be a volume that is not mounted', async () => {
    const staging = `${dir}-elsewhere`
    await carried({ staging })
    expect(await exists(staging)).toBe(false)
  })
})

test('how far a step has come is told in bytes of what the parts were made of, however they are stored', async () => {
  const storage = memoryStorage()
  const { signal } = new AbortController()
  const parts: Part[] = []
  for (const [path, size, plain] of [
    ['users.sql', 1000, true],
    ['rows.sql', 9_000_000, false],
  ] as const) {
    const data = Readable.from([Buffer.alloc(size, 'row;')], { objectMode: false })
    const to = destinationsOf([storage])
    const written = await writePart({
      plan: 'nightly',
      id: '7',
      path: `db/${path}`,
      data,
      plain,
      to,
      signal,
      onBytes: () => {},
    })
    parts.push(...written.values())
  }
  const said: unknown[] = []
  const read = new Map<string, number>()
  const progress = {
    begin: (phase: string, total?: number) => {
      said.push([phase, total])
      read.clear()
    },
    add: (path: string, bytes: number) => void read.set(path, (read.get(path) ?? 0) + bytes),
    end: () => {
      said.push(Object.fromEntries(read))
      return [...read.values()].reduce((sum, bytes) => sum + bytes, 0)
    },
  }
  const engine = {
    findMarker: async () => undefined,
    mark: async () => {},
    restore: async (_, { name }, reader) => {
      if (name === 'verify') await reader.check('rows.sql')
      if (name === 'data') for (const path of ['rows.sql', 'users.sql']) await buffer(await reader.read(path))
      return {}
    },
  } as Partial<Engine> as Engine
  const run = { target: {}, request: 'hash', backupId: '7', plan: 'nightly' }
  const manifest = { plan: 'nightly', id: '7', parts, sources: [{ name: 'db' }] } as unknown as Manifest
  const task = {
    name: 'db',
    engine,
    run: { ...run, parts: ownParts(manifest, 'db') },
    steps: [
      { name: 'verify', writes: false, reads: ['rows.sql'] },
      { name: 'clear', writes: true },
      { name: 'data', writes: true, reads: ['users.sql', 'rows.sql'] },
    ],
  } as unknown as Task
  const job = { ...fakeJob({ storages: [storage], backups: {} }), progress }
  const figures = await carryOut({ job, task, held: [{ manifest, storage }] })
  const seconds = 0
  expect(figures).toEqual({
    verify: { bytes: 9_000_000, seconds },
    clear: { seconds },
    data: { bytes: 9_001_000, seconds },
  })
  expect(parts[1]?.size).toBeLessThan(100_000)
  expect(said).toEqual([
    ['db: verify', 9_000_000],
    { 'rows.sql': 9_000_000 },
    ['db: clear', undefined],
    {},
    ['db: data', 9_001_000],
    { 'rows.sql': 9_000_000, 'users.sql': 1000 },
  ])
})
