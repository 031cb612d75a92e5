import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import type { Job } from '../../commands/job.ts'
import { type Pruned, prune, pruneAfterBackup } from '../../commands/prune.ts'
import { exitCodeOf, JobError } from '../../errors.ts'
import { formatManifest } from '../../manifest.ts'
import { keysOf, manifestOf, memoryStore, putBackup, putText, type Store, startedOf } from '../catalog/store.ts'
import { fakeJob, now } from './fake-job.ts'

const daily = (age: number) => String(now.getTime() / 1000 - age * 86_400)

async function stored({ name = 'main', days = [1, 2, 3, 4] } = {}): Promise<Store> {
  const store = memoryStore({ name })
  for (const day of days) await putBackup(store, daily(day), { 'users.sql': 'x' })
  return store
}

async function begun(store: Store, id: string): Promise<void> {
  await putText(store, `nightly/${id}/started.json`, JSON.stringify(startedOf(id)))
  await putText(store, `nightly/${id}/users.sql`, 'x')
}

const actionsOf = (data: unknown) => (data as Pruned[]).map(({ id, action }) => [id, action])

test('retention is carried out with its reasons, newest first', async () => {
  const main = await stored()
  const { data, notes, failure } = await prune(
    fakeJob({ storages: [main], backups: { nightly: { retention: { last: 2 } } } }),
    {
      plan: 'nightly',
    },
  )
  expect(failure).toBeUndefined()
  expect(data).toEqual([
    { plan: 'nightly', storage: 'main', id: daily(1), action: 'keep', reason: 'the newest, one of the last 2' },
    { plan: 'nightly', storage: 'main', id: daily(2), action: 'keep', reason: 'one of the last 2' },
    { plan: 'nightly', storage: 'main', id: daily(3), action: 'remove', reason: 'not one of the last 2' },
    { plan: 'nightly', storage: 'main', id: daily(4), action: 'remove', reason: 'not one of the last 2' },
  ])
  expect(notes).toEqual(['2 removed, 2 left'])
  const left = await keysOf(main)
  expect(left.filter((key) => key.endsWith(`${daily(3)}.json`) || key.includes(`/${daily(4)}/`))).toEqual([])
  expect(left).toHaveLength(6)
})

test('a dry run says the same and removes nothing', async () => {
  const main = await stored()
  await begun(main, daily(9))
  const job = fakeJob({ storages: [main], backups: { nightly: { retention: { last: 2 } } } })
  const before = await keysOf(main)
  const dry = await prune(job, { plan: 'nightly', dryRun: true })
  expect(await keysOf(main)).toEqual(before)
  expect(main.calls.filter((call) => call.startsWith('delete'))).toEqual([])
  expect(dry.notes).toEqual(['dry run: nothing was removed, 3 would be'])
  expect((await prune(job, { plan: 'nightly' })).data).toEqual(dry.data)
})

test('the newest stays however old it is', async () => {
  const main = await stored({ days: [400, 500] })
  const job = fakeJob({ storages: [main], backups: { nightly: { retention: { maxAge: '30d' } } } })
  expect(actionsOf((await prune(job, { plan: 'nightly' })).data)).toEqual([
    [daily(400), 'keep'],
    [daily(500), 'remove'],
  ])
})

test('each storage is pruned by what it has', async () => {
  const main = await stored()
  const offsite = await stored({ name: 'offsite', days: [3, 4] })
  await prune(fakeJob({ storages: [main, offsite], backups: { nightly: { retention: { last: 1 } } } }), {
    plan: 'nightly',
  })
  expect((await keysOf(main)).filter((key) => key.endsWith('.json') && !key.includes('started'))).toEqual([
    `nightly/${daily(1)}.json`,
  ])
  expect((await keysOf(offsite)).filter((key) => key.endsWith('.json') && !key.includes('started'))).toEqual([
    `nightly/${daily(3)}.json`,
  ])
})

test('without retention only leftovers go', async () => {
  const main = await stored()
  await begun(main, daily(1.5))
  await begun(main, daily(2.5))
  const { data } = await prune(fakeJob({ storages: [main], backups: { nightly: {} } }), { plan: 'nightly' })
  expect(actionsOf(data)).toEqual([
    [daily(1), 'keep'],
    [daily(1.5), 'leave'],
    [daily(2), 'keep'],
    [daily(2.5), 'sweep'],
    [daily(3), 'keep'],
    [daily(4), 'keep'],
  ])
  expect(await keysOf(main, `nightly/${daily(2.5)}/`)).toEqual([])
  expect(await keysOf(main, `nightly/${daily(1.5)}/`)).toHaveLength(2)
})

