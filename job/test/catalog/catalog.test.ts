import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Catalog, openCatalog } from '../../catalog/catalog.ts'
import { JobError } from '../../errors.ts'
import { formatManifest } from '../../manifest.ts'
import type { Storage } from '../../storage.ts'
import {
  keysOf,
  manifestOf,
  memoryStore,
  putBackup,
  putText,
  reset,
  signal,
  startedOf,
  storages,
  textAt,
} from './store.ts'

const first = '1795218000'
const second = '1795218060'
const third = '1795218120'
const now = new Date(Number(third) * 1000)
const hours = (count: number) => new Date(now.getTime() + count * 3_600_000)
const facts = {
  server: { product: 'RonDB', version: '24.10.1' },
  tools: { ndb_mgm: '24.10.1' },
  facts: { stopGcp: 27 },
}

describe.each(storages)('over $kind', ({ open }) => {
  let storage: Storage
  let end: () => Promise<void>
  let catalog: Catalog

  beforeEach(async () => {
    const opened = await open()
    storage = opened.storage
    end = opened.end
    catalog = openCatalog({ storage, plan: 'nightly', waits: [0, 0] })
  })
  afterEach(() => end())

  describe('a claim', () => {
    const claim = (run: string, id = first) => catalog.claim({ id, started: { ...startedOf(id), run }, signal })

    test('takes the id asked for when it is free', async () => {
      expect(await claim('a')).toBe(first)
      expect(await catalog.started(first)).toEqual({ ...startedOf(first), run: 'a' })
    })

    test('takes the next second when another run has it', async () => {
      await claim('a')
      expect(await claim('b')).toBe('1795218001')
      expect((await catalog.started(first))?.run).toBe('a')
    })

    test.each([
      ['a manifest', 'nightly/1795218000.json'],
      ['a folder of another tool', 'nightly/1795218000/users.sql'],
    ])('passes by the id of %s', async (_, key) => {
      await putText(storage, key, 'x')
      expect(await claim('a')).toBe('1795218001')
    })

    test('is not disturbed by longer ids that begin alike', async () => {
      await putText(storage, 'nightly/1795218000.json', 'x')
      await putText(storage, 'nightly/1795218000/users.sql', 'x')
      expect(await claim('a', '179521800')).toBe('179521800')
    })

    test('gives 8 writers at once 8 ids', async () => {
      const ids = await Promise.all(Array.from({ length: 8 }, (_, i) => claim(`run-${i}`)))
      expect(new Set(ids).size).toBe(8)
      for (const [i, id] of ids.entries()) expect((await catalog.started(id))?.run).toBe(`run-${i}`)
    })

    test('gives up when too many in a row are taken', async () => {
      for (let i = 0; i < 60; i++) await putText(storage, `nightly/${Number(first) + i}.json`, 'x')
      await expect(claim('a')).rejects.toMatchObject({ kind: 'busy' })
    })

    test('can be made again by the run that has it', async () => {
      const started = { ...startedOf(first), run: 'a' }
      expect(await catalog.join({ id: first, started, signal })).toBe(true)
      expect(await catalog.join({ id: first, started, signal })).toBe(true)
      expect(await catalog.join({ id: first, started: { ...started, run: 'b' }, signal })).toBe(false)
    })
  })

  test('ids are sorted by number, and only folders without a manifest are uncommitted', async () => {
    await putBackup(storage, first)
    await putBackup(storage, '265371530', { 'users.sql': 'x' })
    await putText(storage, `nightly/${first}.pin.json`, '{}')
    await putText(storage, `nightly/${first}.keys-2.json`, '{}')
    await putText(storage, `nightly/${first}.missed.json`, '{}')
    await putText(storage, `nightly/${second}/started.json`, '{}')
    await putText(storage, 'nightly/notes.txt', 'x')
    await putText(storage, `nightly-2/${third}.json`, '{}')
    expect(await catalog.ids()).toEqual({
      committed: ['265371530', first],
      uncommitted: [second],
      guards: new Map([[first, ['pin']]]),
      keys: new Map([[first, ['keys-2']]]),
    })
  })

  test('kept facts come back by source, the last ones said', async () => {
    await catalog.keepFacts({ id: first, source: 'rondb', facts: { ...facts, facts: {} }, signal })
    await catalog.keepFacts({ id: first, source: 'rondb', facts, signal })
    await catalog.keepFacts({ id: first, source: 'shop', facts, signal })
    await putText(storage, `nightly/${first}/deep/facts-x.json`, '{}')
    expect(await catalog.facts(first)).toEqual({ rondb: facts, shop: facts })
    expect(await catalog.facts(second)).toEqual({})
  })

  test('damaged facts are an error and not an empty run', async () => {
    await putText(storage, `nightly/${first}/facts-rondb.json`, '{"server":')
    await expect(catalog.facts(first)).rejects.toMatchObject({ kind: 'verification' })
  })

  describe('a manifest', () => {
    test('comes back as it was committed', async () => {
      await catalog.commit(manifestOf(first), signal)
      expect(await catalog.manifest(first)).toEqual(manifestOf(first))
      expect(await textAt(storage, `nightly/${first}.json`)).toBe(formatManifest(manifestOf(first)).toString())
    })

    test.each([
      ['of another backup', manifestOf(second)],
      ['of another plan', manifestOf(first, { plan: 'weekly' })],
    ])('%s under this key is refused', async (_, manifest) => {
      await storage.put(`nightly/${first}.json`, formatManifest(manifest), {})
      await expect(catalog.manifest(first)).rejects.toMatchObject({ kind: 'verification' })
    })
  })

  describe('find', () => {
    beforeEach(async () => {
      await putBackup(storage, first)
      await putBackup(storage, second)
      await putText(storage, `nightly/${third}/started.json`, JSON.stringify(startedOf(third)))
    })

    test.each([
      ['latest', second],
      [first, first],
      [Number(first), first],
      ['2026-11-20T23:41:00Z', second],
      ['2026-11-20T23:40:59.999Z', first],
      ['2026-11-20T23:40:00Z', first],
      ['2026-11-20 23:40', first],
      ['2026-11-21T00:40:30+01:00', first],
      ['2026-11-20', second],
      ['2030-01-01', second],
    ])('picks with %j backup %s', async (pick, id) => {
      expect((await catalog.find({ pick })).id).toBe(id)
    })

    test('reads a time without a zone as UTC, wherever it runs', async () => {
      vi.stubEnv('TZ', 'Asia/Tokyo')
      try {
        expect(new Date(0).getHours()).toBe(9)
        expect((await catalog.find({ pick: '2026-11-20T23:40:30' })).id).toBe(first)
      } finally {
        vi.unstubAllEnvs()
      }
    })

    test('takes nothing later than the bound that comes with it', async () => {
      expect((await catalog.find({ pick: 'latest', notAfter: new Date('2026-11-20T23:40:30Z') })).id).toBe(first)
      const later = catalog.find({ pick: second, notAfter: new Date('2026-11-20T23:40:30Z') })
      await expect(later).rejects.toMatchObject({ kind: 'nothing-matches' })
    })

    test.each(['2026-11-20T23:39:59Z', '2026-11-19', '1795217999', 5])(
      'finds nothing with %j and says what there is',
      async (pick) => {
        const hint = 'there are 2, the newest is 1795218060 of 2026-11-20T23:41:00Z'
        await expect(catalog.find({ pick })).rejects.toMatchObject({ kind: 'nothing-matches', hint })
      },
    )

    test('says that a run did not finish', async () => {
      const message = `run ${third} of plan nightly did not finish: storage main has no backup ${third}`
      await expect(catalog.find({ pick: third })).rejects.toMatchObject({ kind: 'nothing-matches', message })
    })

    test.each([
      '',
      'newest',
      'Latest!',
      '0',
      '4294967295',
      '007',
      '2026-02-30',
      '2026-13-01',
      '2026-11-20T25:00Z',
      'yesterday',
      '1.5',
    ])('refuses the pick %j', async (pick) => {
      await expect(catalog.find({ pick })).rejects.toMatchObject({ kind: 'configuration' })
    })

    test('never takes an older backup because the newest is damaged', async () => {
      await putText(storage, `nightly/${second}.json`, '{}')
      await expect(catalog.find({ pick: 'latest' })).rejects.toMatchObject({ kind: 'verification' })
    })

    test('goes by the manifest where the id tells no time', async () => {
      const adopted = manifestOf('265371530', { started: '2026-11-20T20:00:00Z' })
      await storage.put('nightly/265371530.json', formatManifest(adopted), {})
      expect((await catalog.find({ pick: '2026-11-20T21:00:00Z' })).id).toBe('265371530')
      await expect(catalog.find({ pick: '2026-11-20T19:00:00Z' })).rejects.toMatchObject({ kind: 'nothing-matches' })
    })
  })

  test('in an empty storage find says that there is none at all', async () => {
    await expect(catalog.find({ pick: 'latest' })).rejects.toMatchObject({ hint: 'there is no backup at all' })
  })

  test('runs are committed, running, or failed by their word or by their silence', async () => {
    const failed = { reason: 'disk full', kind: 'storage', finished: now.toISOString() }
    await putBackup(storage, first)
    for (const id of ['1795210000', second, third]) await catalog.claim({ id, started: startedOf(id), signal })
    expect(await catalog.fail(second, failed)).toBe(true)
    expect(await catalog.runs({ deadlineSeconds: 3600, now })).toEqual([
      { id: '1795210000', state: 'failed', started: startedOf('1795210000') },
      { id: first, state: 'committed' },
      { id: second, state: 'failed', started: startedOf(second), failed },
      { id: third, state: 'running', started: startedOf(third) },
    ])
  })

  test('remove takes away all of one backup and nothing else', async () => {
    await putBackup(storage, first, { 'users.sql': 'a', 'rondb/1/x.ctl': 'b' })
    await putText(storage, `nightly/${first}.keys-1.json`, '{}')
    await putBackup(storage, '17952180', { 'users.sql': 'c' })
    await putBackup(storage, second, { 'users.sql': 'c' })
    const before = await keysOf(storage)
    await catalog.remove(first, now)
    expect(await keysOf(storage)).toEqual(before.filter((key) => !key.includes(`/${first}`)))
  })
})

