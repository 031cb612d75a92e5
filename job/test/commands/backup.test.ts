import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import { backup } from '../../commands/backup.ts'
import { copy } from '../../commands/copy.ts'
import type { Plan } from '../../config.ts'
import type { BackupFacts } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import type { Part } from '../../manifest.ts'
import { keysOf, memoryStore, putText, type Store, signal, textAt } from '../catalog/store.ts'
import { now } from './fake-job.ts'
import { folderWith, planJob, planOf } from './plan-job.ts'

const id = String(now.getTime() / 1000)
const files = { 'a.txt': 'first', 'deeper/b.bin': randomBytes(700_000), empty: '' }
const dead = new JobError('storage', 'storage is dead')

async function setUp(plan: Partial<Plan> = {}) {
  const stores = ['main', 'offsite', 'third'].map((name) => memoryStore({ name })) as [Store, Store, Store]
  const storages = plan.storages ? stores.filter(({ name }) => plan.storages?.includes(name)) : stores.slice(0, 2)
  const backups = planOf(await folderWith(files), plan)
  const job = () => planJob({ storages, backups })
  return { stores, storages, job, run: () => backup(job(), { plan: 'nightly' }) }
}

/** The backup is there, and all of it is as its manifest says. */
async function isGood(storage: Store, backupId = id): Promise<void> {
  const catalog = openCatalog({ storage, plan: 'nightly' })
  const manifest = await catalog.manifest(backupId)
  const { problems, parts } = await catalog.verify(manifest, { level: 'content', signal })
  expect({ problems, parts }).toEqual({ problems: [], parts: 2 })
}

const has = (store: Store, backupId = id) => store.objects.has(`nightly/${backupId}.json`)

test('a backup is read once, and is in every storage, each with a manifest of its own', async () => {
  const { stores, run } = await setUp()
  const { data, failure } = await run()
  expect(failure).toBeUndefined()
  expect(data).toMatchObject({ backup: id, storages: ['main', 'offsite'], parts: 2 })
  expect(data).not.toHaveProperty('without')
  for (const store of stores.slice(0, 2)) await isGood(store)
  expect(stores[0].objects).toEqual(stores[1].objects)
})

test('the figures of a backup are its size, and what each storage that has it keeps', async () => {
  const { stores, job } = await setUp()
  const run = job()
  await backup(run, { plan: 'nightly' })
  const { parts } = await openCatalog({ storage: stores[0], plan: 'nightly' }).manifest(id)
  const stored = parts.reduce((sum, { size }) => sum + size, 0)
  expect(run.figures.backup).toEqual({
    bytes: parts.reduce((sum, { plain }) => sum + (plain?.size ?? 0), 0),
    stored: ['main', 'offsite'].map((storage) => ({ storage, bytes: stored })),
  })
  expect(run.figures.backup?.bytes).toBeGreaterThan(stored)
  expect(run.figures.retention).toMatchObject({ failed: false })
})

test('a backup that was not stored has no figures', async () => {
  const { stores, job } = await setUp({ storages: ['main'] })
  stores[0].before = (call) => {
    if (call.startsWith('put') && call.endsWith('.zst')) throw dead
  }
  const run = job()
  await expect(backup(run, { plan: 'nightly' })).rejects.toThrow()
  expect(run.figures).toEqual({})
})