test('a plan whose deadline is longer than keepFailed keeps what may still be running', async () => {
  const main = await stored({ days: [9] })
  await begun(main, daily(2.5))
  const job = fakeJob({ storages: [main], backups: { nightly: { keepFailed: '1h', deadline: '3d' } } })
  expect(actionsOf((await prune(job, { plan: 'nightly' })).data)).toContainEqual([daily(2.5), 'leave'])
})

test('nothing goes while the newest manifest is damaged', async () => {
  const main = await stored()
  await putText(main, `nightly/${daily(1)}.json`, '{}')
  const before = await keysOf(main)
  const job = fakeJob({ storages: [main], backups: { nightly: { retention: { last: 1 } } } })
  const { failure } = await prune(job, { plan: 'nightly' })
  expect(failure).toMatchObject({ kind: 'storage', message: expect.stringContaining('storage main was not pruned') })
  expect(await keysOf(main)).toEqual(before)
})

test('nothing goes while parts of the newest are missing', async () => {
  const main = await stored()
  await main.delete([`nightly/${daily(1)}/users.sql`])
  const before = await keysOf(main)
  const { failure } = await prune(fakeJob({ storages: [main], backups: { nightly: { retention: { last: 1 } } } }), {
    plan: 'nightly',
  })
  expect(failure).toMatchObject({
    message: expect.stringContaining(`of the newest backup, ${daily(1)}, users.sql is missing`),
    hint: expect.stringMatching(
      `before the newest backup can be restored; .* holdfast copy nightly ${daily(1)} brings`,
    ),
  })
  expect(await keysOf(main)).toEqual(before)
})

describe('with trust', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const plan = { retention: { last: 2 }, trust: [publicKey.export({ type: 'spki', format: 'pem' }).toString()] }
  const jobOf = (main: Store) => fakeJob({ storages: [main], backups: { nightly: plan } })

  test('what nobody trusted has signed takes no place from what can be restored', async () => {
    const main = memoryStore()
    for (const day of [1, 3, 5]) await putBackup(main, daily(day), { 'users.sql': 'x' }, privateKey)
    for (const day of [2, 4, 6]) await putBackup(main, daily(day))
    const job = jobOf(main)
    const { data, failure } = await prune(job, { plan: 'nightly' })
    expect(failure).toBeUndefined()
    expect(actionsOf(data)).toEqual([
      [daily(1), 'keep'],
      [daily(2), 'keep'],
      [daily(3), 'keep'],
      ...[4, 5, 6].map((day) => [daily(day), 'remove']),
    ])
    expect((data as Pruned[])[1]?.reason).toContain('nobody whom the plan trusts has signed it')
    expect((await openCatalog({ storage: main, plan: 'nightly' }).ids()).committed).toEqual([3, 2, 1].map(daily))
  })

  test('nothing goes while the newest is not signed', async () => {
    const main = memoryStore()
    for (const day of [3, 4, 5]) await putBackup(main, daily(day), { 'users.sql': 'x' }, privateKey)
    for (const day of [1, 2]) await putBackup(main, daily(day))
    const before = await keysOf(main)
    const { failure } = await prune(jobOf(main), { plan: 'nightly' })
    expect(failure).toMatchObject({
      message: expect.stringContaining('is not signed'),
      hint: expect.stringContaining('goes into backups.nightly.trust'),
    })
    expect(await keysOf(main)).toEqual(before)
  })

  test('one that was copied under the id of another is none that somebody signed', async () => {
    const main = memoryStore()
    for (const day of [1, 3, 5]) await putBackup(main, daily(day), { 'users.sql': 'x' }, privateKey)
    await main.put(`nightly/${daily(2)}.json`, main.objects.get(`nightly/${daily(3)}.json`) as Buffer, {})
    await prune(jobOf(main), { plan: 'nightly' })
    expect((await openCatalog({ storage: main, plan: 'nightly' }).ids()).committed).toEqual([3, 2, 1].map(daily))
  })
})