describe('remove', () => {
  const parts = { 'users.sql': 'a', 'rondb/1/x.ctl': 'b', 'rondb/2/y.ctl': 'c' }

  test('deletes the manifest first, then siblings, parts, and what says whose the folder is', async () => {
    const store = memoryStore()
    await putBackup(store, first, parts)
    await putText(store, `nightly/${first}.keys-1.json`, '{}')
    store.calls = []
    await openCatalog({ storage: store, plan: 'nightly' }).remove(first, now)
    expect(store.calls.filter((call) => call.startsWith('delete'))).toEqual([
      `delete nightly/${first}.json`,
      `delete nightly/${first}.keys-1.json`,
      `delete nightly/${first}/rondb/1/x.ctl nightly/${first}/rondb/2/y.ctl nightly/${first}/users.sql`,
      `delete nightly/${first}/started.json`,
    ])
  })

  test.each([1, 2, 3, 4])(
    'broken off at its delete %i, the backup is whole or a leftover that is swept',
    async (nth) => {
      for (const moment of ['before', 'after'] as const) {
        for (const adopted of [false, true]) {
          const store = memoryStore()
          const catalog = openCatalog({ storage: store, plan: 'nightly' })
          const manifest = await putBackup(store, first, parts)
          await putText(store, `nightly/${first}.keys-1.json`, '{}')
          if (adopted) store.objects.delete(`nightly/${first}/started.json`)
          let count = 0
          store[moment] = (call) => {
            if (call.startsWith('delete') && ++count >= nth) throw reset()
          }
          await expect(catalog.remove(first, now)).rejects.toThrow('connection reset')
          store[moment] = () => {}

          const { committed } = await catalog.ids()
          if (committed.length > 0)
            expect((await catalog.verify(manifest, { level: 'content', signal })).problems).toEqual([])
          else await sweepAll(catalog)
          if (committed.length > 0) await catalog.remove(first, now)
          expect(await keysOf(store, `nightly/${first}/`)).toEqual([])
        }
      }
    },
  )

  async function sweepAll(catalog: Catalog): Promise<void> {
    const patience = { keepFailedSeconds: 60, deadlineSeconds: 60, now: hours(9) }
    const leftovers = await catalog.leftovers({ ...(await catalog.ids()), ...patience })
    for (const { id, remove } of leftovers) {
      expect(remove).toBe(true)
      expect(await catalog.sweep(id, patience)).toBe(true)
    }
  }
})

