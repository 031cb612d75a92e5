import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type NdbCluster, startNdb } from '../servers/ndb.ts'
import {
  bytesIn,
  compare,
  emptyCluster,
  openWorkspace,
  prepareAccount,
  refuseSecrets,
  secrets,
  sourceOf,
  succeeds,
  targetOf,
  type Workspace,
} from './harness.ts'
import { diskObjects, programs } from './programs.ts'

const small = await startNdb({ dataNodes: 2, ldm: 2 })
const large = small && (await startNdb({ dataNodes: 4, ldm: 1, mysqlds: 2 }))

describe.skipIf(!small || !large)('a RonDB cluster', () => {
  const [two, four] = [small, large] as [NdbCluster, NdbCluster]
  let work: Workspace
  let before: string

  beforeAll(async () => {
    work = await openWorkspace()
    before = join(work.dir, 'before.json')
    for (const cluster of [two, four]) {
      await prepareAccount(cluster)
      await emptyCluster(cluster)
    }
    for (const object of diskObjects) await two.sql(object).catch(() => {})
    await two.sql(await readFile(join(import.meta.dirname, 'seed.sql'), 'utf8'))
    for (const program of programs) await two.sql(program)
    expect(await compare('save', before, socketOf(two))).toBe('')
    work.values.backups = {
      nightly: { storages: ['local'], sources: [sourceOf(two, { localTables: 'dump' })] },
      large: { storages: ['local'], sources: [sourceOf(four, { localTables: 'dump' })] },
    }
    work.values.restores = {
      large: { from: { plan: 'nightly', storages: ['local'] }, targets: [targetOf(four)] },
      back: { from: { plan: 'large', storages: ['local'] }, targets: [targetOf(two)] },
    }
  })

  afterAll(async () => {
    await Promise.all([two, four].map((cluster) => cluster.destroy()))
    await work.remove()
  })

  test('of 2 nodes and 2 LDMs comes back equal on 4 nodes with 1 LDM, on both MySQL servers', async () => {
    const { code, summary } = await work.holdfast('backup', 'nightly')
    expect(code, summary.error).toBe(0)
    await succeeds(work.holdfast('restore', 'large'))
    expect(await compare(before, socketOf(four))).toBe('')
    await differOnlyInLocalThings(before, four)
  })

  test('of 4 nodes and 1 LDM comes back equal on 2 nodes with 2 LDMs', async () => {
    const { summary } = await succeeds(work.holdfast('backup', 'large'))
    const nodes = await readdir(join(work.store, 'large', `${summary.backup}`, 'rondb'))
    expect(nodes.sort()).toEqual(['1', '2', '3', '4'])
    await emptyCluster(two)
    await succeeds(work.holdfast('restore', 'back'))
    expect(await compare(before, socketOf(two))).toBe('')
  })

  test('comes back into itself after everything was lost, and the same request is not carried out twice', async () => {
    const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
    await emptyCluster(two)
    const first = await succeeds(work.holdfast('restore', '--backup', 'nightly'))
    expect(first.summary.backup).toBe(summary.backup)
    const bytesOf = async (path: RegExp) => bytesIn(work, { plan: 'nightly', id: summary.backup, path })
    expect(first.summary.steps).toMatchObject({
      rondb: { fetch: { bytes: await bytesOf(/./) }, data: { bytes: await bytesOf(/\.Data$/) } },
    })
    expect(await compare(before, socketOf(two))).toBe('')

    await two.sql('INSERT INTO shop.empty_one VALUES (99)')
    const again = await work.holdfast('restore', '--backup', 'nightly')
    expect(again.summary).toMatchObject({ code: 0, steps: { rondb: 'already restored' } })
    expect(await two.sql('SELECT a FROM shop.empty_one')).toEqual([{ a: 99 }])

    const refused = await work.holdfast('restore', '--backup', 'nightly', '--token', 'again')
    expect(refused).toMatchObject({ code: 21, summary: { kind: 'target-not-empty' } })
    expect(await two.sql('SELECT a FROM shop.empty_one')).toEqual([{ a: 99 }])
    await succeeds(work.holdfast('restore', '--backup', 'nightly', '--token', 'again', '--overwrite'))
    expect(await compare(before, socketOf(two))).toBe('')
  })

  test('records its point in time: --restore-epoch writes the epoch of the manifest', async () => {
    const [newest] = (await readdir(join(work.store, 'nightly')))
      .filter((name) => name.endsWith('.json'))
      .sort()
      .reverse()
    const manifest = await work.manifest('nightly', (newest ?? '').replace('.json', ''))
    const [row] = await two.sql<{ epoch: string }>(
      'SELECT CAST(epoch AS CHAR) AS epoch FROM mysql.ndb_apply_status WHERE server_id = 0',
    )
    expect(manifest.sources[0]?.facts.consistency).toMatchObject({ epoch: row?.epoch, snapshot: 'end' })
  })

  test('is backed up with one data node dead: a warning names the node, and nothing is missing', async () => {
    await two.killNode(2)
    try {
      const { code, summary } = await work.holdfast('backup', 'nightly')
      expect(code).toBe(0)
      expect(summary.warnings).toContainEqual(expect.stringContaining('data node 2 is'))
      const manifest = await work.manifest('nightly', `${summary.backup}`)
      expect(manifest.sources[0]?.facts.topology).toMatchObject({ nodes: [{ id: 1 }] })
    } finally {
      await two.startNode(2)
    }
    await emptyCluster(four)
    await succeeds(work.holdfast('restore', 'large'))
    expect(await compare(before, socketOf(four))).toBe('')
  })

  test('encrypted by NDB needs its password: a wrong one and none are refused, the right one restores', async () => {
    work.values.backups.secret = {
      storages: ['local'],
      sources: [sourceOf(two, { encryption: { secret: 'native' }, localTables: 'dump' })],
    }
    work.values.restores.secret = { from: { plan: 'secret', storages: ['local'] }, targets: [targetOf(four)] }
    const { summary } = await succeeds(work.holdfast('backup', 'secret'))
    refuseSecrets({ manifest: JSON.stringify(await work.manifest('secret', `${summary.backup}`)) })

    await emptyCluster(four)
    const without = await work.holdfast('restore', 'secret')
    expect(without).toMatchObject({ code: 2, summary: { error: expect.stringContaining('decryption') } })
    await work.secret('wrong', { password: 'not-the-password' })
    work.values.restores.secret.targets = [targetOf(four, { decryption: { secret: 'wrong' } })]
    const wrong = await work.holdfast('restore', 'secret')
    expect(wrong.code).not.toBe(0)
    expect(wrong.summary.error).toMatch(/password/i)
    work.values.restores.secret.targets = [targetOf(four, { decryption: { secret: 'native' } })]
    await succeeds(work.holdfast('restore', 'secret'))
    expect(await compare(before, socketOf(four))).toBe('')
  })

  test('restores what is chosen only: an excluded database does not come back as an empty schema', async () => {
    await emptyCluster(four)
    work.values.restores.some = {
      from: { plan: 'nightly', storages: ['local'] },
      targets: [targetOf(four, { exclude: { databases: ['größe'], tables: ['shop.audit'] } })],
    }
    const { code, summary } = await work.holdfast('restore', 'some')
    expect(code, summary.error).toBe(0)
    const databases = await four.sql<{ name: string }>('SELECT schema_name AS name FROM information_schema.schemata')
    expect(databases.map((row) => row.name)).not.toContain('größe')
    const tables = await four.sql<{ name: string }>(
      "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'shop'",
    )
    expect(tables.map((row) => row.name)).toContain('orders')
    expect(tables.map((row) => row.name)).not.toContain('audit')
    expect(summary.warnings).toContainEqual(expect.stringContaining('shop.audited'))
    const triggers = await four.sql<{ name: string }>(
      "SELECT trigger_name AS name FROM information_schema.triggers WHERE trigger_schema = 'shop'",
    )
    expect(triggers.map((row) => row.name).sort()).toEqual(['after_order', 'before_order'])
  })

  test('replaces one table only: what is beside it stays as it is', async () => {
    await four.sql(
      "UPDATE shop.orders SET amount = 0 WHERE id <= 100; UPDATE shop.customers SET name = 'kept' WHERE id = 1; CREATE TABLE shop.mine (a INT PRIMARY KEY) ENGINE=NDB; INSERT INTO shop.mine VALUES (7)",
    )
    work.values.restores.one = {
      from: { plan: 'nightly', storages: ['local'] },
      overwrite: true,
      targets: [targetOf(four, { include: { tables: ['shop.orders'] }, accounts: false })],
    }
    await succeeds(work.holdfast('restore', 'one'))
    expect(await four.sql('SELECT COUNT(*) AS n FROM shop.orders WHERE amount = 0')).toEqual([{ n: 0 }])
    expect(await four.sql('SELECT COUNT(*) AS n FROM shop.orders')).toEqual([{ n: 4000 }])
    expect(await four.sql('SELECT name FROM shop.customers WHERE id = 1')).toEqual([{ name: 'kept' }])
    expect(await four.sql('SELECT a FROM shop.mine')).toEqual([{ a: 7 }])
  })

  test('names tables that are not NDB in a warning, and leaves them out unless they are dumped', async () => {
    work.values.backups.plain = { storages: ['local'], sources: [sourceOf(two)] }
    work.values.restores.plain = { from: { plan: 'plain', storages: ['local'] }, targets: [targetOf(four)] }
    const { summary } = await succeeds(work.holdfast('backup', 'plain'))
    expect(summary.warnings).toContainEqual(expect.stringContaining('shop.cache'))
    await emptyCluster(four)
    await succeeds(work.holdfast('restore', 'plain'))
    expect(
      await four.sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' AND table_name = 'cache'",
      ),
    ).toEqual([])
  })

  test('takes passwords for accounts from Secrets, and leaves accounts that exist as they are', async () => {
    await emptyCluster(four)
    await four.sql("CREATE USER keeper@localhost IDENTIFIED BY 'of the target'")
    const [kept] = await four.sql("SELECT authentication_string AS hash FROM mysql.user WHERE user = 'keeper'")
    work.values.restores.passwords = {
      from: { plan: 'nightly', storages: ['local'] },
      targets: [targetOf(four, { passwords: { shopper: { secret: 'app' } } })],
    }
    const { summary } = await succeeds(work.holdfast('restore', 'passwords'))
    expect(summary.warnings).toContainEqual(expect.stringContaining('flows to the other clusters'))
    expect(await four.sql("SELECT authentication_string AS hash FROM mysql.user WHERE user = 'keeper'")).toEqual([kept])
    expect(await rowsAs(four, 'shopper', secrets.app)).toBe(2000)
  })

  test('of an id that the backup does not have, or of a plan without backups, is exit 20', async () => {
    expect((await work.holdfast('restore', 'large', '--pick', '12345')).code).toBe(20)
    work.values.restores.none = { from: { plan: 'never', storages: ['local'] }, targets: [targetOf(four)] }
    expect((await work.holdfast('restore', 'none')).code).toBe(20)
  })
})

function socketOf(cluster: NdbCluster): string {
  return cluster.mysql[0]?.socket ?? ''
}

/** The second MySQL server has all but the tables that only the first can have. */
async function differOnlyInLocalThings(before: string, cluster: NdbCluster): Promise<void> {
  const differences = await compare(before, cluster.mysql[1]?.socket ?? '')
  const different = differences
    .split('\n')
    .filter((line) => /DIFFERENT|^\S+ \S+$/.test(line) && !/cache|^ *tables +10|tables,/.test(line))
  expect(different.filter((line) => line.trim() !== '')).toEqual([])
}

async function rowsAs(cluster: NdbCluster, user: string, password: string): Promise<number> {
  const { createConnection } = await import('mysql2/promise')
  const address = cluster.mysql[0]
  const connection = await createConnection({ host: address?.host ?? '', port: address?.port ?? 0, user, password })
  const [rows] = await connection.query('SELECT COUNT(*) AS n FROM shop.customers')
  await connection.end()
  return (rows as { n: number }[])[0]?.n ?? -1
}
