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
      await root.query('CREATE DATABASE shop; CREATE TABLE shop.rows_of (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT)')
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

    async function manifests(): Promise<string[]> {
      const files = await readdir(join(work.store, 'nightly')).catch(() => [])
      return files.filter((file) => file.endsWith('.json'))
    }

    test('come whole, though the storage takes them more slowly than the server is patient', async ({ skip }) => {
      if (!server) return skip()
      const before = await content()
      await root.query('SET GLOBAL net_write_timeout = 1')
      use(server.port, { limits: { bytesPerSecond: '2Mi' } })
      await succeeds(work.holdfast('backup', 'nightly'))
      await root.query('SET GLOBAL net_write_timeout = 60')
      await root.query('DROP DATABASE shop')
      await succeeds(work.holdfast('restore', 'once'))
      expect(await content()).toEqual(before)
    }, 120_000)

    async function running(): Promise<number> {
      const [rows] = await root.query(
        "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT /*!40001 SQL_NO_CACHE%'",
      )
      return (rows as { id: number }[])[0]?.id ?? 0
    }

    test.each<[string, (cut: () => void) => Promise<unknown>]>([
      ['the connection is lost', async (cut) => cut()],
      ['the statement is ended', async () => root.query(`KILL QUERY ${await running()}`)],
      ['the session is ended', async () => root.query(`KILL ${await running()}`)],
    ])(
      'are no backup when %s in the middle of them',
      async (_, end) => {
        if (!server) return
        const proxy = await startTcpProxy(server)
        const before = await manifests()
        use(proxy.port, { limits: { bytesPerSecond: '1Mi' } })
        const run = work.start('backup', 'nightly')
        await expect.poll(running, { timeout: 30_000, interval: 20 }).toBeGreaterThan(0)
        await end(proxy.cut)
        const { code, summary } = await run.done
        await proxy.stop()
        expect([code, summary.error]).toEqual([22, expect.stringContaining('rows of shop.rows_of')])
        expect(await manifests()).toEqual(before)
      },
      60_000,
    )
  },
)
