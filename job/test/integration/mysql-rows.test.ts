import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Connection, createConnection } from 'mysql2/promise'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTcpProxy } from '../fakes/tcp-proxy.ts'
import { type Server, startServer } from '../servers/kit.ts'
import { openWorkspace, succeeds, type Workspace } from './harness.ts'

const chosen = process.env.HOLDFAST_TEST_MYSQL?.split(' ')

/** Rows over a connection that is encrypted, stands still, or is lost. */
describe.each(['mariadb-11.8', 'mysql-9.7'].filter((name) => !chosen || chosen.includes(name)))(
  '%s over TLS',
  (name) => {
    let server: Server | undefined
    let work: Workspace
    let root: Connection

    beforeAll(async () => {
      server = await startServer(name, '--tls')
      if (!server) return
      work = await openWorkspace()
      const ca = await readFile(server.caFile as string, 'utf8')
      await work.secret('root', { username: server.user, password: server.password })
      await work.secret('ca', { 'ca.crt': ca })
      const { host, port, user, password } = server
      root = await createConnection({ host, port, user, password, ssl: { ca }, multipleStatements: true })
      await root.query(
        `CREATE DATABASE shop; CREATE TABLE shop.rows_of (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT);
       CREATE TABLE shop.floats (id INT PRIMARY KEY, f FLOAT, g FLOAT(9, 3) UNSIGNED);
       INSERT INTO shop.floats VALUES (1, 16777215, 1.001), (2, 1000001, 99999.123), (3, 0.1, 0), (4, -1e-30, NULL), (5, 3.4028234e38, 1);
       CREATE TABLE shop.zebras (id INT PRIMARY KEY); INSERT INTO shop.zebras VALUES (1)`,
      )
      // nothing that could be compressed: what is written is as long as what is read
      for (let i = 0; i < 26; i++) {
        const values = [i, randomBytes(768 * 1024), i % 3 === 0 ? null : "it's\n"]
        await root.query('INSERT INTO shop.rows_of VALUES (?, ?, ?)', values)
      }
    }, 120_000)

    afterAll(async () => {
      await root?.end().catch(() => {})
      await server?.destroy()
      await work?.remove()
    }, 60_000)

    function use(port: number, more: Record<string, unknown> = {}): void {
      const { host, clients } = server as Server
      const mysql = {
        ...{ host, port, clients, accounts: false },
        ...{ credentials: { secret: 'root' }, tls: { mode: 'verify-ca', ca: { secret: 'ca' } } },
      }
      work.values.backups = { nightly: { storages: ['local'], sources: [{ name: 'db', mysql }], ...more } }
      const targets = [{ name: 'db', mysql }]
      work.values.restores = { once: { from: { plan: 'nightly', storages: ['local'] }, pick: 'latest', targets } }
    }

    const content = async () =>
      (
        await root.query(
          'SELECT COUNT(*) AS n, SUM(CRC32(b)) AS b, SUM(CRC32(t)) AS t, SUM(LENGTH(b)) AS bytes FROM shop.rows_of',
        )
      )[0]

    const floats = async () =>
      (await root.query('SELECT id, f + 0E0 AS f, g + 0E0 AS g FROM shop.floats ORDER BY id'))[0]

    async function manifests(): Promise<string[]> {
      const files = await readdir(join(work.store, 'nightly')).catch(() => [])
      return files.filter((file) => file.endsWith('.json'))
    }

    test('come whole, though the storage takes them more slowly than the server is patient', async ({ skip }) => {
      if (!server) return skip()
      const before = [await content(), await floats()]
      await root.query('SET GLOBAL net_write_timeout = 1')
      use(server.port, { limits: { bytesPerSecond: '2Mi' } })
      await succeeds(work.holdfast('backup', 'nightly'))
      await root.query('SET GLOBAL net_write_timeout = 60')
      await root.query('DROP DATABASE shop')
      await succeeds(work.holdfast('restore', 'once'))
      expect([await content(), await floats()]).toEqual(before)
    }, 120_000)

    test('are not begun to be loaded into a server that takes no statement so long', async () => {
      if (!server) return
      const [[before]] = (await root.query('SELECT @@GLOBAL.max_allowed_packet AS bytes')) as unknown as [
        [{ bytes: number }],
      ]
      use(server.port)
      await succeeds(work.holdfast('backup', 'nightly'))
      await root.query('DROP DATABASE shop; DROP DATABASE IF EXISTS holdfast; SET GLOBAL max_allowed_packet = 1048576')
      const { code, summary } = await work.holdfast('restore', 'once')
      expect([code, summary.error]).toEqual([
        22,
        expect.stringMatching(
          /^shop\/data\/floats\.sql has a statement of 15\d{5} bytes, and max_allowed_packet of .* is 1048576$/,
        ),
      ])
      expect((await root.query("SHOW DATABASES LIKE 'shop'"))[0]).toEqual([])
      await root.query(`SET GLOBAL max_allowed_packet = ${before.bytes}`)
      await succeeds(work.holdfast('restore', 'once'))
    }, 60_000)

    async function running(): Promise<number> {
      const [rows] = await root.query(
        "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT /*!40001 %.`rows_of`%'",
      )
      return (rows as { id: number }[])[0]?.id ?? 0
    }

    test.each<[string, RegExp, (cut: () => void) => Promise<unknown>]>([
      // each of them says by itself that it was lost, the dump program's too
      ['all connections are lost', /./, async (cut) => cut()],
      ['the statement is ended', /rows of shop.rows_of/, async () => root.query(`KILL QUERY ${await running()}`)],
      ['the session is ended', /rows of shop.rows_of/, async () => root.query(`KILL ${await running()}`)],
    ])(
      'are no backup when %s in the middle of them',
      async (_, says, end) => {
        if (!server) return
        const proxy = await startTcpProxy(server)
        const before = await manifests()
        use(proxy.port, { limits: { bytesPerSecond: '1Mi' } })
        const run = work.start('backup', 'nightly')
        await expect.poll(running).toBeGreaterThan(0)
        await end(proxy.cut)
        const { code, summary } = await run.done
        await proxy.stop()
        expect([code, summary.error]).toEqual([22, expect.stringMatching(says)])
        expect(await manifests()).toEqual(before)
      },
      60_000,
    )

    test('are no longer read by anybody when one connection has failed', async ({ skip }) => {
      if (!server) return skip()
      await root.query('CREATE DATABASE other; CREATE TABLE other.more_rows LIKE shop.rows_of')
      await root.query('INSERT INTO other.more_rows SELECT * FROM shop.rows_of')
      const long = "SELECT COUNT(*) AS n FROM information_schema.processlist WHERE info LIKE 'SELECT /*!40001 %rows%'"
      const readers = async () => ((await root.query(long))[0] as { n: number }[])[0]?.n
      use(server.port, { limits: { bytesPerSecond: '1Mi' } })
      const run = work.start('backup', 'nightly')
      await expect.poll(readers).toBe(2)
      await root.query(`KILL ${await running()}`)
      const { code, summary } = await run.done
      expect([code, summary.error]).toEqual([22, expect.stringContaining('rows of')])
      await expect.poll(readers).toBe(0)
      await root.query('DROP DATABASE other')
    }, 60_000)

    test('do not hold up a run that is told to stop while the server waits for a lock', async ({ skip }) => {
      if (!server) return skip()
      use(server.port, { limits: { bytesPerSecond: '8Mi' } })
      const run = work.start('backup', 'nightly')
      await expect.poll(running).toBeGreaterThan(0)
      await root.query('LOCK TABLES shop.zebras WRITE')
      const waits = "info LIKE 'SELECT /*!40001 %zebras%' AND state LIKE 'Waiting%'"
      const waiting = async () =>
        (
          (await root.query(`SELECT COUNT(*) AS n FROM information_schema.processlist WHERE ${waits}`))[0] as {
            n: number
          }[]
        )[0]?.n
      await expect.poll(waiting).toBe(1)
      run.kill('SIGTERM')
      const { code } = await run.done
      await root.query('UNLOCK TABLES')
      expect(code).toBe(143)
    }, 60_000)

    test('of a table in whose names there is a line end are refused: it would end the comment that it stands in', async ({
      skip,
    }) => {
      if (!server) return skip()
      const before = await manifests()
      use(server.port)
      for (const table of [
        '`x\nDROP DATABASE shop;\n-- x` (id INT)',
        'y (`a\n--\n-- Dumping data for table x\n--\nx` INT)',
      ]) {
        await root.query(`CREATE TABLE shop.${table}`)
        const { code, summary } = await work.holdfast('backup', 'nightly')
        expect([code, summary.error]).toEqual([22, expect.stringContaining('line end')])
        await root.query(`DROP TABLE shop.${table.replace(/ \(.*/s, '')}`)
      }
      expect(await manifests()).toEqual(before)
    }, 60_000)
  },
)

