import { describe, expect, test } from 'vitest'
import { sampleOf } from '../../catalog/sample.ts'
import { type Verdict, verify } from '../../commands/verify.ts'
import type { RondbFacts } from '../../engines/rondb/facts.ts'
import { exitCodeOf, JobError } from '../../errors.ts'
import { formatManifest } from '../../manifest.ts'
import { manifestOf, memoryStore, putBackup, putText, type Store } from '../catalog/store.ts'
import { fakeJob } from './fake-job.ts'

const first = '1795218000'
const second = '1795218060'
const key = 'MCowBQYDK2VwAyEAdnTsAmeGGB0l27CdyefwDrVvRB/7nbOQPJyxkcBosgI='
const parts = { 'users.sql': 'create user a', 'databases.sql': 'create database b' }

async function stored(name = 'main'): Promise<Store> {
  const store = memoryStore({ name })
  await putBackup(store, first, parts)
  await putBackup(store, second, parts)
  return store
}

const spoil = (store: Store, id: string) => putText(store, `nightly/${id}/users.sql`, 'create user b')

test('an intact backup passes in every storage', async () => {
  const job = fakeJob({ storages: [await stored(), await stored('offsite')], backups: { nightly: {} } })
  const { data, table, failure } = await verify(job, { plan: 'nightly' })
  expect(failure).toBeUndefined()
  expect(data).toMatchObject([
    { storage: 'main', id: second, level: 'content', parts: 2, bytes: 30, problems: [] },
    { storage: 'offsite', id: second, problems: [] },
  ])
  expect(table.rows.map((row) => row.at(-1))).toEqual(['ok (content)', 'ok (content)'])
})

test('changed bytes fail the run with exit code 24, naming backup, storage and part', async () => {
  const offsite = await stored('offsite')
  await spoil(offsite, second)
  const job = fakeJob({ storages: [await stored(), offsite], backups: { nightly: {} } })
  const { data, failure } = await verify(job, { plan: 'nightly' })
  expect(exitCodeOf(failure)).toBe(24)
  expect(failure).toMatchObject({
    message: expect.stringMatching(/^1795218060 in offsite: users\.sql has sha256 /),
    hint: expect.stringContaining('another storage'),
  })
  expect((data as Verdict[]).map(({ problems }) => problems.length)).toEqual([0, 1])
})

test.each([
  ['is cut', '{', undefined, `nightly/${second}.json is not JSON`],
  ['nobody signed', undefined, [key], `nightly/${second}.json is not signed, and backups.nightly.trust names keys`],
])('a manifest that %s is named once', async (_, text, trust, says) => {
  const main = await stored()
  if (text) await putText(main, `nightly/${second}.json`, text)
  const { failure } = await verify(fakeJob({ storages: [main], backups: { nightly: { trust } } }), {
    plan: 'nightly',
    all: true,
  })
  expect(exitCodeOf(failure)).toBe(24)
  expect(failure).toMatchObject({ message: expect.stringMatching(`(^|; )${second} in main: ${says}`) })
})

test('present does not read the parts', async () => {
  const main = await stored()
  await spoil(main, second)
  const job = fakeJob({ storages: [main], backups: { nightly: {} } })
  expect((await verify(job, { plan: 'nightly', level: 'present' })).failure).toBeUndefined()
})