describe('a removal that somebody was faster than', () => {
  const hold = { run: 'restore-1', by: 'restore a', since: hours(1).toISOString(), expires: hours(9).toISOString() }
  test.each<[string, (catalog: Catalog) => Promise<void>]>([
    ['a hold', (catalog) => catalog.guards.hold(first, hold)],
    ['a pin', (catalog) => catalog.guards.pin(first, { pinned: hours(1).toISOString() })],
  ])('leaves the backup as it was, with %s', async (_, guard) => {
    for (const begun of [true, false]) {
      const store = memoryStore()
      const catalog = openCatalog({ storage: store, plan: 'nightly' })
      await putBackup(store, first, { 'users.sql': 'x' })
      if (!begun) await store.delete([`nightly/${first}/started.json`])
      const before = new Map(store.objects)
      store.before = async (call) => {
        if (call !== `delete nightly/${first}.json`) return
        store.before = () => {}
        await guard(catalog)
      }
      expect(await catalog.remove(first, hours(2))).toBe(false)
      for (const key of await keysOf(store, `nightly/${first}.`)) if (/hold|pin/.test(key)) store.objects.delete(key)
      expect(store.objects).toEqual(before)
    }
  })
})

describe('leftovers', () => {
  const limits = { keepFailedSeconds: 48 * 3600, deadlineSeconds: 24 * 3600 }

  async function judge({
    age,
    limit = limits,
    modified = new Date(0),
  }: {
    age: number
    limit?: typeof limits
    modified?: Date
  }) {
    const store = memoryStore()
    store.modified = modified
    const catalog = openCatalog({ storage: store, plan: 'nightly' })
    await catalog.claim({ id: third, started: startedOf(third), signal })
    const [leftover] = await catalog.leftovers({ ...(await catalog.ids()), ...limit, now: hours(age) })
    return leftover
  }

  test.each([
    ['within the deadline', { age: 23 }, false],
    ['within keepFailed', { age: 47 }, false],
    ['older than both', { age: 49 }, true],
    [
      'within a deadline that is longer than keepFailed',
      { age: 49, limit: { ...limits, deadlineSeconds: 72 * 3600 } },
      false,
    ],
    ['taken up again an hour ago', { age: 100, modified: hours(99) }, false],
    ['from the future', { age: -5 }, false],
  ])('%s: removed %#', async (_, options, remove) => {
    expect(await judge(options)).toMatchObject({ id: third, remove })
  })

  test('a folder that no run of ours began is left alone for ever', async () => {
    const store = memoryStore()
    const catalog = openCatalog({ storage: store, plan: 'nightly' })
    await putText(store, 'nightly/265371530/users.sql', 'x')
    await putText(store, 'nightly/265371530/rondb/1/BACKUP-265371530.1.ctl', 'x')
    const [leftover] = await catalog.leftovers({ ...(await catalog.ids()), ...limits, now: hours(9999) })
    expect(leftover).toEqual({ id: '265371530', remove: false, reason: 'not begun by holdfast: left alone' })
  })

  test('one that was committed meanwhile is not swept', async () => {
    const store = memoryStore()
    const catalog = openCatalog({ storage: store, plan: 'nightly' })
    await putBackup(store, first, { 'users.sql': 'x' })
    const before = await keysOf(store)
    expect(await catalog.sweep(first, { ...limits, now: hours(99) })).toBe(false)
    expect(await keysOf(store)).toEqual(before)
  })

  test('one that was begun anew since it was judged is not swept', async () => {
    const store = memoryStore()
    const catalog = openCatalog({ storage: store, plan: 'nightly' })
    const patience = { ...limits, now: hours(99) }
    await putText(store, `nightly/${first}/started.json`, JSON.stringify(startedOf(first)))
    await putText(store, `nightly/${first}/users.sql`, 'x')
    expect(await catalog.leftovers({ ...(await catalog.ids()), ...patience })).toMatchObject([{ remove: true }])
    const again = { ...startedOf(first), started: hours(98).toISOString() }
    await putText(store, `nightly/${first}/started.json`, JSON.stringify(again))
    const before = await keysOf(store)
    expect(await catalog.sweep(first, patience)).toBe(false)
    expect(await keysOf(store)).toEqual(before)
  })

  test('one that is held is not swept before the hold is over', async () => {
    const store = memoryStore()
    const catalog = openCatalog({ storage: store, plan: 'nightly' })
    await putText(store, `nightly/${first}/started.json`, JSON.stringify(startedOf(first)))
    const hold = { run: 'copy-1', by: 'copy away', since: hours(98).toISOString(), expires: hours(100).toISOString() }
    await catalog.guards.hold(first, hold)
    expect(await catalog.sweep(first, { ...limits, now: hours(99) })).toBe(false)
    expect(await keysOf(store)).toHaveLength(2)
    expect(await catalog.sweep(first, { ...limits, now: hours(101) })).toBe(true)
    expect(await keysOf(store)).toEqual([])
  })

  test('sweep takes siblings along', async () => {
    const store = memoryStore()
    const catalog = openCatalog({ storage: store, plan: 'nightly' })
    await putText(store, `nightly/${first}/started.json`, '{}')
    await putText(store, `nightly/${first}.pin.json`, '{}')
    expect(await catalog.sweep(first, { ...limits, now: hours(99) })).toBe(true)
    expect(await keysOf(store)).toEqual([])
  })
})

