import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Server, startServer } from '../servers/kit.ts'
import { openWorkspace, secrets, succeeds, type Workspace } from './harness.ts'
import {
  client,
  connection,
  describeDatabase,
  describeRoles,
  dropAll,
  loginOf,
  prepare,
  sql,
} from './postgres/servers.ts'

describe.for(['postgres-17', 'postgres-15', 'postgres-18'])('%s', async (release) => {
  const started = await startServer(release)
  describe.skipIf(!started)('a server with every kind of object', () => {
    const server = started as Server
    let work: Workspace
    let before: Record<string, string>
    let roles: string

    beforeAll(async () => {
      work = await openWorkspace()
      await prepare(server)
      await seed(server)
      before = await describeDatabase(server, 'Shop; "x')
      roles = await describeRoles(server)
      work.values.backups.nightly = {
        storages: ['local'],
        sources: [{ name: 'pg', postgres: connection(server) }],
      }
    })

    afterAll(async () => {
      await work.remove()
      await server.destroy()
    })

    test('is backed up while a writer runs, dropped, and restored as it was at one point in time', async () => {
      const writer = startWriter(server)
      await succeeds(work.holdfast('backup', 'nightly')).finally(writer.stop)
      await dropAll(server)
      const restored = await succeeds(work.holdfast('restore', '--backup', 'nightly'))
      expect(restored.summary.warnings ?? []).toEqual([])
      const after = await describeDatabase(server, 'Shop; "x')
      const ledgers = ['shop.ledger_a', 'shop.ledger_b', 'shop.ledger_c']
      for (const name of ledgers) delete after[name]
      expect(after).toEqual(Object.fromEntries(Object.entries(before).filter(([name]) => !ledgers.includes(name))))
      expect(await describeRoles(server)).toBe(roles)
      const last = await sql(
        server,
        'SELECT (SELECT max(n) FROM shop.ledger_a) AS a, (SELECT max(n) FROM shop.ledger_b) AS b, (SELECT max(n) FROM shop.ledger_c) AS c, (SELECT count(*) FROM shop.ledger_c)::int AS n',
        'Shop; "x',
      )
      const { a, b, c, n } = last[0] as Record<string, number>
      expect(new Set([a, b, c, n]).size, JSON.stringify(last)).toBe(1)
      expect(n).toBeGreaterThan(0)
    })
  })
})

async function seed(server: Server): Promise<void> {
  await dropAll(server)
  await sql(
    server,
    `CREATE ROLE owner_role; CREATE ROLE app_role LOGIN PASSWORD '${secrets.app}' VALID UNTIL '2040-01-01' CONNECTION LIMIT 7;
     CREATE ROLE "odd; role" CREATEDB BYPASSRLS; GRANT owner_role TO "odd; role" WITH ADMIN OPTION; GRANT pg_read_all_settings TO app_role;
     ALTER ROLE app_role SET search_path = shop, "B c"; COMMENT ON ROLE app_role IS E'it''s\\n\\\\! touch /tmp/holdfast-pwned'`,
  )
  await mkdir(join(server.dir, 'tablespace'))
  await sql(server, `CREATE TABLESPACE elsewhere OWNER owner_role LOCATION '${server.dir}/tablespace'`)
  await sql(
    server,
    `CREATE DATABASE "Shop; ""x" OWNER owner_role TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'`,
  )
  await sql(
    server,
    `CREATE DATABASE latin OWNER owner_role TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`,
  )
  await sql(
    server,
    `ALTER DATABASE "Shop; ""x" SET work_mem = '8MB'; ALTER ROLE app_role IN DATABASE "Shop; ""x" SET lock_timeout = '3s';
     ALTER DATABASE "Shop; ""x" CONNECTION LIMIT 77; COMMENT ON DATABASE "Shop; ""x" IS 'all of it; really';
     REVOKE CONNECT ON DATABASE "Shop; ""x" FROM PUBLIC; GRANT CONNECT ON DATABASE "Shop; ""x" TO app_role WITH GRANT OPTION`,
  )
  await client(
    server,
    'psql',
    ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', `dbname='Shop; "x'`],
    await readFile(join(import.meta.dirname, 'postgres/seed.sql'), 'utf8'),
  )
  await sql(server, "CREATE TABLE größe (a text); INSERT INTO größe VALUES ('smörgås')", 'latin')
}

/** Writes the same number to three tables in one transaction, as fast as it can. */
function startWriter(server: Server) {
  let on = true
  const done = (async () => {
    const client = new pg.Client({ ...loginOf(server), database: 'Shop; "x' })
    await client.connect()
    for (let n = 1; on; n++) {
      await client.query(
        `BEGIN; INSERT INTO shop.ledger_a VALUES (${n}); INSERT INTO shop.ledger_b VALUES (${n}); INSERT INTO shop.ledger_c VALUES (${n}); COMMIT`,
      )
      await setTimeout(1)
    }
    await client.end()
  })()
  return {
    stop: () => {
      on = false
      return done
    },
  }
}
