import { describe, expect, test } from 'vitest'
import { list, type Row } from '../../commands/list.ts'
import { JobError } from '../../errors.ts'
import { render } from '../../io/print.ts'
import { formatManifest } from '../../manifest.ts'
import { manifestOf, memoryStore, putBackup, putText, type Store, startedOf } from '../catalog/store.ts'
import { fakeJob, now } from './fake-job.ts'

const first = '1795218000'
const second = '1795218060'
const third = '1795218120'

function broken(name: string): Store {
  const store = memoryStore({ name })
  store.before = () => {
    throw new JobError('storage', `storage ${name}: connection refused`)
  }
  return store
}

const idsOf = (data: unknown) => (data as Row[]).map(({ id }) => id)

test('a table has the newest backup first, with figures for people', async () => {
  const main = memoryStore()
  await putBackup(main, first, { 'users.sql': 'x'.repeat(2048) })
  await putBackup(main, second)
  const result = await list(fakeJob({ storages: [main], backups: { nightly: {} } }), {})
  expect(render(result, 'table').split('\n')).toEqual(
    [
      'PLAN     ID          STARTED                TOOK     SIZE  PARTS  STORAGES  WARNINGS',
      'nightly  1795218060  2026-11-20T23:41:00Z  1m 30s      0 B      0  main             0',
      'nightly  1795218000  2026-11-20T23:40:00Z  1m 30s  2.0 KiB      1  main             0',
      '',
    ].map((line) => expect.stringMatching(sameWords(line))),
  )
})

test('data holds bytes, seconds and ISO times', async () => {
  const main = memoryStore()
  await putBackup(main, first, { 'users.sql': 'xyz' })
  const { data } = await list(fakeJob({ storages: [main], backups: { nightly: {} } }), { format: 'json' })
  expect(data).toEqual([
    {
      plan: 'nightly',
      state: 'committed',
      id: first,
      started: '2026-11-20T23:40:00.000Z',
      seconds: 90,
      bytes: 3,
      parts: 1,
      warnings: 0,
      storages: ['main'],
    },
  ])
})

test('the backups that a restore could bring are listed where there is no plan', async () => {
  const main = memoryStore()
  await putBackup(main, first)
  const from = { plan: 'nightly', storages: ['main'] }
  const restores = { standby: { from, pick: 'latest', overwrite: true, targets: [], deadline: '24h' } }
  const { data } = await list(fakeJob({ storages: [main], backups: {}, restores }), {})
  expect(data).toMatchObject([{ plan: 'nightly', id: first, storages: ['main'] }])
})

test('a backup in several storages is one row, and each plan has its own', async () => {
  const main = memoryStore()
  const offsite = memoryStore({ name: 'offsite' })
  await putBackup(main, first)
  await putBackup(offsite, first)
  await putBackup(main, second)
  await main.put(`weekly/${first}.json`, formatManifest(manifestOf(first, { plan: 'weekly' })), {})
  const backups = { nightly: {}, weekly: { storages: ['main'] } }
  const { data } = await list(fakeJob({ storages: [main, offsite], backups }), {})
  const rows = (data as Row[]).map(({ plan, id, storages }) => [plan, id, storages.join()])
  expect(rows).toEqual([
    ['nightly', second, 'main'],
    ['nightly', first, 'main,offsite'],
    ['weekly', first, 'main'],
  ])
})

describe('of many backups', () => {
  async function many(count: number) {
    const main = memoryStore()
    for (let i = 0; i < count; i++) await putBackup(main, String(Number(first) + i))
    main.calls = []
    return { main, job: fakeJob({ storages: [main], backups: { nightly: {} } }) }
  }

  test('a table shows 20 and says how many more there are, and reads only those 20 manifests', async () => {
    const { main, job } = await many(10_000)
    const { table, notes } = await list(job, {})
    expect(table.rows).toHaveLength(20)
    expect(notes).toEqual(['9980 more of plan nightly: --last 0 shows all'])
    expect(main.calls.filter((call) => call.startsWith('list'))).toHaveLength(1)
    expect(main.calls.filter((call) => call.startsWith('get'))).toHaveLength(20)
    expect(main.calls).toHaveLength(21)
  })

  test.each([
    [{ last: 3 }, 3],
    [{ last: 0 }, 30],
    [{ format: 'json' as const }, 30],
    [{ format: 'json' as const, last: 5 }, 5],
  ])('with %j there are %i', async (options, rows) => {
    const { job } = await many(30)
    expect((await list(job, options)).data).toHaveLength(rows)
  })

  test('at most 8 manifests are read at once', async () => {
    const { main, job } = await many(40)
    let open = 0
    let most = 0
    main.before = async (call) => {
      if (!call.startsWith('get')) return
      most = Math.max(most, ++open)
      await new Promise((resolve) => setTimeout(resolve, 1))
      open--
    }
    await list(job, { last: 0 })
    expect(most).toBe(8)
  })
})

