import { readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type S3Proxy, type S3Request, startS3Proxy } from '../fakes/s3-proxy.ts'
import { slowly } from '../patience.ts'
import { type NdbCluster, startNdb } from '../servers/ndb.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { type HeldClients, heldClients } from './clients.ts'
import {
  compare,
  emptyCluster,
  openWorkspace,
  prepareAccount,
  type Ran,
  type Started,
  sourceOf,
  succeeds,
  targetOf,
  type Workspace,
} from './harness.ts'
import { diskObjects, programs } from './programs.ts'

const s3 = await startS3()
const cluster = s3 && (await startNdb({ dataNodes: 2, ldm: 2 }))

/** Where a run is stopped: at a request to the storage, at a client, or when a step is done. */
type Point =
  | { request: (request: S3Request) => boolean; when: 'before' | 'after' }
  | { client: string; pattern: string; when: 'before' | 'after' }
  | { step: string }

const put = (ending: string) => (request: S3Request) =>
  request.operation === 'PutObject' && request.key.endsWith(ending)
const get = (ending: string) => (request: S3Request) =>
  request.operation === 'GetObject' && request.key.endsWith(ending)
const manifest = (request: S3Request) => request.operation === 'PutObject' && /\/\d+\.json$/.test(request.key)

const backupPoints: [string, Point][] = [
  ['while it looks at the cluster', { client: 'ndb_mgm', pattern: '*SHOW*', when: 'before' }],
  ['before its id is claimed', { request: put('started.json'), when: 'before' }],
  ['when its id is claimed', { request: put('started.json'), when: 'after' }],
  ['before users.sql is stored', { request: put('users.sql'), when: 'before' }],
  ['while mysqldump runs', { client: 'mysqldump', pattern: '*--databases*', when: 'before' }],
  ['when databases.sql is stored', { request: put('databases.sql'), when: 'after' }],
  ['before START BACKUP', { client: 'ndb_mgm', pattern: '*START BACKUP*', when: 'before' }],
  ['after START BACKUP', { client: 'ndb_mgm', pattern: '*START BACKUP*', when: 'after' }],
  ['before its facts are kept', { request: put('facts-rondb.json'), when: 'before' }],
  ['when its facts are kept', { request: put('facts-rondb.json'), when: 'after' }],
  ['before a data file is stored', { request: put('.Data'), when: 'before' }],
  ['when a data file is stored', { request: put('.Data'), when: 'after' }],
  ['before the list of a node is stored', { request: put('/rondb/1/parts.json'), when: 'before' }],
  ['when the list of a node is stored', { request: put('/rondb/2/parts.json'), when: 'after' }],
  ['before the commit', { request: manifest, when: 'before' }],
]

const restorePoints: [string, Point][] = [
  ['while it downloads', { request: get('.Data'), when: 'before' }],
  ['before the tables are made', { client: 'ndb_restore', pattern: '*--restore-meta*', when: 'before' }],
  ['when the tables are made', { client: 'ndb_restore', pattern: '*--restore-meta*', when: 'after' }],
  ['before the rows of a node', { client: 'ndb_restore', pattern: '*--restore-data*', when: 'before' }],
  ['after the rows of a node', { client: 'ndb_restore', pattern: '*--restore-data*', when: 'after' }],
  ['before the indexes', { client: 'ndb_restore', pattern: '*--rebuild-indexes*', when: 'before' }],
  ['after the indexes', { client: 'ndb_restore', pattern: '*--rebuild-indexes*', when: 'after' }],
  ['when its marker is written', { step: 'fetch' }],
  ['before the accounts', { step: 'sync' }],
  ['before views and routines', { step: 'local' }],
  ['before the grants', { step: 'objects' }],
]

const halfway: Point = { client: 'ndb_restore', pattern: '*--restore-data*', when: 'after' }

interface Held {
  held: Promise<unknown>
  release(): unknown
}