describe('a sample', () => {
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`part-${i}`, 'x'.repeat(10)]))

  async function sampled(change: (store: Store, path: string) => Promise<unknown>, spoiled: 'inside' | 'outside') {
    const main = memoryStore()
    const manifest = await putBackup(main, first, many)
    const inside = new Set(sampleOf(manifest, { fraction: 0.1, seed: 7 }).map(({ path }) => path))
    const path = Object.keys(many).find((one) => inside.has(one) === (spoiled === 'inside')) as string
    await change(main, `nightly/${first}/${path}`)
    main.calls.length = 0
    const job = fakeJob({ storages: [main], backups: { nightly: {} } })
    const result = await verify(job, { plan: 'nightly', sample: 0.1, seed: 7 })
    return { ...result, gets: main.calls.filter((call) => call.startsWith(`get nightly/${first}/`)).length }
  }

  test('reads only its parts, and says how many and how to read them again', async () => {
    const { failure, gets, table, notes, data } = await sampled(
      (store, key) => putText(store, key, 'y'.repeat(10)),
      'outside',
    )
    expect(failure).toBeUndefined()
    expect(gets).toBe(4)
    expect(table.rows[0]?.at(-1)).toBe('ok (content of a sample of 10%)')
    expect(notes).toEqual([
      `nightly ${first} in main: 4 of 40 parts were read, 40 B of 400 B; the same ones again: --sample 10% --seed 7`,
    ])
    expect(data).toMatchObject([{ sample: { fraction: 0.1, seed: 7 }, parts: 40, read: { parts: 4, bytes: 40 } }])
  })

  test('finds changed bytes in its parts', async () => {
    const { failure } = await sampled((store, key) => putText(store, key, 'y'.repeat(10)), 'inside')
    expect(failure).toMatchObject({ kind: 'verification', message: expect.stringContaining('has sha256') })
  })

  test.each([
    ['missing', (store: Store, key: string) => store.delete([key]), 'is missing'],
    ['cut', (store: Store, key: string) => putText(store, key, 'x'), 'has 1 bytes instead of 10'],
  ])('a part beside it that is %s is found all the same', async (_, change, says) => {
    const { failure } = await sampled(change, 'outside')
    expect(failure).toMatchObject({ kind: 'verification', message: expect.stringContaining(says) })
  })

  test('without a seed says the one it took', async () => {
    const job = fakeJob({ storages: [await stored()], backups: { nightly: {} } })
    const { data } = await verify(job, { plan: 'nightly', sample: 0.5 })
    expect((data as Verdict[])[0]?.sample?.seed).toEqual(expect.any(Number))
  })

  test('is refused with another level than content', async () => {
    const job = fakeJob({ storages: [await stored()], backups: { nightly: {} } })
    await expect(verify(job, { plan: 'nightly', sample: 0.5, level: 'present' })).rejects.toMatchObject({
      kind: 'configuration',
    })
  })
})

test('all looks at every backup, a pick at one', async () => {
  const main = await stored()
  await spoil(main, first)
  const job = fakeJob({ storages: [main], backups: { nightly: {} } })
  expect((await verify(job, { plan: 'nightly' })).failure).toBeUndefined()
  for (const options of [{ all: true }, { pick: first }, { pick: '2026-11-20T23:40:30Z' }]) {
    expect((await verify(job, { plan: 'nightly', ...options })).failure).toMatchObject({ kind: 'verification' })
  }
})

test('a damaged manifest is a finding among others', async () => {
  const main = await stored()
  await putText(main, `nightly/${first}.json`, '{}')
  const job = fakeJob({ storages: [main], backups: { nightly: {} } })
  const { data, failure } = await verify(job, { plan: 'nightly', all: true })
  expect(failure).toMatchObject({ kind: 'verification', message: expect.stringContaining(`nightly/${first}.json`) })
  expect((data as Verdict[]).map(({ id, problems }) => [id, problems.length])).toEqual([
    [first, 1],
    [second, 0],
  ])
})

test('20 problems are told and the others counted', async () => {
  const main = memoryStore()
  const many = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`part-${i}`, 'x']))
  await putBackup(main, first, many)
  for (const path of Object.keys(many)) await putText(main, `nightly/${first}/${path}`, 'y')
  const { data, failure } = await verify(fakeJob({ storages: [main], backups: { nightly: {} } }), { plan: 'nightly' })
  const { message } = failure as JobError
  expect(message.match(/part-\d+ has sha256/g)).toHaveLength(20)
  expect(message).toMatch(/; and 30 more$/)
  expect((data as Verdict[])[0]?.problems).toHaveLength(50)
})

test('objects that the manifest does not know are noted', async () => {
  const main = await stored()
  await putText(main, `nightly/${second}/stranger`, 'x')
  const { notes, failure } = await verify(fakeJob({ storages: [main], backups: { nightly: {} } }), { plan: 'nightly' })
  expect(failure).toBeUndefined()
  expect(notes).toEqual([`nightly ${second} in main: 1 objects are not in the manifest, the first is stranger`])
})