test('a storage has the rules that are said for it, in place of the others', async () => {
  const stores = [await stored(), await stored({ name: 'offsite' }), await stored({ name: 'archive' })]
  const retention = { last: 1, storages: { offsite: { daily: 2 }, archive: {} } }
  const job = fakeJob({ storages: stores, backups: { nightly: { retention } } })
  const { data } = await prune(job, { plan: 'nightly' })
  const kept = (data as Pruned[]).filter(({ action }) => action === 'keep').map(({ storage, id }) => [storage, id])
  expect(kept).toEqual([
    ['main', daily(1)],
    ...[1, 2].map((day) => ['offsite', daily(day)]),
    ...[1, 2, 3, 4].map((day) => ['archive', daily(day)]),
  ])
})

test("days are those of the plan's time zone", async () => {
  const main = memoryStore()
  for (const hours of [0.5, 1.5, 23.5, 24.5]) await putBackup(main, daily(hours / 24), { 'users.sql': 'x' })
  const kept = async (timeZone: string | undefined) => {
    const plan = { retention: { daily: 2 }, ...(timeZone ? { timeZone } : {}) }
    const { data } = await prune(fakeJob({ storages: [main], backups: { nightly: plan } }), {
      plan: 'nightly',
      dryRun: true,
    })
    const rows = (data as Pruned[]).filter(({ action }) => action === 'keep')
    return rows.map(({ id }) => (now.getTime() / 1000 - Number(id)) / 3600)
  }
  expect(await kept(undefined)).toEqual([0.5, 24.5])
  expect(await kept('Europe/Stockholm')).toEqual([0.5, 1.5])
})

test('an adopted backup is as old as its manifest says, and stays when that cannot be read', async () => {
  const main = await stored({ days: [1] })
  const adopted = manifestOf('265371530', { started: new Date(Number(daily(2)) * 1000).toISOString(), adopted: true })
  await main.put('nightly/265371530.json', formatManifest(adopted), {})
  await putText(main, 'nightly/265371531.json', '{}')
  const job = fakeJob({ storages: [main], backups: { nightly: { retention: { maxAge: '7d' } } } })
  expect(actionsOf((await prune(job, { plan: 'nightly' })).data)).toEqual([
    [daily(1), 'keep'],
    ['265371531', 'keep'],
    ['265371530', 'keep'],
  ])
})

test('10 000 backups are planned with one listing and one manifest', async () => {
  const main = memoryStore()
  for (let i = 0; i < 10_000; i++) {
    const id = String(Number(daily(1)) - i * 60)
    main.objects.set(`nightly/${id}.json`, formatManifest(manifestOf(id)))
    main.objects.set(`nightly/${id}/started.json`, Buffer.from('{}'))
  }
  const job = fakeJob({ storages: [main], backups: { nightly: { retention: { last: 9990 } } } })
  const { data } = await prune(job, { plan: 'nightly', dryRun: true })
  expect(data).toHaveLength(10_000)
  expect(main.calls.filter((call) => call === 'list nightly/')).toHaveLength(1)
  expect(main.calls.filter((call) => call.startsWith('get'))).toEqual([`get nightly/${daily(1)}.json`])
})

