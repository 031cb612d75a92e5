import { describe, expect, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import { backup } from '../../commands/backup.ts'
import { holding } from '../../commands/hold.ts'
import { prune } from '../../commands/prune.ts'
import { restore } from '../../commands/restore.ts'
import { verify } from '../../commands/verify.ts'
import type { Plan } from '../../config.ts'
import type { KubernetesObjects } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { keysOf, memoryStore, putBackup, type Store } from '../catalog/store.ts'
import { configMap, configMaps, namespaceOf } from '../fakes/namespace.ts'
import { fakeJob, now } from './fake-job.ts'

const daily = (age: number) => String(now.getTime() / 1000 - age * 86_400)
const backups = { nightly: { retention: { last: 1 } } }

async function stored(): Promise<Store> {
  const store = memoryStore()
  for (const day of [1, 2, 3]) await putBackup(store, daily(day), { 'users.sql': 'x' })
  return store
}

const holdsIn = async (store: Store) => (await keysOf(store)).filter((key) => key.includes('.hold-'))

function held(store: Store, signal?: AbortSignal) {
  const job = fakeJob({ storages: [store], backups, ...(signal ? { signal } : {}) })
  const catalogs = [openCatalog({ storage: store, plan: 'nightly' })]
  return { job, holding: { job, catalogs, id: daily(3), by: 'restore standby', seconds: 3600 } }
}

test('a prune leaves what is being read, and takes it when the reader is done', async () => {
  const store = await stored()
  const { job, holding: options } = held(store)
  await holding(options, async () => {
    const { data } = await prune(job, { plan: 'nightly' })
    expect(data).toMatchObject([
      { action: 'keep' },
      { action: 'remove' },
      { id: daily(3), action: 'keep', reason: 'held by restore standby until 2026-11-21T01:00:00.000Z' },
    ])
    expect(store.objects.has(`nightly/${daily(3)}/users.sql`)).toBe(true)
  })
  expect(await holdsIn(store)).toEqual([])
  await prune(job, { plan: 'nightly' })
  expect(await keysOf(store, `nightly/${daily(3)}`)).toEqual([])
})

test('a hold is taken back after a failure too, and the failure stays what it was', async () => {
  const store = await stored()
  const failure = new JobError('server', 'the database went away')
  await expect(holding(held(store).holding, () => Promise.reject(failure))).rejects.toBe(failure)
  expect(await holdsIn(store)).toEqual([])
})

test('one of a run that was killed counts until it expires, and then a prune takes it away', async () => {
  const store = await stored()
  const { guards } = openCatalog({ storage: store, plan: 'nightly' })
  const hold = { run: 'restore-1', by: 'restore standby', since: now.toISOString(), expires: '2026-11-21T06:00:00Z' }
  for (const day of [1, 3]) await guards.hold(daily(day), hold)
  const at = (time: string) => fakeJob({ storages: [store], backups, now: new Date(time) })
  await prune(at('2026-11-21T05:59:59Z'), { plan: 'nightly' })
  expect(await holdsIn(store)).toHaveLength(2)
  await prune(at('2026-11-21T06:00:00Z'), { plan: 'nightly' })
  expect(await holdsIn(store)).toEqual([])
  expect(await keysOf(store, `nightly/${daily(3)}`)).toEqual([])
})

test('a reader that comes after the plan was made is seen before the backup is removed', async () => {
  const store = await stored()
  const { guards } = openCatalog({ storage: store, plan: 'nightly' })
  const hold = { run: 'verify-1', by: 'verify', since: now.toISOString(), expires: '2026-11-21T06:00:00Z' }
  store.before = async (call) => {
    if (call !== `list nightly/${daily(3)}.`) return
    store.before = () => {}
    await guards.hold(daily(3), hold)
  }
  const { data, notes } = await prune(fakeJob({ storages: [store], backups }), { plan: 'nightly' })
  expect(data).toMatchObject([
    {},
    { action: 'remove' },
    { action: 'keep', reason: 'pinned or held since a moment ago' },
  ])
  expect(notes).toEqual(['1 removed, 2 left'])
  expect(store.objects.has(`nightly/${daily(3)}.json`)).toBe(true)
})

describe('a storage that takes no holds', () => {
  test('is a warning, and the work is done', async () => {
    const store = await stored()
    store.before = (call) => {
      if (call.startsWith('put')) throw new JobError('storage', 'access denied')
    }
    const { job, holding: options } = held(store)
    expect(await holding(options, async () => 'restored')).toBe('restored')
    expect(job.warnings).toEqual([
      'storage main takes no hold, so a prune of nightly may remove the backup meanwhile: access denied',
    ])
    expect(store.calls.filter((call) => call.startsWith('delete'))).toEqual([])
  })

  test('and one that keeps them, too', async () => {
    const store = await stored()
    store.before = (call) => {
      if (call.startsWith('delete')) throw new JobError('storage', 'access denied')
    }
    const { job, holding: options } = held(store)
    expect(await holding(options, async () => 'restored')).toBe('restored')
    expect(job.warnings).toEqual([
      `storage main keeps the hold on backup ${daily(3)} until 2026-11-21T01:00:00.000Z: access denied`,
    ])
  })
})

test('nothing is begun with a backup that was removed before it was held', async () => {
  const store = await stored()
  store.objects.delete(`nightly/${daily(3)}.json`)
  const begun = holding(held(store).holding, async () => expect.unreachable())
  await expect(begun).rejects.toMatchObject({ kind: 'nothing-matches' })
  expect(await holdsIn(store)).toEqual([])
})

test('nothing is begun by a run that is ended', async () => {
  const store = await stored()
  const ended = new JobError('terminated', 'ended by SIGTERM')
  const run = new AbortController()
  store.before = () => run.abort(ended)
  const begun = holding(held(store, run.signal).holding, async () => expect.unreachable())
  await expect(begun).rejects.toBe(ended)
})

describe('verify', () => {
  test.each(['content', 'readable'] as const)('holds what it reads at level %s', async (level) => {
    const store = memoryStore()
    await putBackup(store, daily(1), { 'users.sql': 'x' })
    const seen: string[][] = []
    store.before = async (call) => {
      if (call === `get nightly/${daily(1)}/users.sql`)
        seen.push([...store.objects.keys()].filter((key) => key.includes('.hold-')))
    }
    await verify(fakeJob({ storages: [store], backups }), { plan: 'nightly', level }).catch(() => undefined)
    expect(seen[0]?.[0]).toMatch(new RegExp(`^nightly/${daily(1)}\\.hold-verify-[0-9a-f]{8}\\.json$`))
    expect(await holdsIn(store)).toEqual([])
  })

  test('only lists at level present', async () => {
    const store = await stored()
    await verify(fakeJob({ storages: [store], backups }), { plan: 'nightly', level: 'present' })
    expect(store.calls.filter((call) => call.startsWith('put') && call.includes('hold'))).toEqual([])
  })

  test.each(['present', 'content'] as const)(
    'does not call a backup damaged at level %s that a prune removed meanwhile',
    async (level) => {
      const store = await stored()
      store.after = async (call) => {
        if (call !== `get nightly/${daily(3)}.json`) return
        store.after = () => {}
        for (const key of await keysOf(store, `nightly/${daily(3)}`)) store.objects.delete(key)
      }
      const { data, failure } = await verify(fakeJob({ storages: [store], backups }), {
        plan: 'nightly',
        all: true,
        level,
      })
      expect(data).toMatchObject([{ id: daily(2) }, { id: daily(1) }])
      expect(failure).toBeUndefined()
    },
  )
})

test('a restore holds its backup while it writes', async () => {
  const store = memoryStore()
  const sources = [configMaps] as unknown as Plan['sources']
  const plan = { sources, storages: ['main'], deadline: '6h' }
  const job = fakeJob({ storages: [store], backups: { nightly: plan } })
  await backup({ ...job, objects: async () => namespaceOf([configMap('x')]) }, { plan: 'nightly' })
  const empty = namespaceOf([])
  const seen: unknown[] = []
  const watched: KubernetesObjects = {
    ...empty,
    create: async (resource, object, signal) => {
      for (const key of await holdsIn(store)) seen.push([key, JSON.parse(store.objects.get(key)?.toString() ?? '')])
      return empty.create(resource, object, signal)
    },
  }
  await restore({ ...job, objects: async () => watched }, { backup: 'nightly', dryRun: true })
  expect(store.calls.filter((call) => call.includes('.hold-'))).toEqual([])
  await restore({ ...job, objects: async () => watched }, { backup: 'nightly' })
  const id = String(now.getTime() / 1000)
  expect(seen[0]).toMatchObject([
    expect.stringMatching(new RegExp(`^nightly/${id}\\.hold-restore-[0-9a-f]{8}\\.json$`)),
    { by: 'restore nightly', since: now.toISOString(), expires: '2026-11-21T06:00:00.000Z' },
  ])
  expect(await holdsIn(store)).toEqual([])
})