test('a storage that cannot be reached is an error after what the others gave', async () => {
  const main = memoryStore()
  await putBackup(main, first)
  const { data, failure } = await list(fakeJob({ storages: [broken('offsite'), main], backups: { nightly: {} } }), {})
  expect(idsOf(data)).toEqual([first])
  expect(failure).toMatchObject({ kind: 'storage', message: 'storage offsite: connection refused' })
})

test('several storages that cannot be reached are named together', async () => {
  const { failure, notes } = await list(
    fakeJob({ storages: [broken('a'), broken('b')], backups: { nightly: {}, weekly: {} } }),
    {},
  )
  expect(failure).toMatchObject({ kind: 'storage', message: expect.stringMatching(/^2 storages failed: .*a: .*; b: /) })
  expect(notes).toEqual(['no backups in the storages that answered'])
})

test('only the storages asked for are asked', async () => {
  const main = memoryStore()
  await putBackup(main, first)
  const job = fakeJob({ storages: [main, broken('offsite')], backups: { nightly: {} } })
  expect((await list(job, { storages: ['main'] })).failure).toBeUndefined()
})

test('a damaged manifest is a row with its problem, and the others are there', async () => {
  const main = memoryStore()
  await putBackup(main, first)
  await putText(main, `nightly/${second}.json`, '{}')
  const { data, notes } = await list(fakeJob({ storages: [main], backups: { nightly: {} } }), {})
  expect(idsOf(data)).toEqual([second, first])
  expect(notes?.[0]).toContain(`nightly ${second}: nightly/${second}.json in storage main is no manifest`)
})

test('a manifest damaged in one storage is taken from the next', async () => {
  const main = memoryStore()
  const offsite = memoryStore({ name: 'offsite' })
  await putText(main, `nightly/${first}.json`, '{}')
  await putBackup(offsite, first)
  const { data } = await list(fakeJob({ storages: [main, offsite], backups: { nightly: {} } }), {})
  expect((data as Row[])[0]).toMatchObject({ id: first, seconds: 90 })
})

test('without backups it says so', async () => {
  const result = await list(fakeJob({ storages: [memoryStore()], backups: { nightly: {} } }), {})
  expect(render(result, 'table')).toBe('no backups yet of plan nightly\n')
  expect(render(result, 'json')).toBe('[]\n')
})

describe('why', () => {
  const retention = { last: 1, storages: { offsite: { daily: 1 } } }

  test('each stays or goes, once where it is the same everywhere', async () => {
    const main = memoryStore()
    const offsite = memoryStore({ name: 'offsite' })
    for (const id of [first, second, third]) await putBackup(main, id)
    for (const id of [first, second]) await putBackup(offsite, id)
    const job = fakeJob({ storages: [main, offsite], backups: { nightly: { retention } } })
    const { data, table } = await list(job, { why: true })
    expect(table.rows.map((cells) => cells.at(-1))).toEqual([
      'the newest, one of the last 1',
      'main: goes: not one of the last 1; offsite: the newest, the newest of 2026-11-20 (daily 1 of 1)',
      'main: goes: not one of the last 1; offsite: goes: not kept by daily 1',
    ])
    expect((data as Row[])[2]?.why).toEqual([
      { storage: 'main', keep: false, reason: 'not one of the last 1' },
      { storage: 'offsite', keep: false, reason: 'not kept by daily 1' },
    ])
    expect(main.calls.filter((call) => call === 'list nightly/')).toHaveLength(1)
  })

  test('nothing goes where prune refuses, because the newest could not be restored', async () => {
    const main = memoryStore()
    for (const id of [first, second, third]) await putBackup(main, id, { 'users.sql': 'x' })
    main.objects.delete(`nightly/${third}/users.sql`)
    const job = fakeJob({ storages: [main], backups: { nightly: { retention } } })
    const { data, table } = await list(job, { why: true })
    const refusal = `not one of the last 1, but prune refuses: of the newest backup, ${third}, users.sql is missing`
    expect(table.rows.map((cells) => cells.at(-1))).toEqual(['the newest, one of the last 1', refusal, refusal])
    expect((data as Row[])[2]?.why).toEqual([{ storage: 'main', keep: true, reason: refusal }])
  })

  test('of a plan of another installation nobody here decides', async () => {
    const main = memoryStore()
    await putBackup(main, first)
    const job = fakeJob({ storages: [main], backups: {} })
    const { table } = await list(job, { plan: 'nightly', storages: ['main'], why: true })
    expect(table.rows.map((cells) => cells.at(-1))).toEqual(['another installation decides'])
  })

  test('runs that did not finish have no reason', async () => {
    const main = memoryStore()
    await putBackup(main, first)
    await putText(main, `nightly/${second}/started.json`, JSON.stringify(startedOf(second)))
    const { table } = await list(fakeJob({ storages: [main], backups: { nightly: { retention } } }), {
      why: true,
      runs: true,
    })
    expect(table.rows.map((cells) => cells.at(-1))).toEqual(['', 'the newest, one of the last 1'])
    expect(main.calls.filter((call) => call === 'list nightly/')).toHaveLength(1)
  })
})