describe('failures', () => {
  async function halfDeleting(): Promise<Store> {
    const main = await stored()
    main.before = (call) => {
      if (call === `delete nightly/${daily(4)}.json`) throw new JobError('storage', 'access denied')
    }
    return main
  }
  const backups = { nightly: { retention: { last: 2 } } }

  test('one that cannot be removed is a warning and exit code 23 at the end, and the others go', async () => {
    const main = await halfDeleting()
    const job = fakeJob({ storages: [main], backups })
    const { data, failure } = await prune(job, { plan: 'nightly' })
    expect(exitCodeOf(failure)).toBe(23)
    expect(job.warnings).toEqual([`backup ${daily(4)} was not removed from storage main: access denied`])
    expect((data as Pruned[]).at(-1)).toMatchObject({ id: daily(4), failed: 'access denied' })
    expect(await keysOf(main, `nightly/${daily(3)}`)).toEqual([])
  })

  test('a storage that cannot be reached does not keep the others from being pruned', async () => {
    const offline = memoryStore({ name: 'offline' })
    offline.before = () => {
      throw new JobError('storage', 'connection refused')
    }
    const main = await stored()
    const { failure } = await prune(fakeJob({ storages: [offline, main], backups }), { plan: 'nightly' })
    expect(failure).toMatchObject({
      kind: 'storage',
      message: expect.stringContaining('storage offline was not pruned: connection refused'),
    })
    expect(await keysOf(main, `nightly/${daily(3)}`)).toEqual([])
  })

  test('after a backup every failure is only a warning', async () => {
    const job = fakeJob({ storages: [await halfDeleting()], backups })
    expect(await pruneAfterBackup(job, 'nightly')).toHaveLength(4)
    expect(job.warnings).toHaveLength(1)
    await pruneAfterBackup(job, 'gone')
    expect(job.warnings).toHaveLength(2)
  })

  test('a run that is ended stops at once', async () => {
    const main = await stored()
    const run = new AbortController()
    main.after = (call) => {
      if (call.startsWith(`delete nightly/${daily(4)}.json`)) run.abort(new JobError('terminated', 'ended by SIGTERM'))
    }
    const job = fakeJob({ storages: [main], backups, signal: run.signal })
    await expect(prune(job, { plan: 'nightly' })).rejects.toMatchObject({ kind: 'terminated' })
    expect(main.objects.has(`nightly/${daily(3)}.json`)).toBe(true)
  })
})

describe('the figures of a prune', () => {
  const backups = { nightly: { retention: { last: 2 } } }
  const dead = () => {
    throw new JobError('storage', 'connection refused')
  }

  test('say how many backups each storage has left, without leftovers', async () => {
    const main = await stored()
    await begun(main, daily(9))
    const offsite = await stored({ name: 'offsite', days: [3, 4] })
    const job = fakeJob({ storages: [main, offsite], backups })
    await prune(job, { plan: 'nightly' })
    const storages = [
      { storage: 'main', kept: 2, removed: 2 },
      { storage: 'offsite', kept: 2, removed: 0 },
    ]
    expect(job.figures).toEqual({ retention: { failed: false, storages } })
  })

  test.each<[string, typeof prune | typeof after]>([
    ['by itself', prune],
    ['after a backup', after],
  ])('are those of a failure when one backup stays that should go: %s', async (_, work) => {
    const main = await stored()
    main.before = (call) => {
      if (call === `delete nightly/${daily(4)}.json`) throw new JobError('storage', 'access denied')
    }
    const job = fakeJob({ storages: [main], backups })
    await work(job, { plan: 'nightly' })
    expect(job.figures).toEqual({
      retention: { failed: true, storages: [{ storage: 'main', kept: 3, removed: 1 }] },
    })
  })

  test.each<[string, typeof prune | typeof after]>([
    ['by itself', prune],
    ['after a backup', after],
  ])('are those of a failure when a storage does not answer: %s', async (_, work) => {
    const main = await stored()
    main.before = dead
    const job = fakeJob({ storages: [main], backups })
    await work(job, { plan: 'nightly' })
    expect(job.figures).toEqual({ retention: { failed: true, storages: [] } })
  })

  test('are those of a failure when it was ended in the middle', async () => {
    const main = await stored()
    const run = new AbortController()
    main.after = (call) => {
      if (call.startsWith('delete')) run.abort(new JobError('terminated', 'ended by SIGTERM'))
    }
    const job = fakeJob({ storages: [main], backups, signal: run.signal })
    await after(job, { plan: 'nightly' })
    expect(job.figures).toEqual({ retention: { failed: true, storages: [] } })
  })

  test('are none of a dry run', async () => {
    const job = fakeJob({ storages: [await stored()], backups })
    await prune(job, { plan: 'nightly', dryRun: true })
    expect(job.figures).toEqual({})
  })

  function after(job: Job, { plan }: { plan: string }) {
    return pruneAfterBackup(job, plan)
  }
})

describe('refused', () => {
  test.each([
    ['a plan that is not in the values', { plan: 'weekly' }, 'no plan named "weekly"'],
    [
      'a storage that the plan does not write to',
      { plan: 'nightly', storages: ['other'] },
      'does not write to storage "other"',
    ],
  ])('%s', async (_, options, message) => {
    const job = fakeJob({ storages: [await stored()], backups: { nightly: {} } })
    await expect(prune(job, options)).rejects.toMatchObject({
      kind: 'configuration',
      message: expect.stringContaining(message),
    })
  })
})