describe('under faults', () => {
  test('a claim whose answer was lost is ours and takes one id', async () => {
    const store = memoryStore()
    let lost = false
    store.after = (call) => {
      if (!call.startsWith('put') || lost) return
      lost = true
      throw reset()
    }
    const catalog = openCatalog({ storage: store, plan: 'nightly', waits: [0] })
    expect(await catalog.claim({ id: first, started: startedOf(first), signal })).toBe(first)
    expect(await keysOf(store)).toEqual([`nightly/${first}/started.json`])
  })

  test('fail never rejects', async () => {
    const store = memoryStore()
    store.before = () => {
      throw reset()
    }
    const catalog = openCatalog({ storage: store, plan: 'nightly' })
    expect(await catalog.fail(first, { reason: 'x', kind: 'server', finished: now.toISOString() })).toBe(false)
  })

  test('a listing that fails is an error and not an empty catalog', async () => {
    const store = memoryStore()
    await putBackup(store, first)
    store.before = () => {
      throw new JobError('storage', 'no such bucket')
    }
    await expect(openCatalog({ storage: store, plan: 'nightly' }).find({ pick: 'latest' })).rejects.toMatchObject({
      kind: 'storage',
    })
  })

  test('a backup that a prune removes between listing and reading is passed by', async () => {
    const store = memoryStore()
    await putBackup(store, first)
    await putBackup(store, second)
    store.before = (call) => {
      if (call === `get nightly/${second}.json`) store.objects.delete(`nightly/${second}.json`)
    }
    expect((await openCatalog({ storage: store, plan: 'nightly' }).find({ pick: 'latest' })).id).toBe(first)
  })
})

test('10 000 backups take one listing, and the latest one read more', async () => {
  const store = memoryStore()
  for (let i = 0; i < 10_000; i++) {
    const id = String(Number(first) + i * 60)
    store.objects.set(`nightly/${id}.json`, formatManifest(manifestOf(id)))
    store.objects.set(`nightly/${id}/started.json`, Buffer.from('{}'))
  }
  const catalog = openCatalog({ storage: store, plan: 'nightly' })
  expect((await catalog.ids()).committed).toHaveLength(10_000)
  expect(store.calls).toEqual(['list nightly/'])
  await catalog.find({ pick: 'latest' })
  expect(store.calls).toEqual(['list nightly/', 'list nightly/', `get nightly/${Number(first) + 9999 * 60}.json`])
})