describe('plans', () => {
  test('an unknown one is a configuration error that names the others', async () => {
    const job = fakeJob({ storages: [memoryStore()], backups: { nightly: {} } })
    const message = 'backups: no plan named "weekly" (there are: nightly)'
    await expect(list(job, { plan: 'weekly' })).rejects.toMatchObject({ kind: 'configuration', message })
  })

  test('one of another installation is found by its storage, or by a restore that reads it', async () => {
    const main = memoryStore()
    await putBackup(main, first)
    const restores = { standby: { from: { plan: 'nightly', storages: ['main'] } } } as never
    const byRestore = fakeJob({ storages: [main], backups: {}, restores })
    expect(idsOf((await list(byRestore, { plan: 'nightly' })).data)).toEqual([first])
    const byStorage = fakeJob({ storages: [main], backups: {} })
    expect(idsOf((await list(byStorage, { plan: 'nightly', storages: ['main'] })).data)).toEqual([first])
  })
})

describe('with runs', () => {
  test('running and failed ones, and the next, come along', async () => {
    const main = memoryStore()
    await putBackup(main, first)
    await putText(main, `nightly/${second}/started.json`, JSON.stringify(startedOf(second)))
    const failed = { reason: 'disk full', kind: 'storage', finished: '2026-11-20T23:41:10.000Z' }
    await putText(main, `nightly/${second}/failed.json`, JSON.stringify(failed))
    await putText(main, `nightly/${third}/started.json`, JSON.stringify(startedOf(third)))
    const plan = { schedule: '15 2 * * *', timeZone: 'Europe/Stockholm' }
    const { data } = await list(fakeJob({ storages: [main], backups: { nightly: plan } }), { runs: true })
    expect(data).toMatchObject([
      { state: 'scheduled', started: '2026-11-21T01:15:00.000Z', storages: ['main'] },
      { state: 'running', id: third, started: '2026-11-20T23:42:00.000Z' },
      { state: 'failed', id: second, seconds: 10, problem: 'disk full' },
      { state: 'committed', id: first },
    ])
  })

  test('a run that one storage has as committed is committed', async () => {
    const main = memoryStore()
    const offsite = memoryStore({ name: 'offsite' })
    await putText(main, `nightly/${first}/started.json`, JSON.stringify(startedOf(first)))
    await putBackup(offsite, first)
    const { data } = await list(fakeJob({ storages: [main, offsite], backups: { nightly: {} } }), { runs: true })
    expect(data).toMatchObject([{ state: 'committed', id: first, storages: ['offsite'] }])
  })

  test('a suspended plan has no next run', async () => {
    const plan = { schedule: '15 2 * * *', suspend: true }
    const { data } = await list(fakeJob({ storages: [memoryStore()], backups: { nightly: plan } }), { runs: true })
    expect(data).toEqual([])
  })

  test.each([
    ['every night', undefined],
    ['15 2 * * *', 'Europe/Atlantis'],
  ])('the schedule "%s" in %s is a configuration error', async (schedule, timeZone) => {
    const job = fakeJob({ storages: [memoryStore()], backups: { nightly: { schedule, timeZone } } })
    await expect(list(job, { runs: true })).rejects.toMatchObject({
      kind: 'configuration',
      message: expect.stringContaining('backups.nightly.schedule'),
    })
  })

  test('a run older than the deadline has failed', async () => {
    const main = memoryStore()
    await putText(main, `nightly/${first}/started.json`, JSON.stringify(startedOf(first)))
    const job = fakeJob({ storages: [main], backups: { nightly: { deadline: '10m' } }, now })
    expect((await list(job, { runs: true })).data).toMatchObject([{ state: 'failed', problem: 'ended without a word' }])
  })
})

/** The same cells, however wide the columns are. */
function sameWords(line: string): RegExp {
  return new RegExp(
    `^${line
      .split(/ +/)
      .map((word) => word.replaceAll('.', '\\.'))
      .join(' +')}$`,
  )
}