describe.skipIf(!s3 || !cluster)('a run that is killed', () => {
  const [server, rondb] = [s3, cluster] as [S3Server, NdbCluster]
  let work: Workspace
  let proxy: S3Proxy
  let clients: HeldClients
  let before: string

  beforeAll(async () => {
    work = await openWorkspace()
    proxy = await startS3Proxy(server.endpoint)
    clients = await heldClients(work.dir, rondb.binDir)
    await prepareAccount(rondb)
    await emptyCluster(rondb)
    // a cluster that is used again may have local copies of other tests
    for (const node of rondb.nodeIds) await rm(rondb.backupFolder(node), { recursive: true, force: true })
    for (const object of diskObjects) await rondb.sql(object).catch(() => {})
    await rondb.sql(await readFile(join(import.meta.dirname, 'seed.sql'), 'utf8'))
    for (const program of programs) await rondb.sql(program)
    before = join(work.dir, 'before.json')
    expect(await compare('save', before, rondb.mysql[0]?.socket ?? '')).toBe('')
    const bucket = await server.createBucket()
    work.values.storages = {
      s3: {
        s3: {
          endpoint: proxy.endpoint,
          bucket,
          region: 'us-east-1',
          prefix: 'some/where',
          credentials: { secret: 's3' },
        },
      },
    }
    work.values.backups.nightly = {
      storages: ['s3'],
      deadline: '1s',
      keepFailed: '1s',
      sources: [sourceOf(rondb, { clients: clients.folder, localTables: 'dump' })],
    }
  })

  afterAll(async () => {
    await proxy.stop()
    await rondb.destroy()
    await server.stop()
    await work.remove()
  })

  /** Starts a run, waits until it is at the point, kills it there and lets go of what was held. */
  async function killAt(point: Point, ...args: string[]): Promise<Ran> {
    const held = 'step' in point ? undefined : await holdAt(point)
    const run = work.start(...args)
    await atOrEnded('step' in point ? run.says(`"step":"${point.step}"`) : (held as Held).held, run)
    run.kill('SIGKILL')
    const ran = await run.done
    await held?.release()
    return ran
  }

  async function holdAt(point: Exclude<Point, { step: string }>): Promise<Held> {
    if ('client' in point) return clients.hold(point.client, point.pattern, point.when)
    return proxy.holdNext(point.request, point.when)
  }

  async function atOrEnded(held: Promise<unknown>, run: Started): Promise<void> {
    const ended = run.done.then(({ summary, code }) => {
      throw new Error(`the run ended with ${code} before the point: ${summary.error ?? ''}`)
    })
    ended.catch(() => {})
    await Promise.race([held, ended])
  }

  async function listed(): Promise<string[]> {
    const { stdout } = await succeeds(work.holdfast('list', 'nightly', '--output', 'json'))
    return (JSON.parse(stdout) as { id: string }[]).map((row) => row.id)
  }

  describe('while it backs up', () => {
    test.each(backupPoints)('%s is never listed, and the next backup works', async (_, point) => {
      const known = await listed()
      const killed = await killAt(point, 'backup', 'nightly')
      expect(killed.code).toBe(-1)
      expect(await listed()).toEqual(known)
      const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
      expect(await listed()).toEqual([summary.backup, ...known])
    })

    test('after the commit is a backup', async () => {
      const known = await listed()
      await killAt({ request: manifest, when: 'after' }, 'backup', 'nightly')
      const [newest, ...others] = await listed()
      expect(others).toEqual(known)
      await succeeds(work.holdfast('verify', 'nightly', `${newest}`))
    })

    test('leaves nothing that prune does not sweep, and no backup is touched', async () => {
      const ids = await listed()
      const leaves = async () => (await work.holdfast('prune', 'nightly', '--dry-run')).stdout.includes('leave')
      await vi.waitUntil(async () => !(await leaves()), slowly)
      await succeeds(work.holdfast('prune', 'nightly'))
      const { stdout } = await succeeds(work.holdfast('list', 'nightly', '--runs', '--output', 'json'))
      expect((JSON.parse(stdout) as { state: string }[]).every((row) => row.state === 'committed')).toBe(true)
      expect(await listed()).toEqual(ids)
      expect(
        await server.uploadsIn(
          Object.values(work.values.storages).map((one) => (one as { s3: { bucket: string } }).s3.bucket)[0] ?? '',
        ),
      ).toEqual([])
    })

    test('is taken up again with --resume: the same id, and what is intact is not sent again', async () => {
      const known = await listed()
      await killAt({ request: manifest, when: 'before' }, 'backup', 'nightly')
      const from = proxy.requests.length
      const { summary } = await succeeds(work.holdfast('backup', 'nightly', '--resume'))
      expect(await listed()).toEqual([summary.backup, ...known])
      const sent = proxy.requests
        .slice(from)
        .filter((request) => request.operation === 'PutObject' && request.key.endsWith('.Data'))
      expect(sent).toEqual([])
      expect(summary).not.toHaveProperty('warnings')
      await succeeds(work.holdfast('verify', 'nightly', `${summary.backup}`))
    })

    test('is taken up again after the upload of one node was cut: the rest is sent, and all of it is right', async () => {
      await killAt({ request: put('/rondb/2/parts.json'), when: 'before' }, 'backup', 'nightly')
      const { summary } = await succeeds(work.holdfast('backup', 'nightly', '--resume'))
      await succeeds(work.holdfast('verify', 'nightly', `${summary.backup}`, '--level', 'readable'))
    })

    test('removes the local copies of the runs that it takes the place of', async () => {
      await succeeds(work.holdfast('backup', 'nightly'))
      for (const node of rondb.nodeIds) expect(await readdir(rondb.backupFolder(node))).toEqual([])
    })
  })

  describe('while it restores', () => {
    beforeEach(() => emptyCluster(rondb))

    test.each(restorePoints)(
      '%s completes when it is run again, without overwrite, and a third time says it is restored',
      async (_, point) => {
        expect((await killAt(point, 'restore', '--backup', 'nightly')).code).toBe(-1)
        await succeeds(work.holdfast('restore', '--backup', 'nightly'))
        expect(await compare(before, rondb.mysql[0]?.socket ?? '')).toBe('')
        const third = await succeeds(work.holdfast('restore', '--backup', 'nightly'))
        expect(third.summary).toMatchObject({ steps: { rondb: 'already restored' } })
      },
    )

    test('never touches a foreign table that came into the target meanwhile', async () => {
      await killAt(
        { client: 'ndb_restore', pattern: '*--rebuild-indexes*', when: 'after' },
        'restore',
        '--backup',
        'nightly',
      )
      await rondb.sql(
        'CREATE DATABASE IF NOT EXISTS shop; CREATE TABLE shop.foreign_one (a INT PRIMARY KEY) ENGINE=NDB; INSERT INTO shop.foreign_one VALUES (1), (2)',
      )
      const refused = await work.holdfast('restore', '--backup', 'nightly')
      expect(refused).toMatchObject({ code: 21, summary: { error: expect.stringContaining('foreign_one') } })
      expect(await rondb.sql('SELECT COUNT(*) AS n FROM shop.foreign_one')).toEqual([{ n: 2 }])
      await rondb.sql('DROP TABLE shop.foreign_one')
      await succeeds(work.holdfast('restore', '--backup', 'nightly'))
      expect(await compare(before, rondb.mysql[0]?.socket ?? '')).toBe('')
    })

    test('holds off a second restore into the same target', async () => {
      const held = await holdAt({ client: 'ndb_restore', pattern: '*--restore-data*', when: 'before' })
      const first = work.start('restore', '--backup', 'nightly')
      await atOrEnded(held.held, first)
      const second = await work.holdfast('restore', '--backup', 'nightly')
      expect(second).toMatchObject({ code: 25, summary: { kind: 'busy' } })
      await held.release()
      await succeeds(first.done)
      expect(await compare(before, rondb.mysql[0]?.socket ?? '')).toBe('')
    })
  })

  test('or held up while another one of its request was faster says so, and changes nothing', async () => {
    if ((await listed()).length === 0) await succeeds(work.holdfast('backup', 'nightly'))
    await emptyCluster(rondb)
    const held = await holdAt({ request: get('.Data'), when: 'before' })
    const slow = work.start('restore', '--backup', 'nightly', '--overwrite')
    await atOrEnded(held.held, slow)
    await succeeds(work.holdfast('restore', '--backup', 'nightly'))
    await rondb.sql('INSERT INTO shop.empty_one VALUES (99)')
    await held.release()
    expect(await slow.done).toMatchObject({
      code: 25,
      summary: { error: 'another run of the same request restored meanwhile' },
    })
    expect(await rondb.sql('SELECT a FROM shop.empty_one')).toEqual([{ a: 99 }])
  })

  describe('whose request is made again', () => {
    let older: string
    let newer: string
    let restores: Workspace['values']['restores']

    beforeAll(async () => {
      const from = { plan: 'small', storages: ['local'] }
      const targets = [targetOf(rondb, { clients: clients.folder })]
      work.values.storages.local = { filesystem: { path: work.store } }
      work.values.backups.small = { storages: ['local'], sources: [sourceOf(rondb, { clients: clients.folder })] }
      restores = { once: { from, targets }, standby: { from, targets, schedule: '0 4 * * *' } }
      await emptyCluster(rondb)
      await rondb.sql(`CREATE DATABASE small; CREATE TABLE small.both_have (a INT PRIMARY KEY) ENGINE=NDB;
        CREATE TABLE small.older_has (a INT PRIMARY KEY) ENGINE=NDB; INSERT INTO small.both_have VALUES (1)`)
      older = `${(await succeeds(work.holdfast('backup', 'small'))).summary.backup}`
      await rondb.sql(`DROP TABLE small.older_has; CREATE TABLE small.newer_has (a INT PRIMARY KEY) ENGINE=NDB;
        INSERT INTO small.both_have VALUES (2)`)
      newer = `${(await succeeds(work.holdfast('backup', 'small'))).summary.backup}`
    })

    beforeEach(async () => {
      work.values.restores = structuredClone(restores)
      await emptyCluster(rondb)
      // a test that failed may have left it away
      await rename(manifestOf(newer), join(work.dir, newer)).catch(() => {})
    })

    const manifestOf = (id: string) => join(work.store, 'small', `${id}.json`)
    // the manifest is what makes it a backup
    const takeNewer = () => rename(join(work.dir, newer), manifestOf(newer))
    async function content() {
      const tables = await rondb.sql<{ name: string }>(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'small' ORDER BY name",
      )
      const rows = await rondb.sql<{ a: number }>('SELECT a FROM small.both_have ORDER BY a')
      return { tables: tables.map(({ name }) => name), rows: rows.map(({ a }) => a) }
    }
    const contentOf = {
      older: { tables: ['both_have', 'older_has'], rows: [1] },
      newer: { tables: ['both_have', 'newer_has'], rows: [1, 2] },
    }

    test('completes with the backup that it began with, though there is a newer one by now', async () => {
      await killAt(halfway, 'restore', 'once')
      await takeNewer()
      work.values.restores.once = { ...work.values.restores.once, maxAge: '1s' }
      const { summary } = await succeeds(work.holdfast('restore', 'once'))
      expect(summary.backup).toBe(older)
      expect(await content()).toEqual(contentOf.older)
    })

    test('is carried out once, whatever came since: a newer backup, lost tables, age, overwrite', async () => {
      await succeeds(work.holdfast('restore', 'once'))
      await takeNewer()
      await rondb.sql('DROP TABLE small.older_has; INSERT INTO small.both_have VALUES (99)')
      work.values.restores.once = { ...work.values.restores.once, maxAge: '1s' }
      const again = await succeeds(work.holdfast('restore', 'once', '--overwrite'))
      expect(again.summary).toMatchObject({ backup: older, steps: { rondb: 'already restored' } })
      expect(again.stdout).toContain(`restored backup ${older}; another token carries it out again`)
      expect(await content()).toEqual({ tables: ['both_have'], rows: [1, 99] })
      const token = await work.holdfast('restore', 'once', '--overwrite', '--token', 'again')
      expect(token).toMatchObject({ code: 20, summary: { error: expect.stringContaining('maxAge') } })
    })

    test('is not carried out again when another one replaced what it brought', async () => {
      await succeeds(work.holdfast('restore', 'once'))
      await succeeds(work.holdfast('restore', 'once', '--overwrite', '--token', 'other'))
      await rondb.sql('INSERT INTO small.both_have VALUES (98)')
      const again = await succeeds(work.holdfast('restore', 'once', '--overwrite'))
      expect(again.stdout).toContain('another restore has changed the target since')
      expect((await content()).rows).toContain(98)
    })

    test('says so when the backup that it began with is gone, and changes nothing', async () => {
      await killAt(halfway, 'restore', 'once')
      await takeNewer()
      await rename(manifestOf(older), join(work.dir, older))
      const ran = await work.holdfast('restore', 'once')
      await rename(join(work.dir, older), manifestOf(older))
      expect(ran).toMatchObject({
        code: 20,
        summary: { error: expect.stringContaining(`no backup ${older}, and rondb was begun with it`) },
      })
      expect((await content()).rows).toEqual([1])
    })

    test('with a schedule takes the newest backup, in place of what was left unfinished of an older one', async () => {
      await killAt(halfway, 'restore', 'standby')
      await takeNewer()
      await rondb.sql('CREATE TABLE small.foreign_one (a INT PRIMARY KEY) ENGINE=NDB')
      const refused = await work.holdfast('restore', 'standby')
      expect(refused).toMatchObject({
        code: 21,
        summary: { error: expect.stringContaining('(1 object: foreign_one)') },
      })
      await rondb.sql('DROP TABLE small.foreign_one')
      await killAt({ step: 'fetch' }, 'restore', 'standby')
      expect((await succeeds(work.holdfast('restore', 'standby'))).summary.backup).toBe(newer)
      expect(await content()).toEqual(contentOf.newer)
      const again = await succeeds(work.holdfast('restore', 'standby'))
      expect(again.summary).toMatchObject({ backup: newer, steps: { rondb: 'already restored' } })
      work.values.restores.standby = { ...work.values.restores.standby, maxAge: '1s' }
      expect((await work.holdfast('restore', 'standby')).code).toBe(20)
    })

    test('with a schedule restores every newer backup, over a finished one only with overwrite', async () => {
      await succeeds(work.holdfast('restore', 'standby'))
      expect(await content()).toEqual(contentOf.older)
      await takeNewer()
      expect((await work.holdfast('restore', 'standby')).code).toBe(21)
      expect(await content()).toEqual(contentOf.older)
      await succeeds(work.holdfast('restore', 'standby', '--overwrite'))
      expect(await content()).toEqual(contentOf.newer)
    })
  })

  describe('beside a backup of the same cluster', () => {
    beforeAll(async () => {
      if ((await listed()).length === 0) await succeeds(work.holdfast('backup', 'nightly'))
    })

    beforeEach(() => emptyCluster(rondb))

    test('keeps it away while it restores, and until it is completed', async () => {
      const known = await listed()
      const held = await holdAt(halfway)
      const run = work.start('restore', '--backup', 'nightly')
      await atOrEnded(held.held, run)
      for (const verb of ['backup', 'check']) {
        const ran = await work.holdfast(verb, 'nightly')
        expect(ran.code).toBe(25)
        expect(ran.stderr).toContain(`backup ${known[0]} of plan nightly is being restored into this cluster`)
      }
      run.kill('SIGKILL')
      await run.done
      await held.release()
      const { code, summary } = await work.holdfast('backup', 'nightly')
      expect(code).toBe(25)
      expect(summary.error).toBe(`the restore of backup ${known[0]} of plan nightly into this cluster is unfinished`)
      expect(await listed()).toEqual(known)
      await succeeds(work.holdfast('restore', '--backup', 'nightly'))
      await succeeds(work.holdfast('backup', 'nightly'))
    })

    test('is noticed by one that began before it: the backup is taken anew', async () => {
      const held = await holdAt({ client: 'ndb_mgm', pattern: '*START BACKUP*', when: 'before' })
      const run = work.start('backup', 'nightly')
      await atOrEnded(held.held, run)
      await succeeds(work.holdfast('restore', '--backup', 'nightly'))
      await held.release()
      const { summary, stderr } = await succeeds(run.done)
      expect(stderr).toContain('a backup was restored into the cluster during this one')
      await emptyCluster(rondb)
      await succeeds(work.holdfast('restore', '--backup', 'nightly', '--pick', `${summary.backup}`))
      expect(await compare(before, rondb.mysql[0]?.socket ?? '')).toBe('')
    })
  })

  describe('with SIGTERM', () => {
    test('during START BACKUP aborts the backup of NDB, says so in failed.json and ends with 143', async () => {
      const known = await listed()
      const held = await holdAt({ client: 'ndb_mgm', pattern: '*START BACKUP*', when: 'before' })
      const run = work.start('backup', 'nightly')
      await atOrEnded(held.held, run)
      run.kill('SIGTERM')
      const ran = await run.done
      await held.release()
      expect(ran).toMatchObject({ code: 143, summary: { kind: 'terminated' } })
      expect((await clients.calls()).some((call) => call.includes('ABORT BACKUP'))).toBe(true)
      expect(await listed()).toEqual(known)
      const { stdout } = await work.holdfast('list', 'nightly', '--runs', '--output', 'json')
      expect(stdout).toContain('stopped by SIGTERM')
    })

    test('or SIGINT during an upload ends with 143 or 130, and nothing is visible', async () => {
      for (const [signal, code] of [
        ['SIGTERM', 143],
        ['SIGINT', 130],
      ] as const) {
        const known = await listed()
        const held = await holdAt({ request: put('.Data'), when: 'before' })
        const run = work.start('backup', 'nightly')
        await atOrEnded(held.held, run)
        run.kill(signal)
        const ran = await run.done
        held.release()
        expect(ran.code).toBe(code)
        expect(await listed()).toEqual(known)
      }
    })
  })
})
