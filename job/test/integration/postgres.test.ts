import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Server, startServer } from '../servers/kit.ts'
import { bytesIn, openWorkspace, secrets, succeeds, type Workspace } from './harness.ts'
import { remembersRequests } from './memory.ts'
import { fakeClients } from './postgres/fake-clients.ts'
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

const releases = ['postgres-15', 'postgres-17', 'postgres-18']
const started = await Promise.all(
  releases.map((release) => startServer(release, ...(release === 'postgres-17' ? ['--tls'] : []))),
)
const shop = 'Shop; "x'
const pwned = '/tmp/holdfast-pwned'

describe.skipIf(started.some((server) => !server))('PostgreSQL', () => {
  const [old, server, newest] = started as [Server, Server, Server]
  let work: Workspace

  beforeAll(async () => {
    work = await openWorkspace()
    await work.secret('pg-ca', { 'ca.crt': await readFile(server.caFile as string, 'utf8') })
    await Promise.all([old, server, newest].map(prepare))
    await Promise.all([old, server, newest].map(seed))
    for (const [i, one] of [old, server, newest].entries())
      work.values.backups[releases[i] as string] = { storages: ['local'], sources: [source(one)] }
    work.values.backups.small = {
      storages: ['local'],
      sources: [source(server, { include: { databases: ['latin'] } })],
    }
  })

  afterAll(async () => {
    await work.remove()
    await Promise.all([old, server, newest].map((one) => one.destroy()))
  })

  const source = (one: Server, more: Record<string, unknown> = {}) => ({ name: 'pg', postgres: connection(one, more) })
  const once = (plan: string, one: Server, more: Record<string, unknown> = {}) => {
    work.values.restores.once = { from: { plan, storages: ['local'] }, targets: [source(one, more)] }
  }
  const manifests = async (plan: string) =>
    (await readdir(join(work.store, plan)).catch(() => [] as string[])).filter((name) => /^\d+\.json$/.test(name))

  test.for(releases)(
    '%s is backed up while a writer runs, dropped, and restored as it was at one point in time',
    async (release) => {
      const one = [old, server, newest][releases.indexOf(release)] as Server
      const before = await describeDatabase(one, shop)
      const latin = await describeDatabase(one, 'latin')
      const roles = await describeRoles(one)
      const writer = startWriter(one)
      const { summary } = await succeeds(work.holdfast('backup', release)).finally(writer.stop)
      const parts = (await work.manifest(release, `${summary.backup}`)).parts.map((part) => part.path)
      expect(parts.filter((path) => path.includes('/Shop%3B%20%22x/data-')).length).toBeGreaterThan(1)
      await dropAll(one)
      const restored = await succeeds(work.holdfast('restore', '--backup', release))
      expect(restored.summary.warnings ?? []).toEqual([])
      const after = await describeDatabase(one, shop)
      for (const ledger of ledgers) for (const said of [before, after]) delete said[ledger]
      expect(after).toEqual(before)
      expect(await describeDatabase(one, 'latin')).toEqual(latin)
      expect(await describeRoles(one)).toBe(roles)
      await refuseTorn(one)
      expect(existsSync(pwned)).toBe(false)
      const verified = await work.holdfast('verify', release, `${summary.backup}`, '--level', 'readable')
      expect(verified.code, verified.summary.error).toBe(0)
    },
  )

  test('is restored by hand with nothing but zstd and the clients, as the page says', async () => {
    const page = await readFile(new URL('../../../docs/engines/postgres.md', import.meta.url), 'utf8')
    const [, script = ''] = /## By hand.*?```bash\n(.*?)```/s.exec(page) ?? []
    const before = await Promise.all([shop, 'latin'].map((name) => describeDatabase(old, name)))
    const { summary } = await succeeds(work.holdfast('backup', 'postgres-15'))
    await dropAll(old)
    const { host, port, user, password, clients } = old
    const env = { ...process.env, PATH: `${clients}:${process.env.PATH}` }
    const login = { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password }
    const cwd = join(work.store, 'postgres-15', `${summary.backup}`, 'pg')
    await promisify(execFile)('bash', ['-c', script], { cwd, env: { ...env, ...login }, maxBuffer: 2 ** 26 })
    expect(await Promise.all([shop, 'latin'].map((name) => describeDatabase(old, name)))).toEqual(before)
  }, 60_000)

  test('is not restored twice by the same request, and by another one not over what is there', async () => {
    await sql(server, 'CREATE TABLE shop.mine (a int)', shop)
    const again = await work.holdfast('restore', '--backup', 'postgres-17')
    expect(again.summary).toMatchObject({ code: 0, steps: { pg: 'already restored' } })
    const refused = await work.holdfast('restore', '--backup', 'postgres-17', '--token', 'other')
    expect(refused).toMatchObject({
      code: 21,
      summary: { error: expect.stringMatching(/database Shop.* \(\d+ tables/) },
    })
    expect(await sql(server, 'SELECT count(*)::int AS n FROM shop.mine', shop)).toEqual([{ n: 0 }])
  })

  test('replaced with overwrite, killed in the middle, is completed by the same request without it', async () => {
    const marked = "SELECT state FROM holdfast.restores WHERE state = 'begun'"
    const run = work.start('restore', '--backup', 'postgres-17', '--token', 'third', '--overwrite')
    await run.says('"step":"tables"')
    run.kill('SIGKILL')
    expect((await run.done).code).not.toBe(0)
    expect(await sql(server, marked)).toHaveLength(1)
    const busy = await work.holdfast('backup', 'postgres-17')
    expect(busy).toMatchObject({ code: 25, summary: { error: expect.stringContaining('at work or did not end') } })
    await succeeds(work.holdfast('restore', '--backup', 'postgres-17', '--token', 'third'))
    expect(await sql(server, marked)).toEqual([])
    await refuseTorn(server)
    expect(await sql(server, "SELECT to_regclass('shop.mine') AS there", shop)).toEqual([{ there: null }])
  })

  test('is restored once by a request, and once for each backup by one with a schedule', async () => {
    work.values.backups.nightly = work.values.backups['postgres-17'] as Record<string, unknown>
    once('nightly', server)
    const change = (round: number) => sql(server, `CREATE TABLE shop.round_${round} (id int PRIMARY KEY)`, shop)
    await remembersRequests(work, { change, reach: () => describeDatabase(server, shop) })
    await sql(server, 'DROP TABLE shop.round_1, shop.round_2, shop.round_3', shop)
  }, 180_000)

  test('of an older release comes back on a newer one, and never the other way round', async () => {
    const before = await describeDatabase(old, shop)
    await dropAll(newest)
    await mkdir(join(old.dir, 'newer'))
    await sql(newest, `CREATE TABLESPACE elsewhere LOCATION '${old.dir}/newer'`)
    once('postgres-15', newest)
    await succeeds(work.holdfast('restore', 'once'))
    const after = await describeDatabase(newest, shop)
    for (const said of [before, after]) delete said.schema
    expect(after).toEqual(before)
    once('postgres-17', old, { clients: server.clients })
    const refused = await work.holdfast('restore', 'once')
    expect(refused).toMatchObject({ code: 22, summary: { hint: expect.stringContaining('same or a newer') } })
    work.values.backups.late = { storages: ['local'], sources: [source(server, { clients: old.clients })] }
    const late = await work.holdfast('backup', 'late')
    expect(late).toMatchObject({
      code: 2,
      summary: { error: expect.stringContaining('are of PostgreSQL 15'), hint: expect.stringContaining('clients') },
    })
    once('postgres-15', old, { clients: newest.clients })
    expect(await work.holdfast('restore', 'once', '--token', 'again')).toMatchObject({
      code: 2,
      summary: { error: expect.stringContaining('pg_restore 18 cannot write to PostgreSQL 15') },
    })
  })

  test('is dumped and restored with the fitting ones of several clients', async () => {
    const majors = join(work.dir, 'majors')
    for (const [major, one] of [
      ['15', old],
      ['18', newest],
    ] as const) {
      await mkdir(join(majors, major), { recursive: true })
      await symlink(one.clients, join(majors, major, 'bin'))
    }
    const include = { databases: ['latin'] }
    const dumped = async (plan: string, one: Server, clients: string) => {
      work.values.backups[plan] = { storages: ['local'], sources: [source(one, { clients, include, globals: false })] }
      const { summary } = await succeeds(work.holdfast('backup', plan))
      const tools = (await work.manifest(plan, `${summary.backup}`)).sources[0]?.tools
      return { by: Number.parseInt(`${tools?.pg_dump}`, 10), warnings: summary.warnings?.join() ?? '' }
    }
    expect(await dumped('of-15', old, majors)).toEqual({ by: 15, warnings: '' })
    expect(await dumped('of-17', server, majors)).toEqual({ by: 18, warnings: '' })
    const narrow = await dumped('of-15-by-18', old, newest.clients)
    expect(narrow).toEqual({ by: 18, warnings: expect.stringContaining('restored into PostgreSQL 17 or newer only') })

    for (const [plan, from, to] of [
      ['of-15', old, newest],
      ['of-17', server, server],
    ] as const) {
      const name = `again-${plan}`
      once(plan, to, { clients: majors, rename: [{ from: 'latin', to: name }] })
      await succeeds(work.holdfast('restore', 'once'))
      const [was, is] = [await describeDatabase(from, 'latin'), await describeDatabase(to, name)]
      for (const said of [was, is]) delete said.schema
      expect(is).toEqual(was)
      await sql(to, `DROP DATABASE "${name}"`)
    }
    once('of-17', old, { clients: majors })
    const older = await work.holdfast('restore', 'once')
    expect(older).toMatchObject({ code: 22, summary: { hint: expect.stringContaining('same or a newer') } })
    once('of-15-by-18', old, { clients: majors })
    const back = await work.holdfast('restore', 'once')
    expect(back).toMatchObject({
      code: 2,
      summary: { error: expect.stringContaining('cannot write to PostgreSQL 15') },
    })
  }, 180_000)

  test('comes back under another name, without the rows that are left out, into a database that is there', async () => {
    await sql(server, "CREATE DATABASE empty TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'")
    const rename = [{ from: shop, to: 'empty' }]
    const exclude = { databases: ['latin', 'postgres'], tables: [`${shop}.shop.ledger_a`, `${shop}.shop.types`] }
    once('postgres-17', server, { rename, exclude })
    const { summary } = await succeeds(work.holdfast('restore', 'once'))
    expect(summary.steps).toMatchObject({ pg: { prove: { databases: 1 } } })
    const [counts] = await sql(
      server,
      'SELECT (SELECT count(*) FROM shop.ledger_a)::int AS a, (SELECT count(*) FROM shop.types)::int AS t, (SELECT count(*) FROM shop.orders)::int AS o',
      'empty',
    )
    expect(counts).toEqual({ a: 0, t: 0, o: 2000 })
    once('postgres-17', server, { include: { tables: [`${shop}.shop.orderz`] } })
    expect((await work.holdfast('restore', 'once')).code).toBe(20)
    await sql(server, 'ALTER SUBSCRIPTION far DISABLE; ALTER SUBSCRIPTION far SET (slot_name = NONE)', 'empty')
    await sql(server, 'DROP SUBSCRIPTION far', 'empty')
    await sql(server, 'DROP DATABASE empty')
  })

  test.each([
    ['parallel', 'the request'],
    ['single', 'the request'],
    ['parallel', 'the plan'],
    ['single', 'the plan'],
  ])(
    'one table comes back without those that it refers to, by whoever has variables of another server (%s, of %s)',
    async (method, chosenBy) => {
      const env = { PGPASSWORD: 'none', PGHOSTADDR: '127.0.0.9', PGSERVICE: 'nowhere', PGSSLMODE: 'verify-full' }
      Object.assign(work.env, env)
      await sql(
        server,
        `CREATE SCHEMA one; CREATE TABLE one."of all" (id int PRIMARY KEY); INSERT INTO one."of all" VALUES (1);
         CREATE TABLE one.lines (n int PRIMARY KEY, a int REFERENCES one."of all", before int REFERENCES one.lines); INSERT INTO one.lines VALUES (1, 1, NULL), (2, 1, 1);
         COMMENT ON CONSTRAINT lines_a_fkey ON one.lines IS 'why'`,
      )
      const tables = chosenBy === 'the plan' ? { exclude: { databases: [], tables: ['postgres.one.of all'] } } : {}
      const only = { include: { databases: ['postgres'] }, globals: false, method, ...tables }
      work.values.backups.lines = { storages: ['local'], sources: [source(server, only)] }
      await succeeds(work.holdfast('backup', 'lines'))
      once('lines', server, {
        ...(chosenBy === 'the plan' ? {} : { include: { tables: ['postgres.one.lines'] } }),
        rename: [{ from: 'postgres', to: 'lines_copy' }],
      })
      const { summary } = await succeeds(work.holdfast('restore', 'once', '--token', `${method} ${chosenBy}`))
      for (const name of Object.keys(env)) delete work.env[name]
      expect(summary.warnings).toContainEqual(
        expect.stringContaining('left out of database lines_copy: one.lines lines_a_fkey, which refer'),
      )
      expect(await sql(server, 'SELECT * FROM one.lines ORDER BY n', 'lines_copy')).toEqual([
        { n: 1, a: 1, before: null },
        { n: 2, a: 1, before: 1 },
      ])
      const keys = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = 'one.lines'::regclass"
      expect(await sql(server, keys, 'lines_copy')).toEqual([{ conname: 'lines_before_fkey' }])
      await sql(server, 'DROP DATABASE lines_copy')
      await sql(server, 'DROP SCHEMA one CASCADE')
    },
    60_000,
  )

  test.each(['parallel', 'single'])('a damaged part is found before anything is dropped (%s)', async (method) => {
    const plan = `damaged-${method}`
    work.values.backups[plan] = {
      storages: ['local'],
      sources: [source(server, { include: { databases: [shop] }, method })],
    }
    const { summary } = await succeeds(work.holdfast('backup', plan))
    const { parts } = await work.manifest(plan, `${summary.backup}`)
    const path = parts.map((part) => part.path).findLast((one) => one.includes(method === 'single' ? 'Shop' : '/data-'))
    const file = join(work.store, plan, `${summary.backup}`, path as string)
    const bytes = await readFile(file)
    bytes[bytes.length - 20] = (bytes.at(-20) as number) ^ 1
    await writeFile(file, bytes)
    const before = await describeDatabase(server, shop)
    const restored = await work.holdfast('restore', '--backup', plan, '--overwrite')
    expect(restored.code).toBe(24)
    expect(await describeDatabase(server, shop)).toEqual(before)
    expect(before.schema).toBeTruthy()
  })

  test('in one archive, of one database that everybody is logged in to, comes back in place', async () => {
    await sql(
      server,
      `CREATE SCHEMA app; CREATE TABLE app.t AS SELECT i, md5(i::text) FROM generate_series(1, 1000) i; CREATE EXTENSION hstore`,
    )
    const only = { include: { databases: ['postgres'] }, method: 'single', globals: false }
    work.values.backups.one = { storages: ['local'], sources: [source(server, only)] }
    const before = await describeDatabase(server, 'postgres')
    const { summary } = await succeeds(work.holdfast('backup', 'one'))
    const { parts } = await work.manifest('one', `${summary.backup}`)
    expect(parts.map((part) => part.path)).toEqual(['pg/postgres/database.dump.zst'])
    await sql(server, 'DELETE FROM app.t; CREATE TABLE app.more (a int)')
    expect((await work.holdfast('restore', '--backup', 'one', '--token', '1')).code).toBe(21)
    await succeeds(work.holdfast('restore', '--backup', 'one', '--token', '1', '--overwrite'))
    expect(await describeDatabase(server, 'postgres')).toEqual(before)
    await sql(server, 'DROP SCHEMA app CASCADE; DROP EXTENSION hstore')
  })

  test.for([
    ['pg_dump', 'fails halfway', '"$real" "$@" | head -c 700; exit 1'],
    ['pg_dump', 'fails after its last byte', '"$real" "$@"; exit 3'],
    ['pg_dump', 'is killed', 'head -c 700 <("$real" "$@"); kill -9 $$'],
    ['pg_dump', 'is cut off and ends with 0', '"$real" "$@" | head -c -20; exit 0'],
    ['pg_dumpall', 'fails at its start', 'echo cannot >&2; exit 1'],
    ['pg_dumpall', 'is cut off and ends with 0', '"$real" "$@" | head -c -20; exit 0'],
  ] as const)('with a %s that %s makes no backup', async ([program, title, fault]) => {
    const plan = `${program}-${title}`.replaceAll(/\W|_/g, '-')
    const clients = await fakeClients(join(work.dir, plan), server.clients, { [program]: fault })
    work.values.backups[plan] = {
      storages: ['local'],
      sources: [source(server, { clients, include: { databases: ['latin'] } })],
    }
    const { code, summary } = await work.holdfast('backup', plan)
    expect(code, summary.error).toBe(22)
    expect(await manifests(plan)).toEqual([])
    delete work.values.backups[plan]
  })

  describe('with large tables', () => {
    const name = 'large'
    const copyOf = (to: string, more: Record<string, unknown> = {}) =>
      once(name, server, { globals: false, rename: [{ from: name, to }], ...more })

    beforeAll(async () => {
      await sql(server, `CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`)
      await sql(server, largeTables, name)
      const only = { include: { databases: [name] }, globals: false }
      work.values.backups[name] = { storages: ['local'], sources: [source(server, only)] }
      work.values.backups.rooted = {
        storages: ['local'],
        sources: [source(server, { ...only, extraOptions: ['--load-via-partition-root'] })],
      }
      await succeeds(work.holdfast('backup', name))
    }, 60_000)

    test.each([
      ['whose rows come by COPY', 'large', {}, true],
      ['whose rows come through pg_restore', 'large', { extraOptions: ['--no-security-labels'] }, false],
      ['whose partitions are loaded through their root', 'rooted', {}, true],
    ])('%s, they come back with their indexes and keys', async (title, plan, more, frozen) => {
      if (plan === 'rooted') await succeeds(work.holdfast('backup', plan))
      once(plan, server, { globals: false, rename: [{ from: name, to: 'large2' }], ...more })
      const { summary } = await succeeds(work.holdfast('restore', 'once', '--token', title))
      const bytes = await bytesIn(work, { plan, id: summary.backup, path: /data-/ })
      // pg_restore reads itself what it gets
      expect(summary.steps).toMatchObject({ pg: { data: frozen ? { bytes } : {}, prove: { tables: 6 } } })
      const [was, is] = [await describeDatabase(server, name), await describeDatabase(server, 'large2')]
      expect(was.schema).toMatch(/EXCLUDE|UNIQUE/)
      for (const said of [was, is]) said.schema = said.schema?.replaceAll('large2', name) ?? ''
      expect(is).toEqual(was)
      const pages = 'SELECT relallvisible > 0 AS seen FROM pg_class WHERE oid = \'app."Big one"\'::regclass'
      expect(await sql(server, pages, 'large2')).toEqual([{ seen: frozen }])
      await sql(server, 'DROP DATABASE large2')
    })

    test.each([
      ['a row that the server refuses', 'refused', /not here \(COPY checked, line 1\)/],
      ['a connection that is lost', 'lost', /terminat/],
    ])('%s ends the restore, which is then run again', async (_, trouble, says) => {
      copyOf('large2')
      await sql(server, `ALTER ROLE hf SET app.trouble = '${trouble}'`)
      const failed = await work.holdfast('restore', 'once', '--token', trouble)
      expect(failed.code, failed.summary.error).toBe(22)
      expect(failed.summary.error).toMatch(says)
      expect(await sql(server, 'SELECT count(*)::int AS n FROM app.checked', 'large2')).toEqual([{ n: 0 }])
      await sql(server, 'ALTER ROLE hf RESET app.trouble')
      await succeeds(work.holdfast('restore', 'once', '--token', trouble))
      expect(await sql(server, 'SELECT count(*)::int AS n FROM app.checked', 'large2')).toEqual([{ n: 10 }])
      await sql(server, 'DROP DATABASE large2')
    })

    test('a table with other rows than were backed up is found, and nothing of its part stays', async () => {
      const { summary } = await succeeds(work.holdfast('backup', name))
      const file = join(work.store, name, `${summary.backup}.json`)
      const text = await readFile(file, 'utf8')
      expect(text).toContain('"rows": 120000')
      await writeFile(file, text.replace('"rows": 120000', '"rows": 120001'))
      copyOf('short')
      const { code, summary: said } = await work.holdfast('restore', 'once', '--token', 'short')
      expect({ code, error: said.error }).toEqual({
        code: 24,
        error: expect.stringContaining('took 120000 rows of app.Big one instead of 120001'),
      })
      expect(await sql(server, 'SELECT count(*)::int AS n FROM app."Big one"', 'short')).toEqual([{ n: 0 }])
      await writeFile(file, text)
      await succeeds(work.holdfast('restore', 'once', '--token', 'short'))
      await sql(server, 'DROP DATABASE short')
    })
  })

  test('with a pg_restore that fails leaves an unfinished restore, which a good one completes', async () => {
    await succeeds(work.holdfast('backup', 'small'))
    for (const fault of [
      '"$real" "$@"; exit 3',
      'case "$*" in *single-tr*) head -c 600 >/dev/null; exit 1;; *) exec "$real" "$@";; esac',
    ]) {
      const clients = await fakeClients(join(work.dir, 'restoring'), server.clients, { pg_restore: fault })
      once('small', server, { clients, rename: [{ from: 'latin', to: 'latin2' }] })
      const { code, summary } = await work.holdfast('restore', 'once')
      expect(code, summary.error).toBe(22)
    }
    once('small', server, { rename: [{ from: 'latin', to: 'latin2' }] })
    await succeeds(work.holdfast('restore', 'once'))
    expect(await sql(server, 'SELECT * FROM größe', 'latin2')).toEqual([{ a: 'smörgås' }])
    await sql(server, 'DROP DATABASE latin2')
  })

  test.for([
    [
      'a wrong password',
      { credentials: { secret: 'wrong' } },
      /password authentication failed/,
      /Secret of .*credentials/,
    ],
    ['a wrong port', { port: 1 }, /ECONNREFUSED/, /host and port/],
    ['a wrong database', { database: 'nowhere' }, /does not exist/, /\.database/],
    ['a CA that did not sign', { tls: { mode: 'verify-ca' } }, /certificate/, /tls\.ca/],
  ] as const)('with %s is refused with a hint', async ([, more, message, hint]) => {
    await work.secret('wrong', { username: 'hf', password: 'wrong' })
    work.values.backups.wrong = { storages: ['local'], sources: [source(server, more)] }
    const { code, summary } = await work.holdfast('backup', 'wrong')
    expect(code, summary.error).toBe(22)
    expect(summary.error).toMatch(message)
    expect(summary.hint).toMatch(hint)
    delete work.values.backups.wrong
  })

  test('is not waited for longer than the values say when somebody changes a table, and no id is left in use', async () => {
    const holder = new pg.Client({ ...loginOf(server), database: 'latin' })
    await holder.connect()
    await holder.query('BEGIN; LOCK TABLE größe IN ACCESS EXCLUSIVE MODE')
    const more = { include: { databases: ['latin'] }, lockTimeout: '1s' }
    work.values.backups.locked = { storages: ['local'], sources: [source(server, more)] }
    const locked = await work.holdfast('backup', 'locked')
    expect(locked).toMatchObject({ code: 25, summary: { error: expect.stringContaining('is locked by somebody') } })
    expect(await manifests('locked')).toEqual([])
    await holder.end()
    await succeeds(work.holdfast('backup', 'locked'))
  })

  test('is restored by the owner of an empty database, who may make nothing else', async () => {
    await sql(server, `CREATE ROLE plain LOGIN PASSWORD '${secrets.app}'`)
    await sql(
      server,
      "CREATE DATABASE own OWNER plain TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    await work.secret('plain', { username: 'plain', password: secrets.app })
    await succeeds(work.holdfast('backup', 'small'))
    const own = { database: 'own', credentials: { secret: 'plain' }, rename: [{ from: 'latin', to: 'own' }] }
    once('small', server, { ...own, globals: false, ownership: false })
    await succeeds(work.holdfast('restore', 'once'))
    expect(
      await sql(server, "SELECT a, pg_get_userbyid(relowner) AS o FROM größe, pg_class WHERE relname = 'größe'", 'own'),
    ).toEqual([{ a: 'smörgås', o: 'plain' }])
  })

  test('is backed up by an account with the grants of the docs, which says what it may not read', async () => {
    await sql(server, `CREATE ROLE reader LOGIN BYPASSRLS PASSWORD '${secrets.app}'; GRANT pg_read_all_data TO reader`)
    await work.secret('reader', { username: 'reader', password: secrets.app })
    const least = { credentials: { secret: 'reader' }, rolePasswords: false }
    const plans = {
      least: { ...least, exclude: { databases: [shop] } },
      objects: least,
      hashes: { ...least, rolePasswords: true },
    }
    for (const [plan, more] of Object.entries(plans))
      work.values.backups[plan] = { storages: ['local'], sources: [source(server, more)] }
    const { summary } = await succeeds(work.holdfast('backup', 'least'))
    const globals = await readFile(join(work.store, 'least', `${summary.backup}`, 'pg/globals.sql.zst'))
    expect(zstdDecompressSync(globals).toString()).not.toMatch(/PASSWORD/)
    await sql(server, 'GRANT CONNECT ON DATABASE "Shop; ""x" TO reader')
    expect((await work.holdfast('backup', 'objects')).summary).toMatchObject({
      code: 22,
      error: expect.stringContaining('large object 4712'),
    })
    expect((await work.holdfast('backup', 'hashes')).summary).toMatchObject({
      code: 22,
      hint: expect.stringContaining('rolePasswords: false'),
    })
    await sql(server, 'ALTER ROLE reader NOBYPASSRLS')
    await sql(server, 'SELECT lo_unlink(oid) FROM pg_largeobject_metadata', shop)
    expect((await work.holdfast('backup', 'objects')).summary).toMatchObject({
      code: 22,
      hint: expect.stringContaining('BYPASSRLS'),
    })
  })

  test('is not restored from a dump that holds a command for the shell', async () => {
    const { summary } = await succeeds(work.holdfast('backup', 'small'))
    const id = `${summary.backup}`
    await tamper(id, (text) => text.replace('CREATE ROLE', `\\! touch ${pwned}\nCREATE ROLE`))
    once('small', server, { rename: [{ from: 'latin', to: 'latin3' }] })
    const refused = await work.holdfast('restore', 'once', '--pick', id)
    expect(refused).toMatchObject({ code: 24, summary: { error: expect.stringContaining('command of psql') } })
    await tamper(id, (text) => text.replace(/\\!.*\n/, "COPY (SELECT 1) TO PROGRAM 'touch /tmp/holdfast-pwned';\n"))
    expect((await work.holdfast('restore', 'once', '--pick', id)).code).toBe(24)
    expect(existsSync(pwned)).toBe(false)
    expect(await sql(server, "SELECT 1 FROM pg_database WHERE datname = 'latin3'")).toEqual([])
  })

  /** Changes globals.sql as somebody could who can write to the storage. */
  async function tamper(id: string, change: (text: string) => string): Promise<void> {
    const manifest = await work.manifest('small', id)
    const part = manifest.parts.find(({ path }) => path.endsWith('globals.sql.zst'))
    const file = join(work.store, 'small', id, 'pg/globals.sql.zst')
    const plain = Buffer.from(change(zstdDecompressSync(await readFile(file)).toString()))
    const stored = zstdCompressSync(plain)
    const said = (bytes: Buffer) => ({ size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') })
    Object.assign(part ?? {}, said(stored), { plain: said(plain) })
    await writeFile(file, stored)
    await writeFile(join(work.store, 'small', `${id}.json`), JSON.stringify(manifest))
  }
})

/** More rows than it takes to make indexes before all others; and a table that nothing gets into when there is trouble. Without autovacuum, which would mark pages as `FREEZE` does. */
const largeTables = `
  CREATE SCHEMA app;
  CREATE FUNCTION app.fine(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('app.trouble', true) = 'refused' THEN RAISE 'not here'; END IF;
    IF current_setting('app.trouble', true) = 'lost' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
    RETURN true; END $$;
  CREATE TABLE app."Big one" (id bigint PRIMARY KEY, "B c" text UNIQUE, span int4range, pad text DEFAULT repeat('ä', 80), EXCLUDE USING gist (span WITH &&)) WITH (autovacuum_enabled = false);
  INSERT INTO app."Big one" SELECT i, 'wört ' || i, int4range(i, i + 1) FROM generate_series(1, 120000) i;
  CREATE INDEX ON app."Big one" (lower("B c")) WHERE id > 7;
  CREATE INDEX "a b" ON app."Big one" USING hash ("B c");
  COMMENT ON INDEX app."a b" IS 'said of it';
  ALTER TABLE app."Big one" CLUSTER ON "Big one_pkey";
  CREATE TABLE app.parted (day date, n int, pad text DEFAULT repeat('x', 150), PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
  CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
  CREATE TABLE app.parted_2 PARTITION OF app.parted FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
  CREATE INDEX ON app.parted (n);
  INSERT INTO app.parted SELECT date '2020-01-01' + i % 400, i FROM generate_series(1, 112000) i;
  CREATE TABLE app.refers (id int PRIMARY KEY, big bigint REFERENCES app."Big one", n int GENERATED ALWAYS AS IDENTITY);
  INSERT INTO app.refers SELECT i, i FROM generate_series(1, 5000) i;
  CREATE TABLE app.checked (id int CHECK (app.fine(id)));
  INSERT INTO app.checked SELECT generate_series(1, 10);
  CREATE TABLE app.none (id int);
  CREATE MATERIALIZED VIEW app.sums AS SELECT day, sum(n) FROM app.parted GROUP BY day;
  CREATE UNIQUE INDEX ON app.sums (day);
`

const ledgers = ['shop.ledger_a', 'shop.ledger_b', 'shop.ledger_c']

/** All three tables end with the same number: each was written in one transaction, and read by another pg_dump. */
async function refuseTorn(server: Server): Promise<void> {
  const [last] = await sql<Record<string, number>>(
    server,
    `SELECT (SELECT max(n) FROM shop.ledger_a) AS a, (SELECT max(n) FROM shop.ledger_b) AS b,
            (SELECT max(n) FROM shop.ledger_c) AS c, (SELECT count(*) FROM shop.ledger_c)::int AS n`,
    shop,
  )
  expect(new Set(Object.values(last ?? {})).size, JSON.stringify(last)).toBe(1)
  expect(last?.n).toBeGreaterThan(0)
}

async function seed(server: Server): Promise<void> {
  await sql(
    server,
    `CREATE ROLE owner_role; CREATE ROLE app_role LOGIN PASSWORD '${secrets.app}' VALID UNTIL '2040-01-01' CONNECTION LIMIT 7;
     CREATE ROLE "odd; role" CREATEDB BYPASSRLS; GRANT owner_role TO "odd; role" WITH ADMIN OPTION; GRANT pg_read_all_settings TO app_role;
     ALTER ROLE app_role SET search_path = shop, "B c"; COMMENT ON ROLE app_role IS E'it''s\\n\\\\! touch ${pwned}'`,
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
  const text = await readFile(join(import.meta.dirname, 'postgres/seed.sql'), 'utf8')
  await client(server, 'psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', `dbname='${shop}'`], text)
  await sql(
    server,
    "CREATE TABLE größe (a text); INSERT INTO größe VALUES ('smörgås'); COMMENT ON DATABASE latin IS 'ä'",
    'latin',
  )
}

/** Writes the same number to three tables in one transaction, as fast as it can. */
function startWriter(server: Server) {
  let on = true
  const done = (async () => {
    const client = new pg.Client({ ...loginOf(server), database: shop })
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