test('history of a MariaDB for which time ends in 2038 stays history in one for which it goes on', async ({ skip }) => {
  const [from, to] = [await startServer('mariadb-10.11'), await startServer('mariadb-11.8')]
  if (!from || !to) return skip()
  const work = await openWorkspace()
  const connectTo = ({ host, port, user, password }: Server) =>
    createConnection({ host, port, user, password, multipleStatements: true, timezone: 'Z', dateStrings: true })
  try {
    const mysql = ({ host, port, clients }: Server, secret: string) => ({
      name: 'db',
      mysql: { host, port, clients, accounts: false, credentials: { secret }, tls: { mode: 'disabled' } },
    })
    for (const [name, { user, password }] of [['from', from] as const, ['to', to] as const])
      await work.secret(name, { username: user, password })
    const source = await connectTo(from)
    await source.query(
      `CREATE DATABASE shop; CREATE TABLE shop.v (id INT PRIMARY KEY, n INT) WITH SYSTEM VERSIONING; INSERT INTO shop.v VALUES (1, 1), (2, 1), (3, 1);
       UPDATE shop.v SET n = 2 WHERE id = 1; DELETE FROM shop.v WHERE id = 2`,
    )
    const states = async (server: Connection) => ({
      now: (await server.query('SELECT * FROM shop.v ORDER BY id'))[0],
      past: (
        await server.query(
          'SELECT id, n, row_start, row_end FROM shop.v FOR SYSTEM_TIME ALL WHERE row_end <= NOW(6) ORDER BY id',
        )
      )[0],
    })
    const before = await states(source)
    expect([before.now, before.past].map((rows) => (rows as unknown[]).length)).toEqual([2, 2])
    work.values.backups = { nightly: { storages: ['local'], sources: [mysql(from, 'from')] } }
    work.values.restores = {
      once: { from: { plan: 'nightly', storages: ['local'] }, pick: 'latest', targets: [mysql(to, 'to')] },
    }
    await succeeds(work.holdfast('backup', 'nightly'))
    await succeeds(work.holdfast('restore', 'once'))
    const target = await connectTo(to)
    expect(await states(target)).toEqual(before)
    await Promise.all([source.end(), target.end()])
  } finally {
    await Promise.all([from.destroy(), to.destroy(), work.remove()])
  }
}, 120_000)