describe('a storage that dies in the middle of a run', () => {
  /** Whatever is asked of it from that call on, it fails. */
  function dieAt(store: Store, call: number): void {
    let calls = 0
    store.before = () => {
      calls += 1
      if (calls >= call) throw dead
    }
  }

  const calls = Array.from({ length: 16 }, (_, i) => i + 1)
  test.each([...calls.map((call) => ['main', call] as const), ...calls.map((call) => ['offsite', call] as const)])(
    'leaves the others a good backup: %s at its call %d',
    async (name, call) => {
      const { stores, storages, job, run } = await setUp({ require: 'any' })
      const dying = stores.find((store) => store.name === name) as Store
      const other = storages.find((store) => store !== dying) as Store
      dieAt(dying, call)
      const { data, failure } = await run()
      await isGood(other)
      expect(failure).toBeUndefined()
      dying.before = () => {}
      if (!has(dying))
        expect(data).toMatchObject({ storages: [other.name], without: { [name]: expect.stringContaining('dead') } })

      const copied = await copy(job(), { name: 'nightly' })
      expect(copied.failure).toBeUndefined()
      await isGood(dying)
      if ((copied.data as { copies: unknown[] }).copies.length > 0)
        expect(await textAt(dying, `nightly/${id}.json`)).toBe(await textAt(other, `nightly/${id}.json`))
      expect((await keysOf(dying)).filter((key) => key.endsWith('failed.json'))).toEqual([])
    },
  )

  test.each([
    ['all', false],
    [2, false],
    [1, true],
    ['any', true],
  ] as const)('with require: %s that is enough: %s', async (require, enough) => {
    const { stores, run } = await setUp({ require })
    stores[1].before = (call) => {
      if (call.startsWith('put') && call.endsWith('.zst')) throw dead
    }
    const { data, failure } = await run()
    expect(data).toMatchObject({ storages: ['main'], without: { offsite: 'storage is dead' } })
    await isGood(stores[0])
    if (enough) return expect(failure).toBeUndefined()
    expect(failure).toMatchObject({
      kind: 'storage',
      message: `backup ${id} is stored on main, but not on offsite (storage is dead)`,
      hint: `when the storage can be written again: holdfast copy nightly ${id}`,
    })
  })

  test('says why in its own folder, when it can, and beside the backup in the others', async () => {
    const { stores, run } = await setUp({ require: 'any' })
    stores[1].before = (call) => {
      if (call.endsWith('tree.tar.zst')) throw dead
    }
    await run()
    expect(JSON.parse(await textAt(stores[1], `nightly/${id}/failed.json`))).toMatchObject({
      reason: 'storage is dead',
      kind: 'storage',
    })
    expect(JSON.parse(await textAt(stores[0], `nightly/${id}/missed.json`))).toMatchObject({
      without: { offsite: 'storage is dead' },
    })
  })

  test('fails the run when it is the last', async () => {
    const { stores, run } = await setUp({ require: 'any' })
    for (const store of stores.slice(0, 2)) dieAt(store, 6)
    await expect(run()).rejects.toThrow('storage is dead')
    for (const store of stores) expect(has(store)).toBe(false)
  })

  test('leaves a good backup on two of three', async () => {
    const { stores, run } = await setUp({ storages: ['main', 'offsite', 'third'], require: 2 })
    dieAt(stores[1], 5)
    const { data, failure } = await run()
    expect(failure).toBeUndefined()
    expect(data).toMatchObject({ storages: ['main', 'third'] })
    await isGood(stores[0])
    await isGood(stores[2])
  })
})

test.each(['main', 'offsite'])('a storage that fails once it has the backup does not lose it: %s', async (name) => {
  const { stores, job } = await setUp({ require: 'any' })
  const dying = stores.find((store) => store.name === name) as Store
  dying.before = (call) => {
    if (call === 'list nightly/' && has(dying)) throw dead
  }
  const run = job()
  const { data, failure } = await backup(run, { plan: 'nightly' })
  expect(failure).toBeUndefined()
  expect(data).toMatchObject({ storages: ['main', 'offsite'] })
  expect(run.warnings).toEqual([
    "local copies in the database's folders stay: storage is dead",
    `storage ${name} was not pruned: storage is dead`,
  ])
  for (const { objects } of stores.slice(0, 2))
    expect([...objects.keys()].filter((key) => /failed|missed/.test(key))).toEqual([])
})

