import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Catalog, openCatalog } from '../../catalog/catalog.ts'
import { guardTexts } from '../../catalog/guards.ts'
import type { Storage } from '../../storage.ts'
import { keysOf, memoryStore, putBackup, putText, reset, signal, storages } from './store.ts'

const first = '1795218000'
const second = '1795218060'
const now = new Date('2026-11-21T00:00:00Z')
const hold = {
  run: 'restore-1a2b',
  by: 'restore standby',
  since: '2026-11-20T23:00:00Z',
  expires: '2026-11-21T01:00:00Z',
}
const over = { ...hold, run: 'verify-3c4d', by: 'verify', expires: '2026-11-21T00:00:00Z' }

describe.each(storages)('over $kind', ({ open }) => {
  let storage: Storage
  let end: () => Promise<void>
  let catalog: Catalog

  beforeEach(async () => {
    const opened = await open()
    storage = opened.storage
    end = opened.end
    catalog = openCatalog({ storage, plan: 'nightly' })
    await putBackup(storage, first, { 'users.sql': 'a' })
    await putBackup(storage, second, { 'users.sql': 'b' })
  })
  afterEach(() => end())

  const readAll = async (id: string) => catalog.guards.read(id, await catalog.guards.names(id), now)

  test('a pin has its note, and the last one counts', async () => {
    await catalog.guards.pin(first, { pinned: now.toISOString() }, signal)
    await catalog.guards.pin(first, { pinned: now.toISOString(), note: 'before the upgrade' }, signal)
    const found = await readAll(first)
    expect(found).toEqual({ pin: { pinned: now.toISOString(), note: 'before the upgrade' }, holds: [], expired: [] })
    expect(guardTexts(found)).toEqual(['pinned: before the upgrade'])
    expect((await readAll(second)).pin).toBeUndefined()
  })

  test('unpinned it has none, also when it never had one', async () => {
    await catalog.guards.pin(first, { pinned: now.toISOString() })
    for (const id of [first, second]) await catalog.guards.unpin(id)
    expect(await readAll(first)).toEqual({ holds: [], expired: [] })
  })

  test('holds count until they expire, and each is taken back by itself', async () => {
    await catalog.guards.hold(first, hold)
    await catalog.guards.hold(first, { ...hold, run: 'verify-5e6f', by: 'verify' })
    await catalog.guards.hold(first, over)
    const found = await readAll(first)
    expect(found.holds.map(({ run }) => run).sort()).toEqual(['restore-1a2b', 'verify-5e6f'])
    expect(found.expired).toEqual(['verify-3c4d'])
    await catalog.guards.release(first, 'verify-5e6f')
    await catalog.guards.release(first, 'verify-5e6f')
    expect(guardTexts(await readAll(first))).toEqual(['held by restore standby until 2026-11-21T01:00:00Z'])
  })

  test('what guards a backup is in the listing of all, and other siblings are not', async () => {
    await catalog.guards.pin(first, { pinned: now.toISOString() })
    await catalog.guards.hold(first, hold)
    await putText(storage, `nightly/${second}.keys-1.json`, '{}')
    expect((await catalog.ids()).guards).toEqual(new Map([[first, ['hold-restore-1a2b', 'pin']]]))
  })

  test.each(['', '{', '{"run":1}', '{"expires":"soon"}'])(
    'files that say %j guard it until somebody looks',
    async (text) => {
      await putText(storage, `nightly/${first}.pin.json`, text)
      await putText(storage, `nightly/${first}.hold-x.json`, text)
      expect(guardTexts(await readAll(first))).toEqual([
        'pinned: the pin cannot be read',
        'held by x, whose file cannot be read until 9999-12-31T00:00:00Z',
      ])
      expect(await catalog.remove(first, now)).toBe(false)
    },
  )

  test.each([
    ['pinned', () => catalog.guards.pin(first, { pinned: now.toISOString() })],
    ['held', () => catalog.guards.hold(first, hold)],
  ])('a backup that is %s is not removed', async (_, guard) => {
    await guard()
    const before = await keysOf(storage)
    expect(await catalog.remove(first, now)).toBe(false)
    expect(await keysOf(storage)).toEqual(before)
  })

  test('one that is held no more goes with what is left of the holds', async () => {
    await catalog.guards.hold(first, over)
    expect(await catalog.remove(first, now)).toBe(true)
    expect(await keysOf(storage, `nightly/${first}`)).toEqual([])
  })
})

test('a hold that was taken back while it was read is none', async () => {
  const store = memoryStore()
  const { guards } = openCatalog({ storage: store, plan: 'nightly' })
  await guards.hold(first, hold)
  const names = await guards.names(first)
  await guards.release(first, hold.run)
  expect(await guards.read(first, names, now)).toEqual({ holds: [], expired: [] })
})

test('when nobody can tell what guards it, nothing is removed', async () => {
  const store = memoryStore()
  const catalog = openCatalog({ storage: store, plan: 'nightly' })
  await putBackup(store, first)
  await catalog.guards.pin(first, { pinned: now.toISOString() })
  store.before = (call) => {
    if (call === `get nightly/${first}.pin.json`) throw reset()
  }
  await expect(catalog.remove(first, now)).rejects.toThrow('connection reset')
  expect(store.objects.has(`nightly/${first}.json`)).toBe(true)
})
