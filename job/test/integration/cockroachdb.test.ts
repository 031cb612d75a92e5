import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Manifest } from '../../manifest.ts'
import { type Cockroach, startCockroach } from '../fakes/cockroach.ts'
import { patiently } from '../patience.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { openWorkspace, secrets, succeeds, type Workspace } from './harness.ts'

const found = await startS3()

const seeded = () => ({
  defaultdb: {},
  shop: { 'public.orders': 1000, 'public.order lines': 7, 'eu.customers': 3 },
  wiki: { 'public.pages': 12 },
})

describe.skipIf(!found)('cockroachdb', () => {
  const s3 = found as S3Server
  let cockroach: Cockroach
  let work: Workspace
  let bucket: string

  const source = (more = {}) => ({
    name: 'crdb',
    cockroachdb: {
      host: '127.0.0.1',
      port: cockroach.port,
      credentials: { secret: 'db' },
      tls: { mode: 'disabled' },
      ...more,
    },
  })

  beforeAll(async () => {
    work = await openWorkspace()
    await work.secret('wrong', { username: 'hf', password: 'pw-wrong' })
  })
  afterAll(async () => {
    await found?.stop()
    await work.remove()
  })
  beforeEach(async () => {
    await rm(work.store, { recursive: true, force: true })
    await mkdir(work.store)
    cockroach = await startCockroach(secrets.database)
    cockroach.databases = seeded()
    cockroach.users.push('ann')
    bucket = await s3.createBucket()
    work.values.storages.s3 = { s3: { bucket, prefix: 'prod', endpoint: s3.endpoint, credentials: { secret: 's3' } } }
    work.values.backups = { nightly: { storages: ['s3'], sources: [source()] } }
    work.values.restores = { once: { from: { plan: 'nightly', storages: ['s3'] }, targets: [source()] } }
  })
  afterEach(() => cockroach.close())

  async function backUp(): Promise<string> {
    return (await succeeds(work.holdfast('backup', 'nightly'))).summary.backup as string
  }

  function lose(): void {
    cockroach.databases = { defaultdb: {} }
    cockroach.users = ['root']
  }

  const begun = (start: string) => cockroach.said.filter(({ sql }) => sql.startsWith(start)).map(({ sql }) => sql)

  test('backs a cluster up into the bucket, copies it to the other storages, and restores it', async () => {
    work.values.backups.nightly = { storages: ['local', 's3'], sources: [source()] }
    const id = await backUp()
    const { sources, parts } = (await work.manifest('nightly', id)) as Manifest
    expect(sources[0]).toMatchObject({
      server: { product: 'CockroachDB', version: '23.2.4' },
      facts: { scope: 'cluster', endTime: '2026-11-21 15:00:00.123456+00', databases: ['defaultdb', 'shop', 'wiki'] },
    })
    expect(parts.map(({ path, size }) => [path, size > 0])).toEqual([
      ['crdb/collection/2026/11/21-150000.12/BACKUP_MANIFEST', true],
      ['crdb/collection/2026/11/21-150000.12/data/1.sst', true],
      ['crdb/collection/2026/11/21-150000.12/data/2.sst', false],
      ['crdb/collection/metadata/latest/LATEST-0001', true],
    ])
    await succeeds(work.holdfast('verify', 'nightly', '--storage', 's3'))
    await succeeds(work.holdfast('verify', 'nightly', '--storage', 'local'))

    const refused = await work.holdfast('restore', 'once')
    expect(refused.code).toBe(21)
    expect(refused.summary.error).toContain('database shop (3 tables); database wiki (1 tables)')
    lose()
    const ran = await succeeds(work.holdfast('restore', 'once'))
    expect(ran.summary).toMatchObject({ steps: { crdb: { prove: { databases: 3, tables: 4, rows: 1022 } } } })
    expect(cockroach.databases).toMatchObject(seeded())
    expect(cockroach.users).toEqual(['root', 'ann'])
    expect((await succeeds(work.holdfast('restore', 'once'))).summary).toMatchObject({
      steps: { crdb: 'already restored' },
    })
    expect(cockroach.connections.size).toBe(0)
  }, 180_000)

  test('replaces with overwrite what the backup has, and leaves other databases', async () => {
    await backUp()
    cockroach.databases.shop = { 'public.spoilt': 1 }
    cockroach.databases.other = { 'public.kept': 5 }
    await succeeds(work.holdfast('restore', 'once', '--overwrite'))
    expect(cockroach.databases).toMatchObject({ ...seeded(), other: { 'public.kept': 5 } })
    expect(cockroach.databases.shop).toEqual(seeded().shop)
  }, 180_000)

  test('encrypts with a passphrase, and asks for it at the restore', async () => {
    const encryption = { encryption: { secret: 'native' } }
    work.values.backups.nightly = { storages: ['s3'], sources: [source(encryption)] }
    await backUp()
    lose()
    const refused = await work.holdfast('restore', 'once')
    expect(refused).toMatchObject({ code: 2, summary: { error: expect.stringContaining('names no passphrase') } })
    work.values.restores.once = { from: { plan: 'nightly', storages: ['s3'] }, targets: [source(encryption)] }
    await succeeds(work.holdfast('restore', 'once'))
    expect(cockroach.databases).toMatchObject(seeded())
  }, 180_000)

  test.each([
    [{ include: { databases: ['shop'] } }, 'BACKUP DATABASE "shop" INTO', ['shop'], 'RESTORE DATABASE "shop" FROM'],
    [
      { include: { tables: ['shop.public.orders'] }, revisionHistory: true },
      'BACKUP TABLE "shop"."public"."orders" INTO',
      ['shop'],
      'RESTORE TABLE "shop"."public"."orders" FROM',
    ],
  ])(
    'takes what %j chooses',
    async (more, statement, databases, restoring) => {
      work.values.backups.nightly = { storages: ['s3'], sources: [source(more)] }
      await backUp()
      expect(begun('BACKUP')[0]).toContain(statement)
      lose()
      await succeeds(work.holdfast('restore', 'once'))
      expect(Object.keys(cockroach.databases).filter((name) => !['defaultdb', 'holdfast'].includes(name))).toEqual(
        databases,
      )
      expect(begun('RESTORE')[0]).toContain(restoring)
      expect(begun('RESTORE')).toHaveLength(1)
    },
    180_000,
  )

  test('restores an earlier time of a backup with its history, and of no other', async () => {
    const aim = (at: string) => {
      const { once } = work.values.restores
      work.values.restores.once = { ...once, targets: [source({ at })] }
    }
    cockroach.past = [
      { time: '2026-11-21T14:00:00Z', databases: { shop: { 'public.orders': 3 } } },
      { time: '2026-11-21T14:30:00Z', databases: { shop: { 'public.orders': 400 } } },
    ]
    await backUp()
    lose()
    aim('2026-11-21T14:45:00Z')
    const plain = await work.holdfast('restore', 'once')
    expect(plain).toMatchObject({ code: 2, summary: { error: expect.stringContaining('has one time only') } })
    work.values.backups.nightly = { storages: ['s3'], sources: [source({ revisionHistory: true })] }
    cockroach.databases = seeded()
    await backUp()
    lose()
    aim('2026-11-21T15:00:01Z')
    const late = await work.holdfast('restore', 'once')
    expect(late).toMatchObject({ code: 2, summary: { error: expect.stringContaining('is after the end of backup') } })
    expect(begun('RESTORE')).toEqual([])
    aim('2026-11-21T14:45:00Z')
    expect((await work.holdfast('restore', 'once', '--dry-run')).stdout).toContain('as of 2026-11-21T14:45:00Z')
    const { summary } = await succeeds(work.holdfast('restore', 'once'))
    expect(summary).toMatchObject({ steps: { crdb: { prove: { rows: 400 } } } })
    expect(cockroach.databases.shop).toEqual({ 'public.orders': 400 })
    // another time is another request
    cockroach.databases = { defaultdb: {} }
    aim('2026-11-21T14:00:00Z')
    await succeeds(work.holdfast('restore', 'once'))
    expect(cockroach.databases.shop).toEqual({ 'public.orders': 3 })
  }, 180_000)

  test('completes a restore that failed in the middle, without overwrite', async () => {
    await backUp()
    lose()
    cockroach.trouble = 'restore dies'
    expect(await work.holdfast('restore', 'once')).toMatchObject({
      code: 22,
      summary: { error: expect.stringContaining('node unavailable') },
    })
    cockroach.trouble = 'none'
    const half = await work.holdfast('backup', 'nightly')
    expect(half).toMatchObject({ code: 25, summary: { error: expect.stringContaining('is at work or did not end') } })
    cockroach.databases.wiki = { 'public.pages': 1 }
    await succeeds(work.holdfast('restore', 'once'))
    expect(cockroach.databases).toMatchObject(seeded())
  }, 180_000)

  test('cancels the job of the database when it is stopped', async () => {
    cockroach.trouble = 'job hangs'
    const run = work.start('backup', 'nightly')
    await run.says('backup begun in the database')
    await vi.waitUntil(() => cockroach.said.some(({ sql }) => sql.includes('[SHOW JOB')), patiently)
    run.kill('SIGTERM')
    expect((await run.done).code).toBe(143)
    expect(begun('CANCEL JOB')).toHaveLength(1)
    expect(cockroach.connections.size).toBe(0)
  }, 180_000)

  test.each([
    {
      what: 'a job that fails',
      trouble: 'job fails',
      values: {},
      code: 22,
      says: /backup of CockroachDB failed: AccessDenied/,
    },
    {
      what: 'a backup that is nowhere',
      trouble: 'nothing is written',
      values: {},
      code: 22,
      says: /does not contain a completed latest backup/,
    },
    {
      what: 'a backup that is written elsewhere',
      trouble: 'written elsewhere',
      values: {},
      code: 22,
      says: /left none in the storage/,
    },
    {
      what: 'a statement that starts no job',
      trouble: 'no job',
      values: {},
      code: 22,
      says: /started no job for the backup/,
    },
    {
      what: 'a job that somebody pauses',
      trouble: 'job is paused',
      values: {},
      code: 22,
      says: /somebody paused job \d+, the backup/,
    },
    {
      what: 'a privilege that lacks',
      trouble: 'no privilege',
      values: {},
      code: 22,
      says: /lacks a privilege.*EXTERNALCONNECTION/,
    },
    {
      what: 'a wrong password',
      trouble: 'none',
      values: { credentials: { secret: 'wrong' } },
      code: 22,
      says: /refused the login of hf/,
    },
    {
      what: 'a server that is not there',
      trouble: 'none',
      values: { port: 1 },
      code: 22,
      says: /127.0.0.1:1 cannot be reached/,
    },
    {
      what: 'a database that is not there',
      trouble: 'none',
      values: { include: { databases: ['nope'] } },
      code: 2,
      says: /no database nope/,
    },
    {
      what: 'another bucket',
      trouble: 'none',
      values: { storageEndpoint: 'http://127.0.0.1:1' },
      code: 22,
      says: /CockroachDB/,
    },
  ])(
    'stores no backup after $what',
    async ({ trouble, values, code, says }) => {
      cockroach.trouble = trouble as Cockroach['trouble']
      work.values.backups.nightly = { storages: ['s3', 'local'], sources: [source(values)] }
      const ran = await work.holdfast('backup', 'nightly')
      expect(ran.summary.error).toMatch(says)
      expect(ran.code).toBe(code)
      const files = await readdir(join(work.store, 'nightly')).catch(() => [])
      expect(files.filter((name) => /^\d+\.json$/.test(name))).toEqual([])
      // no job is left behind that writes on
      expect(begun('CANCEL JOB')).toHaveLength(trouble === 'job is paused' ? 1 : 0)
      expect(cockroach.connections.size).toBe(0)
    },
    180_000,
  )

  test('refuses a plan without a bucket, before anything is begun', async () => {
    work.values.backups.nightly = { storages: ['local'], sources: [source()] }
    const ran = await work.holdfast('backup', 'nightly')
    expect(ran.code).toBe(2)
    expect(ran.summary.error).toContain('reads and writes a bucket by itself, and local is none')
    expect(begun('BACKUP')).toEqual([])
  }, 180_000)

  test.each([
    ['CockroachDB CCL v23.1.9 (x86)', /23.1.9 is too old/],
    ['PostgreSQL 17.2 on x86_64', /is no CockroachDB/],
  ])(
    'refuses %s',
    async (version, says) => {
      cockroach.version = version
      const ran = await work.holdfast('check', 'nightly')
      expect(ran.code).toBe(22)
      expect(ran.stdout + ran.stderr).toMatch(says)
    },
    180_000,
  )

  test('finds rows that did not come back', async () => {
    await backUp()
    lose()
    cockroach.trouble = 'rows are lost'
    const ran = await work.holdfast('restore', 'once')
    expect(ran).toMatchObject({
      code: 24,
      summary: { error: expect.stringContaining('shop.public.orders has 1 rows instead of 1000') },
    })
  }, 180_000)

  test('reads all of a backup before anything is written, and refuses one that is damaged', async () => {
    const id = await backUp()
    cockroach.databases.shop = { 'public.other': 1 }
    const there = structuredClone(cockroach.databases)
    const { endpoint, accessKey: accessKeyId, secretKey: secretAccessKey } = s3
    const client = new S3Client({
      ...{ endpoint, region: 'us-east-1', forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } },
    })
    const Key = `prod/nightly/${id}/crdb/collection/2026/11/21-150000.12/data/1.sst`
    await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'y'.repeat(50_000) }))
    const ran = await work.holdfast('restore', 'once', '--overwrite')
    expect(ran).toMatchObject({ code: 24, summary: { error: expect.stringContaining('data/1.sst') } })
    expect(cockroach.databases).toEqual(there)
    expect(begun('RESTORE')).toEqual([])
  }, 180_000)

  test('is not restored into an older version', async () => {
    cockroach.version = 'CockroachDB CCL v24.3.1 (x86_64-pc-linux-gnu)'
    await backUp()
    lose()
    cockroach.version = 'CockroachDB CCL v24.1.9 (x86_64-pc-linux-gnu)'
    expect(await work.holdfast('restore', 'once')).toMatchObject({
      code: 22,
      summary: { error: expect.stringContaining('the backup is of CockroachDB 24.3.1, the target runs 24.1.9') },
    })
    expect(begun('RESTORE')).toEqual([])
  }, 180_000)

  test('drops nothing that came into the target while the backup was read', async () => {
    await backUp()
    lose()
    let looks = 0
    cockroach.onStatement = (sql) => {
      if (sql.startsWith('SELECT database_name AS name') && ++looks === 2)
        cockroach.databases.shop = { 'public.new': 1 }
    }
    const ran = await work.holdfast('restore', 'once')
    expect(ran).toMatchObject({ code: 21, summary: { error: expect.stringContaining('target changed') } })
    expect(cockroach.databases.shop).toEqual({ 'public.new': 1 })
    expect(cockroach.databases).not.toHaveProperty('holdfast')
  }, 180_000)

  test('gives keys and passphrases to the database in parameters only', async () => {
    work.values.backups.nightly = { storages: ['s3'], sources: [source({ encryption: { secret: 'native' } })] }
    await backUp()
    const statements = cockroach.said.map(({ sql }) => sql).join('\n')
    const parameters = cockroach.said.flatMap(({ values }) => values).join('\n')
    for (const secret of [secrets.s3, secrets.native]) {
      expect(statements).not.toContain(secret)
      expect(parameters).toContain(secret)
    }
  }, 180_000)
})
