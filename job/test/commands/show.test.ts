import { expect, test } from 'vitest'
import { show } from '../../commands/show.ts'
import { JobError } from '../../errors.ts'
import { render } from '../../io/print.ts'
import { formatManifest } from '../../manifest.ts'
import { manifestOf, memoryStore, putBackup, putText, type Store } from '../catalog/store.ts'
import { fakeJob } from './fake-job.ts'

const id = '1795218000'
const manifest = manifestOf(id, {
  cluster: 'prod',
  parts: [
    { path: 'users.sql', size: 1024, sha256: 'a'.repeat(64) },
    { path: 'shop/dump.sql', size: 2048, sha256: 'b'.repeat(64) },
  ],
  sources: [
    {
      name: 'rondb',
      engine: 'rondb',
      server: { product: 'RonDB', version: '24.10.1' },
      tools: { ndb_mgm: '24.10.1' },
      facts: { stopGcp: 27, tables: Array.from({ length: 200 }, (_, i) => `shop.t${i}`) },
    },
    {
      name: 'shop',
      engine: 'mysql',
      server: { product: 'MySQL', version: '9.7.2' },
      tools: {},
      facts: { note: 'x'.repeat(300) },
    },
  ],
  warnings: ['table shop.audit is InnoDB'],
})

async function stored() {
  const main = memoryStore()
  await main.put(`nightly/${id}.json`, formatManifest(manifest), {})
  return main
}

test('json is the manifest itself', async () => {
  const result = await show(fakeJob({ storages: [await stored()], backups: { nightly: {} } }), {
    plan: 'nightly',
    pick: 'latest',
  })
  expect(JSON.parse(render(result, 'json'))).toEqual(manifest)
})

test('the table sums it up, source by source, with long facts cut', async () => {
  const result = await show(fakeJob({ storages: [await stored()], backups: { nightly: {} } }), {
    plan: 'nightly',
    pick: id,
  })
  const text = render(result, 'table')
  for (const line of [
    /^backup +1795218000$/m,
    /^cluster +prod$/m,
    /^finished +2026-11-20T23:41:30Z \(took 1m 30s\)$/m,
    /^size +3\.0 KiB in 2 parts$/m,
    /^source rondb +rondb: RonDB 24\.10\.1, 1\.0 KiB in 1 parts$/m,
    /^source shop +mysql: MySQL 9\.7\.2, 2\.0 KiB in 1 parts$/m,
    /^ {2}stopGcp +27$/m,
    /^ {2}tables +200 entries$/m,
    /^ {2}note +x{99}…$/m,
    /^warning: table shop\.audit is InnoDB$/m,
  ]) {
    expect(text).toMatch(line)
  }
})

test('the first storage that has the backup gives it', async () => {
  const storages = [memoryStore({ name: 'empty' }), await stored()]
  const { data } = await show(fakeJob({ storages, backups: { nightly: {} } }), { plan: 'nightly', pick: id })
  expect(data).toEqual(manifest)
})

test("the newest of all storages is shown, and a tie is the first one's", async () => {
  const storages = ['main', 'offsite', 'third'].map((name) => memoryStore({ name })) as [Store, Store, Store]
  for (const store of storages) await putBackup(store, '1795200000')
  for (const store of storages.slice(1)) await putBackup(store, id)
  const job = fakeJob({ storages, backups: { nightly: {} } })
  const found = await show(job, { plan: 'nightly', pick: 'latest' })
  expect(found.data).toMatchObject({ id })
  expect(render(found, 'table')).toMatch(/^storage +offsite$/m)
  const early = await show(job, { plan: 'nightly', pick: '2026-11-20T20:00:00Z' })
  expect(early.data).toMatchObject({ id: '1795200000' })
  expect(render(early, 'table')).toMatch(/^storage +main$/m)
  expect(job.warnings).toEqual([])
})

test('an older backup is not shown in place of one whose manifest is damaged', async () => {
  const storages = [memoryStore(), memoryStore({ name: 'offsite' })] as const
  await putBackup(storages[0], '1795200000')
  await putText(storages[1], `nightly/${id}.json`, '{}')
  const job = fakeJob({ storages: [...storages], backups: { nightly: {} } })
  await expect(show(job, { plan: 'nightly', pick: 'latest' })).rejects.toMatchObject({ kind: 'verification' })
  expect((await show(job, { plan: 'nightly', pick: '1795200000' })).data).toMatchObject({ id: '1795200000' })
})

test('a storage that cannot answer is a warning when another one has the backup', async () => {
  const offline = memoryStore({ name: 'offline' })
  offline.before = () => {
    throw new JobError('storage', 'connection refused')
  }
  const job = fakeJob({ storages: [offline, await stored()], backups: { nightly: {} } })
  expect((await show(job, { plan: 'nightly', pick: id })).data).toEqual(manifest)
  expect(job.warnings).toEqual(['storage offline could not say what it has: connection refused'])
  const alone = fakeJob({ storages: [offline, memoryStore()], backups: { nightly: {} } })
  await expect(show(alone, { plan: 'nightly', pick: id })).rejects.toMatchObject({ kind: 'storage' })
})

test('what is nowhere matches nothing', async () => {
  const main = memoryStore()
  await putBackup(main, id)
  const job = fakeJob({ storages: [main, memoryStore({ name: 'offsite' })], backups: { nightly: {} } })
  await expect(show(job, { plan: 'nightly', pick: 5 })).rejects.toMatchObject({
    kind: 'nothing-matches',
    hint: expect.stringContaining('the newest is 1795218000'),
  })
})

test('a damaged manifest is an error', async () => {
  const main = memoryStore()
  await putText(main, `nightly/${id}.json`, '{}')
  const job = fakeJob({ storages: [main], backups: { nightly: {} } })
  await expect(show(job, { plan: 'nightly', pick: 'latest' })).rejects.toMatchObject({ kind: 'verification' })
})

test('names from a storage cannot write to the terminal', async () => {
  const main = memoryStore()
  await main.put(`nightly/${id}.json`, formatManifest({ ...manifest, cluster: 'a\u001b[2Jb\nc' }), {})
  const result = await show(fakeJob({ storages: [main], backups: { nightly: {} } }), { plan: 'nightly', pick: id })
  expect(render(result, 'table')).toMatch(/^cluster +a\?\[2Jb\?c$/m)
})

test.for([
  ['two parts', {}, /has 2 parts/],
  ['a storage that is not S3', { parts: [manifest.parts[0]] }, /is not in S3/],
] as const)('as Colonies does it does not tell of %s', async ([what, more, message]) => {
  const main = memoryStore()
  await main.put(`nightly/${id}.json`, formatManifest({ ...manifest, ...more } as typeof manifest), {})
  const job = fakeJob({ storages: [main], backups: { nightly: {} } })
  if (what === 'two parts') Object.assign(job.config.storages, { [main.name]: { s3: { bucket: 'b' } } })
  await expect(show(job, { plan: 'nightly', pick: id, format: 'colonies' })).rejects.toThrow(message)
})
