import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { type Connection, createConnection } from 'mysql2/promise'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type NdbCluster, startNdb } from '../servers/ndb.ts'
import { emptyCluster, openWorkspace, prepareAccount, sourceOf, succeeds, targetOf, type Workspace } from './harness.ts'

const wide = await startNdb({ dataNodes: 2, ldm: 4, compressedBackup: true })
// its spare slot of a second MySQL server is the only free one
const narrow = wide && (await startNdb({ dataNodes: 2, ldm: 1, apiSlots: 0 }))

describe.skipIf(!wide || !narrow)('a cluster in use, of 4 LDMs and with CompressedBackup,', () => {
  const [source, target] = [wide, narrow] as [NdbCluster, NdbCluster]
  let work: Workspace

  beforeAll(async () => {
    work = await openWorkspace()
    for (const cluster of [source, target]) {
      await prepareAccount(cluster)
      await emptyCluster(cluster)
    }
    await source.sql(`CREATE DATABASE bank;
      CREATE TABLE bank.accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=NDB;
      CREATE TABLE bank.ledger (id BIGINT AUTO_INCREMENT PRIMARY KEY, payer INT NOT NULL, payee INT NOT NULL, amount INT NOT NULL, note TEXT, KEY (payer), KEY (payee)) ENGINE=NDB;
      CREATE TABLE bank.ballast (id INT PRIMARY KEY, filling VARBINARY(8000)) ENGINE=NDB;
      SET cte_max_recursion_depth = 100000;
      INSERT INTO bank.accounts WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT i, 1000 FROM n;
      INSERT INTO bank.ballast WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 8000) SELECT i, RANDOM_BYTES(1000) FROM n`)
    for (let more = 0; more < 4; more++)
      await source.sql(
        `INSERT INTO bank.ballast SELECT id + 8000 * ${more + 1}, filling FROM bank.ballast WHERE id <= 8000`,
      )
    for (const snapshot of ['end', 'start']) {
      work.values.backups[snapshot] = { storages: ['local'], sources: [sourceOf(source, { snapshot })] }
      work.values.restores[snapshot] = { from: { plan: snapshot, storages: ['local'] }, targets: [targetOf(target)] }
    }
  })

  beforeEach(() => emptyCluster(target))

  afterAll(async () => {
    await Promise.all([source, target].map((cluster) => cluster.destroy()))
    await work.remove()
  })

  test.each(['end', 'start'])(
    'is restored as it was at the %s of the backup, while transfers were being made',
    async (snapshot) => {
      const clerks = await Promise.all(Array.from({ length: 3 }, (_, i) => startClerk(source, i)))
      await Promise.all(clerks.map((clerk) => clerk.first))
      const { summary } = await succeeds(work.holdfast('backup', snapshot))
      await Promise.all(clerks.map((clerk) => clerk.stop()))
      const manifest = await work.manifest(snapshot, `${summary.backup}`)
      const facts = manifest.sources[0]?.facts as { logRecords: number; topology: { nodes: { parts: number }[] } }
      expect(facts.logRecords).toBeGreaterThan(0)
      expect(facts.topology.nodes.map((node) => node.parts)).toEqual([4, 4])

      const restored = await succeeds(work.holdfast('restore', snapshot))
      expect(restored.summary.warnings).toContainEqual(expect.stringContaining('1 free API slots for 2 nodes'))
      // every transfer is there as a whole or not at all
      expect(await target.sql('SELECT CAST(SUM(balance) AS SIGNED) AS total FROM bank.accounts')).toEqual([
        { total: 100_000 },
      ])
      expect(
        await target.sql(`SELECT a.id FROM bank.accounts a WHERE a.balance <> 1000
        + (SELECT COALESCE(SUM(amount), 0) FROM bank.ledger WHERE payee = a.id) - (SELECT COALESCE(SUM(amount), 0) FROM bank.ledger WHERE payer = a.id)`),
      ).toEqual([])
      // what is there is what the source has up to that moment: no gap, and later transfers are not in it
      const [there] = await target.sql<{ n: number; newest: number }>(
        'SELECT COUNT(*) AS n, MAX(id) AS newest FROM bank.ledger',
      )
      const [here] = await source.sql<{ n: number }>('SELECT COUNT(*) AS n FROM bank.ledger')
      expect(there?.n).toBeGreaterThan(0)
      expect(there?.n).toBeLessThan(here?.n ?? 0)
    },
  )

  test('takes tables along or names them in a warning when they are created during the backup; none comes back empty', async () => {
    const maker = await startMaker(source)
    await maker.first
    const { summary } = await succeeds(work.holdfast('backup', 'end'))
    await maker.stop()
    const manifest = await work.manifest('end', `${summary.backup}`)
    const listed = ((manifest.sources[0]?.facts.tables as { database: string; name: string }[] | undefined) ?? []).map(
      (table) => `${table.database}.${table.name}`,
    )
    await succeeds(work.holdfast('restore', 'end'))
    const tables = await target.sql<{ name: string }>(
      "SELECT CONCAT(table_schema, '.', table_name) AS name FROM information_schema.tables WHERE table_schema IN ('bank', 'made') ORDER BY 1",
    )
    expect(tables.map((row) => row.name)).toEqual(listed.toSorted())
    for (const { name } of tables.filter((row) => row.name.startsWith('made.'))) {
      expect(await target.sql(`SELECT COUNT(*) AS n FROM ${name}`)).toEqual([{ n: 1 }])
    }
    const late = (summary.warnings ?? []).filter((warning) => warning.includes('was created while the backup ran'))
    for (const warning of late) expect(listed).not.toContain(/table (\S+) was/.exec(warning)?.[1])
  })

  test('has native files that NDB compressed', async () => {
    const { summary } = await succeeds(work.holdfast('backup', 'end'))
    const manifest = await work.manifest('end', `${summary.backup}`)
    const data = manifest.parts.filter((part) => part.path.endsWith('.Data')).sort((a, b) => b.size - a.size)[0]
    const file = await open(join(work.store, 'end', manifest.id, data?.path ?? ''))
    const { buffer } = await file.read(Buffer.alloc(8), 0, 8, 0)
    await file.close()
    expect(buffer.toString('latin1')).not.toBe('NDBBCKUP')
  })
})