describe('a storage that cannot be reached at the start', () => {
  test('is left out when the others are enough', async () => {
    const { stores, run } = await setUp({ require: 'any' })
    stores[0].before = () => {
      throw dead
    }
    const { data } = await run()
    expect(data).toMatchObject({ storages: ['offsite'], without: { main: 'storage is dead' } })
    await isGood(stores[1])
  })

  test('ends the run before anything is read when they are not', async () => {
    const { stores, run } = await setUp()
    stores[0].before = () => {
      throw dead
    }
    await expect(run()).rejects.toThrow('storage is dead')
    expect((await keysOf(stores[1])).filter((key) => key.includes('docs'))).toEqual([])
  })
})

test('no manifest says that a storage encrypts what was stored there before', async () => {
  const { stores, run } = await setUp()
  const stored = () => [...stores[0].objects.keys()].some((key) => key.endsWith('tree.tar.zst'))
  const encryption = {
    recipients: ['age15qkw4vchk87slqc30jaxt4fuqe9g829dwahgw9tnyqy58tpej4nst8rcfx'],
    at: 'here',
    identities: () => [],
  }
  Object.defineProperty(stores[0], 'encryption', { get: () => (stored() ? encryption : undefined) })
  await run().catch(() => {})
  expect(has(stores[0])).toBe(false)
  expect(JSON.parse(await textAt(stores[0], `nightly/${id}/failed.json`))).toMatchObject({
    kind: 'configuration',
    reason: expect.stringMatching(/^storages.main.encryption: .* was stored before encryption was set$/),
  })
})

test('a list of parts that somebody changed is not believed', async () => {
  const { stores, run } = await setUp({ require: 'any' })
  stores[0].after = (call) => {
    if (!/^put .*parts\.json$/.test(call)) return
    const key = call.slice('put '.length)
    const list = JSON.parse(stores[0].objects.get(key)?.toString() ?? '') as Part[]
    for (const part of list) part.sha256 = 'a'.repeat(64)
    stores[0].objects.set(key, Buffer.from(JSON.stringify(list)))
  }
  const { data } = await run()
  const why = expect.stringMatching(/^storage main: .*parts\.json is not what the worker wrote there$/)
  expect(data).toMatchObject({ storages: ['offsite'], without: { main: why } })
  expect(has(stores[0])).toBe(false)
})

test('an id that a further storage has already is passed over, and said to have come to nothing', async () => {
  const { stores, run } = await setUp()
  await putText(stores[1], `nightly/${id}/started.json`, '{}')
  const next = String(Number(id) + 1)
  expect((await run()).data).toMatchObject({ backup: next })
  for (const store of stores.slice(0, 2)) await isGood(store, next)
  expect(JSON.parse(await textAt(stores[0], `nightly/${id}/failed.json`))).toMatchObject({
    kind: 'busy',
    reason: 'storage offsite has this id already',
  })
})

describe('a run that was killed', () => {
  const resume = (run: ReturnType<typeof planJob>) => backup(run, { plan: 'nightly', resume: 'latest' })

  async function killed(facts?: BackupFacts) {
    const { stores, job } = await setUp({ storages: ['main'] })
    const catalog = openCatalog({ storage: stores[0], plan: 'nightly' })
    const started = { run: 'r', plan: 'nightly', started: now.toISOString(), sources: ['docs'] }
    await catalog.claim({ id, started, signal })
    if (facts) await catalog.keepFacts({ id, source: 'docs', facts, signal })
    return job()
  }

  test('and has kept nothing is not to be taken up: the hint names a new backup', async () => {
    await expect(resume(await killed())).rejects.toMatchObject({
      kind: 'busy',
      hint: 'if it is dead, nothing of it can be taken up: holdfast backup nightly takes a new backup',
    })
  })

  test('and has kept its facts can be taken up by its id', async () => {
    const facts = { server: { product: 'a folder', version: '1' }, tools: {}, facts: {} }
    await expect(resume(await killed(facts))).rejects.toMatchObject({
      kind: 'busy',
      hint: `if it is dead: holdfast backup nightly --resume ${id}`,
    })
  })
})