describe('storages in trouble', () => {
  const refuse = (store: Store, match: string) => {
    store.before = (call) => {
      if (call.startsWith(match)) throw new JobError('storage', 'connection refused')
    }
  }

  test('a storage that cannot be asked is exit code 23, after the verdicts on the others', async () => {
    const offsite = await stored('offsite')
    refuse(offsite, 'list')
    const { data, failure } = await verify(fakeJob({ storages: [offsite, await stored()], backups: { nightly: {} } }), {
      plan: 'nightly',
    })
    expect(exitCodeOf(failure)).toBe(23)
    expect(data).toHaveLength(1)
  })

  test('parts that only cannot be read are a storage error and no damage', async () => {
    const main = await stored()
    refuse(main, `get nightly/${second}/`)
    const { failure } = await verify(fakeJob({ storages: [main], backups: { nightly: {} } }), { plan: 'nightly' })
    expect(failure).toMatchObject({ kind: 'storage', message: expect.stringContaining('cannot be read') })
  })

  test('damage in one and silence of another are told together', async () => {
    const [main, offsite] = [await stored(), await stored('offsite')]
    await spoil(main, second)
    refuse(offsite, 'list')
    const { failure } = await verify(fakeJob({ storages: [main, offsite], backups: { nightly: {} } }), {
      plan: 'nightly',
    })
    expect(failure).toMatchObject({
      kind: 'verification',
      message: expect.stringContaining('; storage offsite: connection refused'),
    })
  })

  test('a storage without the backup is no success', async () => {
    const storages = [await stored(), memoryStore({ name: 'offsite' })]
    const { data, failure } = await verify(fakeJob({ storages, backups: { nightly: {} } }), { plan: 'nightly' })
    expect(data).toHaveLength(1)
    expect(failure).toMatchObject({ kind: 'nothing-matches' })
  })

  test('a plan without any backup is no success, with --all either', async () => {
    const job = fakeJob({ storages: [memoryStore()], backups: { nightly: {} } })
    expect((await verify(job, { plan: 'nightly' })).failure).toMatchObject({ kind: 'nothing-matches' })
    expect((await verify(job, { plan: 'nightly', all: true })).failure).toMatchObject({ kind: 'nothing-matches' })
  })
})

describe('readable', () => {
  const facts: RondbFacts = {
    consistency: { snapshot: 'end', startGcp: 24, stopGcp: 27, epoch: '115964116992' },
    topology: { nodes: [{ id: 1, group: 0, parts: 1 }] },
    records: 0,
    logRecords: 0,
    bytes: 1,
    systemRecords: null,
    encrypted: false,
    databases: [],
    tables: [],
    localTables: { names: [], dumped: false },
  }

  async function withNode(more: Parameters<typeof manifestOf>[1] = {}): Promise<Store> {
    const store = memoryStore()
    const manifest = await putBackup(store, first, {
      'users.sql': 'x',
      'databases.sql': '-- Dump completed',
      'rondb/1/BACKUP-1.1.ctl': 'y',
    })
    const sources = manifest.sources.map((source) => ({ ...source, facts }))
    await store.put(`nightly/${first}.json`, formatManifest({ ...manifest, sources, ...more }), {})
    return store
  }

  test('what the engine cannot read is a problem of its source', async () => {
    const answer = () => {
      throw new JobError('verification', 'BACKUP-1.1.ctl is no backup file')
    }
    const job = fakeJob({ storages: [await withNode()], backups: { nightly: {} }, answer })
    const { failure } = await verify(job, { plan: 'nightly', level: 'readable' })
    expect(failure).toMatchObject({
      kind: 'verification',
      message: `${first} in main: source rondb cannot be read: BACKUP-1.1.ctl is no backup file`,
    })
  })

  test('a tool that is missing is no damage', async () => {
    const answer = () => {
      throw new JobError('configuration', 'there is no ndb_print_backup_file')
    }
    const job = fakeJob({ storages: [await withNode()], backups: { nightly: {} }, answer })
    expect((await verify(job, { plan: 'nightly', level: 'readable' })).failure).toMatchObject({ kind: 'configuration' })
  })

  test('the engine is not asked about parts whose bytes are wrong', async () => {
    const main = await withNode()
    await putText(main, `nightly/${first}/users.sql`, 'z')
    const orders: unknown[] = []
    const job = fakeJob({ storages: [main], backups: { nightly: {} }, answer: (order) => orders.push(order) })
    expect((await verify(job, { plan: 'nightly', level: 'readable' })).failure).toMatchObject({ kind: 'verification' })
    expect(orders).toEqual([])
  })

  test('an engine that this version does not know is named', async () => {
    const [source] = manifestOf(first).sources
    const main = await withNode({ sources: source ? [{ ...source, engine: 'toy' }] : [] })
    const job = fakeJob({ storages: [main], backups: { nightly: {} } })
    expect((await verify(job, { plan: 'nightly', level: 'readable' })).failure).toMatchObject({
      kind: 'configuration',
      message: 'there is no engine toy in this version',
    })
  })
})