interface Writer {
  /** Resolves with the first write. */
  first: Promise<void>
  stop(): Promise<void>
}

/** Transfers between accounts until it is told to stop: a ledger line and two balances in one transaction. */
async function startClerk(cluster: NdbCluster, number: number): Promise<Writer> {
  return startWriter(cluster, async (connection, round) => {
    const [payer, payee] = [((round * 7 + number) % 100) + 1, ((round * 13 + number * 31) % 100) + 1]
    const amount = (round % 17) + 1
    await connection.beginTransaction()
    try {
      await connection.query('INSERT INTO bank.ledger (payer, payee, amount, note) VALUES (?, ?, ?, REPEAT(?, 400))', [
        payer,
        payee,
        amount,
        'note ',
      ])
      await connection.query('UPDATE bank.accounts SET balance = balance - ? WHERE id = ?', [amount, payer])
      await connection.query('UPDATE bank.accounts SET balance = balance + ? WHERE id = ?', [amount, payee])
      await connection.commit()
    } catch (error) {
      // two clerks may lock each other out; the transfer is not made then
      await connection.rollback()
      if (![1205, 1213, 1297].includes((error as { errno?: number }).errno ?? 0)) throw error
    }
  })
}

/** Creates tables of one row each, until it is told to stop. */
async function startMaker(cluster: NdbCluster): Promise<Writer> {
  await cluster.sql('CREATE DATABASE IF NOT EXISTS made')
  return startWriter(cluster, async (connection, round) => {
    try {
      await connection.query(`CREATE TABLE made.t${round} (a INT PRIMARY KEY) ENGINE=NDB`)
    } catch (error) {
      if (!/backup|temporary|762|761|lock/i.test((error as Error).message)) throw error
      return
    }
    await connection.query(`INSERT INTO made.t${round} VALUES (${round})`)
  })
}

async function startWriter(
  cluster: NdbCluster,
  write: (connection: Connection, round: number) => Promise<void>,
): Promise<Writer> {
  const connection = await createConnection({ socketPath: cluster.mysql[0]?.socket ?? '', user: 'root' })
  let running = true
  let begun = () => {}
  const first = new Promise<void>((resolve) => {
    begun = resolve
  })
  const work = (async () => {
    for (let round = 1; running; round++) {
      await write(connection, round)
      begun()
    }
  })()
  work.catch(begun)
  return {
    first,
    stop: async () => {
      running = false
      await work
      await connection.end()
    },
  }
}
