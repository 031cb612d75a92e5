import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { carryOut, type Task } from '../../commands/steps.ts'
import type { Engine, RestoreStep, TargetRun } from '../../engine.ts'
import type { Manifest } from '../../manifest.ts'
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
