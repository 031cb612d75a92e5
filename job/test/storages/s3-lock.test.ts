import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import { type Pruned, prune } from '../../commands/prune.ts'
import { readAll, type Storage } from '../../storage.ts'
import { putBackup, signal } from '../catalog/store.ts'
import { fakeJob, now } from '../commands/fake-job.ts'
import { chunked, someBytes } from '../contracts/storage.ts'
import { type S3Proxy, startS3Proxy } from '../fakes/s3-proxy.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { openBucket } from './bucket.ts'

const MiB = 2 ** 20
const day = 86_400_000
const found = await startS3()
afterAll(() => found?.stop())

describe.skipIf(!found)('s3 with object lock', () => {
  const server = found as S3Server
  let proxy: S3Proxy
  let bucket: string
  let storage: Storage
  /** Locks are judged by the server's clock. */
  const written = new Date()
  const open = (values: object) => openBucket({ server, bucket, endpoint: proxy.endpoint, values, now: () => written })

  beforeEach(async () => {
    bucket = await server.createBucket({ objectLock: true })
    proxy = await startS3Proxy(server.endpoint)
    storage = open({ objectLock: { mode: 'governance', days: 3 } })
    return async () => {
      await storage.close()
      await proxy.stop()
    }
  })

  const lockedUntil = async (key: string) => (await server.lockOf(bucket, key))?.until.getTime() ?? 0

  test.each([
    ['a small object', 1000, {}],
    ['one that must be new', 1000, { ifAbsent: true }],
    ['an object of several parts', 12 * MiB, {}],
  ])('%s is locked for so many days, and every request that writes has a checksum', async (_, size, options) => {
    await storage.put('a/b', chunked(someBytes(size)), options)
    expect(Math.abs((await lockedUntil('a/b')) - written.getTime() - 3 * day)).toBeLessThan(1000)
    expect((await server.lockOf(bucket, 'a/b'))?.mode).toBe('GOVERNANCE')
    const writes = proxy.requests.filter(({ operation }) => ['PutObject', 'UploadPart'].includes(operation))
    expect(writes.length).toBeGreaterThan(0)
    for (const { headers } of writes) expect(headers['x-amz-checksum-crc32']).toMatch(/^[\w+/]{6}==$/)
    expect((await readAll(storage, 'a/b')).equals(someBytes(size))).toBe(true)
  })

  test('compliance is compliance', async () => {
    const strict = open({ objectLock: { mode: 'compliance', days: 1 } })
    await strict.put('a', Buffer.from('x'), {})
    await strict.close()
    expect((await server.lockOf(bucket, 'a'))?.mode).toBe('COMPLIANCE')
  })

  test('what is to be removed before long is not locked', async () => {
    await storage.put('a', Buffer.from('x'), { unlocked: true })
    expect(await server.lockOf(bucket, 'a')).toBeUndefined()
  })

  test('without the value nothing is locked', async () => {
    const plain = open({})
    await plain.put('a', Buffer.from('x'), {})
    await plain.close()
    expect(await server.lockOf(bucket, 'a')).toBeUndefined()
  })

  test('a bucket without object lock is a wrong value', async () => {
    bucket = await server.createBucket()
    const wrong = open({ objectLock: { mode: 'governance', days: 1 } })
    await expect(wrong.put('a', Buffer.from('x'), {})).rejects.toMatchObject({
      kind: 'configuration',
      message: expect.stringContaining('has no object lock'),
      hint: expect.stringContaining('storages.main.s3.objectLock'),
    })
    await wrong.close()
  })

  test('a backup is hidden by a prune, its bytes stay locked, and it comes back when the marks are removed', async () => {
    const ids = [1, 2].map((age) => String(now.getTime() / 1000 - age * 86_400))
    const [newest = '', old = ''] = ids
    for (const id of ids) await putBackup(storage, id, { 'users.sql': `of ${id}` })
    const catalog = openCatalog({ storage, plan: 'nightly' })
    const manifest = await catalog.manifest(old)
    const { data, failure } = await prune(
      fakeJob({ storages: [storage], backups: { nightly: { retention: { last: 1 } } } }),
      { plan: 'nightly' },
    )
    expect(failure).toBeUndefined()
    expect((data as Pruned[]).map(({ id, action }) => [id, action])).toEqual([
      [newest, 'keep'],
      [old, 'remove'],
    ])
    expect((await catalog.ids()).committed).toEqual([newest])
    const marks = (await server.versionsIn(bucket)).filter((line) => line.endsWith(' -'))
    expect(marks).toHaveLength(3)
    for (const line of await server.versionsIn(bucket)) {
      const [key = '', version = ''] = line.split(' ')
      if (!line.endsWith(' -')) await expect(server.removeVersion(bucket, key, version)).rejects.toThrow()
    }
    for (const mark of marks) {
      const [key = '', version = ''] = mark.split(' ')
      await server.removeVersion(bucket, key, version)
    }
    expect((await catalog.ids()).committed).toEqual([old, newest])
    expect((await catalog.verify(manifest, { level: 'content', signal })).problems).toEqual([])
  })

  test('pins and holds are taken back, and leave no lock behind', async () => {
    const { guards } = openCatalog({ storage, plan: 'nightly' })
    await guards.pin('7', { pinned: now.toISOString() })
    expect(await server.lockOf(bucket, 'nightly/7.pin.json')).toBeUndefined()
    await guards.unpin('7')
    expect(await guards.names('7')).toEqual([])
  })
})

describe.skipIf(!found)('a server that refuses to delete', () => {
  const server = found as S3Server
  const ids = [1, 2].map((age) => String(now.getTime() / 1000 - age * 86_400))
  const old = ids[1] ?? ''

  test('keeps the backup whole; the prune says so, and the next one removes it', async () => {
    const bucket = await server.createBucket()
    const proxy = await startS3Proxy(server.endpoint)
    const storage = openBucket({ server, bucket, endpoint: proxy.endpoint })
    for (const id of ids) await putBackup(storage, id, { 'users.sql': `of ${id}` })
    const catalog = openCatalog({ storage, plan: 'nightly' })
    const manifest = await catalog.manifest(old)
    const job = () => fakeJob({ storages: [storage], backups: { nightly: { retention: { last: 1 } } } })

    const message = 'Access Denied because object protected by object lock.'
    const refused = { answer: 403, code: 'AccessDenied', message }
    proxy.on(({ operation }) => operation.startsWith('DeleteObject'), refused, { times: 9 })
    const first = job()
    const { failure } = await prune(first, { plan: 'nightly' })
    expect(failure).toMatchObject({
      kind: 'storage',
      message: expect.stringContaining(`backup ${old} was not removed`),
    })
    expect(first.warnings).toEqual([expect.stringContaining('the object is locked')])
    expect((await catalog.verify(manifest, { level: 'content', signal })).problems).toEqual([])
    expect((await catalog.ids()).committed).toContain(old)

    proxy.clear()
    expect((await prune(job(), { plan: 'nightly' })).failure).toBeUndefined()
    expect(await Array.fromAsync(storage.list(`nightly/${old}`))).toEqual([])
    await storage.close()
    await proxy.stop()
  })
})
