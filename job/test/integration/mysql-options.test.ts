import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Connection } from 'mysql2/promise'
import { createConnection } from 'mysql2/promise'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { MysqlFacts } from '../../engines/mysql/facts.ts'
import type { Manifest } from '../../manifest.ts'
import { patiently } from '../patience.ts'
import { type Server, startServer } from '../servers/kit.ts'
import { openWorkspace, secrets, succeeds, type Workspace } from './harness.ts'
import { largeTables, makeLarge } from './mysql-large.ts'

const releases = [
  ['mariadb-11.8', 'MariaDB'],
  ['mysql-9.7', 'MySQL'],
] as const
const chosen = process.env.HOLDFAST_TEST_MYSQL?.split(' ')

describe.each(releases.filter(([name]) => !chosen || chosen.includes(name)))('%s', (name, product) => {
  const programs =
    product === 'MySQL' ? { dump: 'mysqldump', load: 'mysql' } : { dump: 'mariadb-dump', load: 'mariadb' }
  let server: Server | undefined
  let work: Workspace
  let root: Connection

  const real = () => server as Server
  const login = (more: object = {}) => ({ ...at(), user: real().user, password: real().password, ...more })
  const connect = () =>
    createConnection(login({ multipleStatements: true, supportBigNumbers: true, bigNumberStrings: true }))
  const at = () => ({ host: real().host, port: real().port })

  beforeAll(async () => {
    server = await startServer(name)
    if (!server) return
    work = await openWorkspace()
    await work.secret('root', { username: server.user, password: server.password })
    root = await connect()
    const reads =
      product === 'MySQL'
        ? 'SELECT, SHOW VIEW, TRIGGER, EVENT, FLUSH_TABLES, REPLICATION CLIENT'
        : 'SELECT, SHOW VIEW, SHOW CREATE ROUTINE, TRIGGER, EVENT, RELOAD, BINLOG MONITOR'
    await root.query(`CREATE USER hf@'%' IDENTIFIED BY '${secrets.database}'; GRANT ${reads} ON *.* TO hf@'%'`)
  }, 120_000)

  afterAll(async () => {
    await root?.end().catch(() => {})
    await server?.destroy()
    await work?.remove()
  }, 60_000)

  function values(more: Record<string, unknown>) {
    const connection = { ...at(), tls: { mode: 'disabled' }, clients: real().clients }
    return { name: 'db', mysql: { ...connection, credentials: { secret: 'db' }, accounts: false, ...more } }
  }

  function use(source: Record<string, unknown> = {}, target: Record<string, unknown> = {}): void {
    work.values.backups = { nightly: { storages: ['local'], sources: [values(source)] } }
    const targets = [values({ credentials: { secret: 'root' }, ...target })]
    work.values.restores = { once: { from: { plan: 'nightly', storages: ['local'] }, pick: 'latest', targets } }
  }

  async function backup(): Promise<{ id: string; manifest: Manifest; facts: MysqlFacts }> {
    const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
    const id = summary.backup as string
    const manifest = await work.manifest('nightly', id)
    return { id, manifest, facts: manifest.sources[0]?.facts as MysqlFacts }
  }

  async function rowsOf(table: string): Promise<unknown> {
    const [rows] = await root.query(`SELECT * FROM ${table}`)
    return (rows as object[]).map((row) => JSON.stringify(row)).sort()
  }

  async function lose(...databases: string[]): Promise<void> {
    for (const database of [...databases, 'holdfast']) await root.query(`DROP DATABASE IF EXISTS ${database}`)
  }

  describe('large tables', () => {
    const tables = largeTables(product)
    const all = async () =>
      Object.fromEntries(await Promise.all(tables.map(async ({ name }) => [name, await rowsOf(`large.${name}`)])))

    test('are dumped in pieces by every kind of integer key, each row in one of them, and loaded side by side', async ({
      skip,
    }) => {
      if (!server) return skip()
      await root.query('DROP DATABASE IF EXISTS large; CREATE DATABASE large')
      for (const table of tables) await makeLarge(root, table)
      // then it reads its statistics again
      await root.end()
      await real().restart()
      root = await connect()
      const before = await all()
      use({ parallel: 32 }, { parallel: 4 })
      const { id, facts } = await backup()
      const pieces = new Map<string, number[]>()
      for (const { path, kind, tables: held = [] } of facts.parts) {
        if (kind !== 'data') continue
        const statements = await statementsIn(join(work.store, 'nightly', id, 'db', `${path}.zst`))
        for (const table of held) {
          const inserts = statements.filter((line) => line.startsWith(`INSERT INTO \`${table.replace('large.', '')}\``))
          const rows = inserts.reduce((sum, insert) => sum + insert.split('),(').length, 0)
          pieces.set(table, [...(pieces.get(table) ?? []), rows])
        }
      }
      for (const { name, rows, cut } of tables) {
        const found = pieces.get(`large.${name}`) ?? []
        expect([name, found.length > 1, found.every((n) => n > 0)]).toEqual([name, cut, true])
        expect([name, found.reduce((sum, n) => sum + n, 0)]).toEqual([name, rows.length])
      }
      await lose('large')
      const { stdout } = await succeeds(work.holdfast('restore', 'once'))
      expect(stdout).toContain(`tables ${tables.length}`)
      expect(await all()).toEqual(before)
    }, 240_000)
  })

  async function statementsIn(file: string): Promise<string[]> {
    const { stdout } = await promisify(execFile)('zstd', ['-dcq', file], { maxBuffer: 64 * 1024 * 1024 })
    return stdout.split('\n')
  }

  /** File and position that the server's binary log is at, and how many files there are. */
  async function binlog(): Promise<{ file: string; position: number; files: number }> {
    const [[now]] = (await root.query(
      product === 'MySQL' ? 'SHOW BINARY LOG STATUS' : 'SHOW MASTER STATUS',
    )) as unknown as [[{ File: string; Position: number }]]
    const [files] = (await root.query('SHOW BINARY LOGS')) as unknown as [unknown[]]
    return { file: now.File, position: Number(now.Position), files: files.length }
  }

  async function makeShop(): Promise<void> {
    await lose('shop', 'other', 'third')
    await root.query(
      `CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(20)); INSERT INTO shop.orders VALUES (1, 'a'), (2, 'b');
       CREATE TABLE shop.hidden (id INT PRIMARY KEY); INSERT INTO shop.hidden VALUES (1); CREATE VIEW shop.seen AS SELECT id FROM shop.orders;
       CREATE DATABASE other; CREATE TABLE other.t (id INT PRIMARY KEY); INSERT INTO other.t VALUES (7); CREATE TABLE other.u (id INT PRIMARY KEY);
       CREATE DATABASE third; CREATE TABLE third.t (id INT PRIMARY KEY); INSERT INTO third.t VALUES (9)`,
    )
  }

  test('only the databases and tables that are chosen are backed up', async ({ skip }) => {
    if (!server) return skip()
    await makeShop()
    for (const method of ['parallel', 'mysqldump']) {
      use({
        ...{ method, include: { databases: ['shop'], tables: ['other.t'] } },
        exclude: { tables: ['shop.hidden'] },
      })
      const { facts } = await backup()
      expect(facts.tables.map(({ database, name }) => `${database}.${name}`)).toEqual(['other.t', 'shop.orders'])
      await lose('shop', 'other', 'third')
      await succeeds(work.holdfast('restore', 'once'))
      const [rows] = await root.query(
        "SELECT table_schema AS db, table_name AS name FROM information_schema.tables WHERE table_schema IN ('shop', 'other', 'third') ORDER BY 1, 2",
      )
      expect(rows).toEqual([
        { db: 'other', name: 't' },
        { db: 'shop', name: 'orders' },
        { db: 'shop', name: 'seen' },
      ])
      expect(await rowsOf('shop.seen')).toEqual(['{"id":1}', '{"id":2}'])
      await makeShop()
    }
  }, 180_000)

  test('an account of one database backs that one up', async ({ skip }) => {
    if (!server) return skip()
    await makeShop()
    await work.secret('narrow', { username: 'narrow', password: secrets.app })
    await root.query(
      `CREATE USER narrow@'%' IDENTIFIED BY '${secrets.app}'; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON shop.* TO narrow@'%'`,
    )
    use({ method: 'mysqldump', credentials: { secret: 'narrow' }, include: { databases: ['shop'] } })
    const { facts } = await backup()
    expect(facts.databases).toEqual(['shop'])
    await lose('shop')
    await succeeds(work.holdfast('restore', 'once'))
    expect(await rowsOf('shop.orders')).toHaveLength(2)
  }, 120_000)

  test.each([[false], [true]])(
    'with skipBinlog %j replicas are spared of a restore or get it',
    async (skipBinlog) => {
      if (!server) return
      await makeShop()
      use({ include: { databases: ['shop'] } })
      await backup()
      await lose('shop')
      use({}, { skipBinlog })
      const before = await binlog()
      await succeeds(work.holdfast('restore', 'once'))
      const after = await binlog()
      expect(await rowsOf('shop.orders')).toHaveLength(2)
      if (skipBinlog) expect(after).toEqual(before)
      else expect(after.position).toBeGreaterThan(before.position)
    },
    120_000,
  )

  test.each([['parallel'], ['mysqldump']])(
    'flushLogs begins a new binary log at the point of a backup: %s',
    async (method) => {
      if (!server) return
      await makeShop()
      if (product === 'MySQL') {
        use({ method, flushLogs: true, include: { databases: ['shop'] } })
        const refused = await work.holdfast('backup', 'nightly')
        expect([refused.code, refused.summary.error]).toEqual([22, expect.stringContaining('lacks RELOAD')])
      }
      await root.query("GRANT RELOAD ON *.* TO hf@'%'")
      use({ method, flushLogs: false, include: { databases: ['shop'] } })
      const before = await binlog()
      const { facts: plain } = await backup()
      expect([(await binlog()).files, plain.consistency.binlog?.file]).toEqual([before.files, before.file])
      use({ method, flushLogs: true, include: { databases: ['shop'] } })
      const { facts } = await backup()
      const after = await binlog()
      expect(after.files).toBe(before.files + 1)
      expect(facts.consistency.binlog?.file).toBe(after.file)
      if (product === 'MySQL') await root.query("REVOKE RELOAD ON *.* FROM hf@'%'")
    },
    120_000,
  )

  test('flushLogs begins a new binary log after a restore, and not without', async ({ skip }) => {
    if (!server) return skip()
    await makeShop()
    use({ include: { databases: ['shop'] } })
    await backup()
    for (const flushLogs of [false, true]) {
      await lose('shop')
      use({}, { flushLogs })
      const before = await binlog()
      await succeeds(work.holdfast('restore', 'once'))
      expect((await binlog()).files).toBe(before.files + (flushLogs ? 1 : 0))
    }
  }, 120_000)

  /** A script in front of the real program, and the other one as it is. */
  async function inFront(file: string, body: string): Promise<string> {
    const folder = join(work.dir, `front-${Math.random()}`)
    await mkdir(folder)
    for (const program of await readdir(real().clients)) {
      if (!Object.values(programs).includes(program)) continue
      const script = `#!/usr/bin/env bash\nset -o pipefail\nreal() { '${join(real().clients, program)}' "$@"; }\n`
      const passes = `case "$*" in *--version*) real "$@"; exit;; esac\n`
      await writeFile(join(folder, program), script + passes + (program === file ? body : 'real "$@"'))
      await chmod(join(folder, program), 0o755)
    }
    return folder
  }

  test.each([
    [false, 'per-database', 'table-locks', 'Lock wait timeout exceeded'],
    [true, 'snapshot', 'single-connection', 'written'],
  ])(
    'with singleTransaction %j a writer of the database waits for the dump or does not',
    async (singleTransaction, kind, by, expected) => {
      if (!server) return
      await makeShop()
      // more than all pipes hold: the dump stands still in the middle of it
      await root.query(
        'CREATE TABLE shop.big (id INT PRIMARY KEY, b LONGTEXT); INSERT INTO shop.big VALUES (1, REPEAT(0x61, 6000000)), (2, REPEAT(0x62, 6000000))',
      )
      await root.query("GRANT LOCK TABLES ON *.* TO hf@'%'")
      const held = join(work.dir, 'held')
      await rm(held, { force: true })
      const holds = `real "$@" | { head -c 500000; touch '${held}'; while [ -e '${held}' ]; do read -rt 0.05 <> <(:) || :; done; cat; }`
      use({
        ...{ method: 'mysqldump', singleTransaction, include: { databases: ['shop'] } },
        clients: await inFront(programs.dump, holds),
      })
      const run = work.start('backup', 'nightly')
      await vi.waitUntil(() => existsSync(held), patiently)
      const writer = await createConnection(login())
      await writer.query('SET SESSION lock_wait_timeout = 1')
      const wrote = await writer.query("INSERT INTO shop.orders VALUES (3, 'late')").then(
        () => 'written',
        (error: Error) => error.message,
      )
      await writer.end()
      await rm(held)
      const { summary } = await succeeds(run.done)
      expect(wrote).toContain(expected)
      const facts = (await work.manifest('nightly', summary.backup as string)).sources[0]?.facts as MysqlFacts
      expect(facts.consistency).toMatchObject({ kind, by })
      await lose('shop')
      await succeeds(work.holdfast('restore', 'once'))
      expect(await rowsOf('shop.orders')).toHaveLength(2)
      await root.query("REVOKE LOCK TABLES ON *.* FROM hf@'%'")
    },
    120_000,
  )

  test('without LOCK TABLES, tables that would have to be locked are not backed up', async ({ skip }) => {
    if (!server) return skip()
    use({ method: 'mysqldump', singleTransaction: false })
    const refused = await work.holdfast('backup', 'nightly')
    expect([refused.code, refused.summary.error]).toEqual([22, expect.stringContaining('lacks LOCK TABLES')])
  }, 60_000)

  test('additional options reach the programs', async ({ skip }) => {
    if (!server) return skip()
    await makeShop()
    const calls = join(work.dir, 'calls')
    const records = (program: string) => inFront(program, `echo "$*" >> '${calls}'; real "$@"`)
    for (const method of ['parallel', 'mysqldump']) {
      await rm(calls, { force: true })
      use(
        { method, extraOptions: ['--net-buffer-length=20000'], clients: await records(programs.dump) },
        { extraOptions: ['--net-buffer-length=30000'], clients: await records(programs.load) },
      )
      await backup()
      const dumped = (await readFile(calls, 'utf8')).trim().split('\n')
      for (const call of dumped) expect(call).toContain('--net-buffer-length=20000')
      await rm(calls)
      await lose('shop', 'other', 'third')
      await succeeds(work.holdfast('restore', 'once', '--overwrite'))
      for (const call of (await readFile(calls, 'utf8')).trim().split('\n'))
        expect(call).toContain('--net-buffer-length=30000')
      expect(await rowsOf('shop.orders')).toHaveLength(2)
    }
  }, 120_000)
})
