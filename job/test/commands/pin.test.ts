import { describe, expect, test } from 'vitest'
import { list, type Row } from '../../commands/list.ts'
import { pin, unpin } from '../../commands/pin.ts'
import { type Pruned, prune } from '../../commands/prune.ts'
import { show } from '../../commands/show.ts'
import { JobError } from '../../errors.ts'
import { render } from '../../io/print.ts'
import { keysOf, memoryStore, putBackup, putText } from '../catalog/store.ts'
import { fakeJob, now } from './fake-job.ts'

const daily = (age: number) => String(now.getTime() / 1000 - age * 86_400)
const backups = { nightly: { retention: { last: 1 } } }

async function stored(name: string, days: number[]) {
  const store = memoryStore({ name })
  for (const day of days) await putBackup(store, daily(day), { 'users.sql': 'x' })
  return store
}

test('a pinned backup stays until it is unpinned, in every storage that has it', async () => {
  const main = await stored('main', [1, 2, 3])
  const offsite = await stored('offsite', [2, 3])
  const job = fakeJob({ storages: [main, offsite], backups })
  const { data } = await pin(job, { plan: 'nightly', id: daily(3), note: 'before the upgrade' })
  expect(data).toEqual([
    { plan: 'nightly', storage: 'main', id: daily(3), pinned: true, note: 'before the upgrade' },
    { plan: 'nightly', storage: 'offsite', id: daily(3), pinned: true, note: 'before the upgrade' },
  ])
  const pruned = (await prune(job, { plan: 'nightly' })).data as Pruned[]
  expect(pruned.map(({ storage, id, action, reason }) => [storage, id, action, reason])).toEqual([
    ['main', daily(1), 'keep', 'the newest, one of the last 1'],
    ['main', daily(2), 'remove', 'not one of the last 1'],
    ['main', daily(3), 'keep', 'pinned: before the upgrade'],
    ['offsite', daily(2), 'keep', 'the newest, one of the last 1'],
    ['offsite', daily(3), 'keep', 'pinned: before the upgrade'],
  ])
  await unpin(job, { plan: 'nightly', id: daily(3) })
  await prune(job, { plan: 'nightly' })
  for (const store of [main, offsite]) expect(await keysOf(store, `nightly/${daily(3)}`)).toEqual([])
})

test('one that a prune was faster to remove is not said to be pinned', async () => {
  const main = await stored('main', [1, 2])
  main.before = (call) => {
    if (call === `put nightly/${daily(2)}.pin.json`) main.objects.delete(`nightly/${daily(2)}.json`)
  }
  const { data, failure } = await pin(fakeJob({ storages: [main], backups }), { plan: 'nightly', id: daily(2) })
  expect(data).toEqual([])
  expect(failure).toMatchObject({ kind: 'nothing-matches' })
  expect(await keysOf(main, `nightly/${daily(2)}.`)).toEqual([])
})

test('list and show say that it is pinned, and why', async () => {
  const main = await stored('main', [1, 2])
  const job = fakeJob({ storages: [main], backups })
  await pin(job, { plan: 'nightly', id: daily(2), note: 'audit' })
  const listed = await list(job, {})
  expect((listed.data as Row[]).map(({ pinned }) => pinned)).toEqual([undefined, 'audit'])
  expect(render(listed, 'table')).toMatch(/PINNED\n.*\n.* audit\n$/)
  const shown = await show(job, { plan: 'nightly', pick: daily(2) })
  expect(shown.data).toMatchObject({ id: daily(2), pin: { note: 'audit', pinned: now.toISOString() } })
  expect(shown.table.rows).toContainEqual(['stays', 'pinned: audit'])
  expect((await show(job, { plan: 'nightly', pick: daily(1) })).data).not.toHaveProperty('pin')
})

test('show says who holds it', async () => {
  const main = await stored('main', [1])
  const hold = { run: 'restore-1', by: 'restore standby', since: now.toISOString(), expires: '2026-11-21T06:00:00Z' }
  await putText(main, `nightly/${daily(1)}.hold-restore-1.json`, JSON.stringify(hold))
  const { data, table } = await show(fakeJob({ storages: [main], backups }), { plan: 'nightly', pick: 'latest' })
  expect(data).toMatchObject({ holds: [hold] })
  expect(table.rows).toContainEqual(['stays', 'held by restore standby until 2026-11-21T06:00:00Z'])
})

test('unpinned again, or never pinned: nothing to do', async () => {
  const job = fakeJob({ storages: [await stored('main', [1])], backups })
  const { data, failure } = await unpin(job, { plan: 'nightly', id: daily(1) })
  expect(data).toEqual([{ plan: 'nightly', storage: 'main', id: daily(1), pinned: false }])
  expect(failure).toBeUndefined()
})

describe('failures', () => {
  test.each([pin, unpin])('an id that no storage has', async (verb) => {
    const { failure } = await verb(fakeJob({ storages: [await stored('main', [1])], backups }), {
      plan: 'nightly',
      id: '7',
    })
    expect(failure).toMatchObject({ kind: 'nothing-matches', message: 'plan nightly has no backup 7 in main' })
  })

  test('what is no id', async () => {
    const job = fakeJob({ storages: [], backups })
    await expect(pin(job, { plan: 'nightly', id: 'latest' })).rejects.toMatchObject({ kind: 'configuration' })
  })

  test('a storage that cannot be reached, after the others were changed', async () => {
    const offline = memoryStore({ name: 'offline' })
    offline.before = () => {
      throw new JobError('storage', 'connection refused')
    }
    const main = await stored('main', [1])
    const { data, failure } = await pin(fakeJob({ storages: [offline, main], backups }), {
      plan: 'nightly',
      id: daily(1),
    })
    expect(data).toMatchObject([{ storage: 'main', pinned: true }])
    expect(failure).toMatchObject({ kind: 'storage', message: 'connection refused' })
  })
})
