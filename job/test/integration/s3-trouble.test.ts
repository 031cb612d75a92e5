import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type S3Proxy, type S3Request, startS3Proxy } from '../fakes/s3-proxy.ts'
import { type NdbCluster, startNdb } from '../servers/ndb.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { emptyCluster, openWorkspace, prepareAccount, sourceOf, succeeds, type Workspace } from './harness.ts'

const s3 = await startS3()
const cluster = s3 && (await startNdb({ dataNodes: 2, ldm: 2 }))

const on =
  (operation: string, ending = '') =>
  (request: S3Request) =>
    request.operation === operation && request.key.endsWith(ending)
const manifest = (request: S3Request) => request.operation === 'PutObject' && /\/\d+\.json$/.test(request.key)

describe.skipIf(!s3 || !cluster)('an S3 server in trouble', () => {
  const [server, rondb] = [s3, cluster] as [S3Server, NdbCluster]
  let work: Workspace
  let proxy: S3Proxy

  beforeAll(async () => {
    work = await openWorkspace()
    proxy = await startS3Proxy(server.endpoint)
    await prepareAccount(rondb)
    await emptyCluster(rondb)
    await rondb.sql(
      'CREATE DATABASE shop; CREATE TABLE shop.items (id INT PRIMARY KEY, filling VARBINARY(8000)) ENGINE=NDB',
    )
    await rondb.sql(
      'SET cte_max_recursion_depth = 10000; INSERT INTO shop.items WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, RANDOM_BYTES(1000) FROM n',
    )
    const bucket = await server.createBucket()
    // short patience, so that a stall is soon an error
    work.values.storages.s3 = {
      s3: { endpoint: proxy.endpoint, bucket, region: 'us-east-1', credentials: { secret: 's3' }, timeoutSeconds: 2 },
    }
    work.values.backups.nightly = { storages: ['s3'], sources: [sourceOf(rondb)] }
  })

  afterAll(async () => {
    await proxy.stop()
    await rondb.destroy()
    await server.stop()
    await work.remove()
  })

  async function listed(): Promise<string[]> {
    const { stdout } = await succeeds(work.holdfast('list', 'nightly', '--output', 'json'))
    return (JSON.parse(stdout) as { id: string }[]).map((row) => row.id)
  }

  test('that answers 500 and 503, resets, stalls and cuts short in every kind of request does not fail a backup or its restore', async () => {
    for (const operation of ['PutObject', 'ListObjectsV2', 'GetObject']) {
      proxy.on(on(operation), { answer: 503, code: 'SlowDown' })
      proxy.on(on(operation), { answer: 500, code: 'InternalError' }, { skip: 2 })
      proxy.on(on(operation), 'reset', { skip: 4 })
      proxy.on(on(operation), 'stall', { skip: 6 })
    }
    proxy.on(on('GetObject', '.Data'), { truncate: 70_000 }, { skip: 1 })
    const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
    await succeeds(work.holdfast('verify', 'nightly', `${summary.backup}`))
    await emptyCluster(rondb)
    await succeeds(work.holdfast('restore', '--backup', 'nightly'))
    expect(await rondb.sql('SELECT COUNT(*) AS n FROM shop.items')).toEqual([{ n: 3000 }])
  })

  test('that loses the answer to the commit has a backup, and the run says so', async () => {
    const known = await listed()
    proxy.on(manifest, 'lose')
    const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
    expect(await listed()).toEqual([summary.backup, ...known])
  })

  test.each([
    ['refuses every write of a dump', on('PutObject', 'users.sql')],
    ['refuses every commit', manifest],
  ])('that %s makes the run end with 23, and nothing is visible', async (_, match) => {
    const known = await listed()
    proxy.on(match, { answer: 503, code: 'SlowDown' }, { times: 1000 })
    const ran = await work.holdfast('backup', 'nightly')
    expect(ran).toMatchObject({ code: 23, summary: { kind: 'storage' } })
    proxy.clear()
    expect(await listed()).toEqual(known)
    await succeeds(work.holdfast('backup', 'nightly'))
  })

  test('that never answers a write ends the run with 23: no promise hangs', async () => {
    const known = await listed()
    proxy.on(on('PutObject', 'users.sql'), 'stall', { times: 1000 })
    const ran = await work.holdfast('backup', 'nightly')
    expect(ran.code).toBe(23)
    proxy.clear()
    expect(await listed()).toEqual(known)
  })

  test('and a promise that never settles ends in a code that is not 0', async () => {
    const never = 'data:text/javascript,Promise.allSettled = () => new Promise(() => {})'
    const config = join(work.dir, 'empty.yaml')
    await writeFile(config, 'storages: {}\n')
    const main = join(import.meta.dirname, '../../main.ts')
    const list = (...flags: string[]) =>
      spawnSync(process.execPath, [...flags, main, 'list', '--config', config]).status
    expect(list()).toBe(0)
    expect(list('--import', never)).toBe(1)
  })
})
