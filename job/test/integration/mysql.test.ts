import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Connection } from 'mysql2/promise'
import { createConnection } from 'mysql2/promise'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { MysqlFacts } from '../../engines/mysql/facts.ts'
import { patiently } from '../patience.ts'
import { type Server, startServer } from '../servers/kit.ts'
import { bytesIn, openWorkspace, secrets, succeeds, type Workspace } from './harness.ts'
import { remembersRequests } from './memory.ts'
import { seedOf } from './mysql-seed.ts'

const releases = [
  ['mariadb-11.8', 'MariaDB'],
  ['mysql-9.7', 'MySQL'],
  ['mariadb-10.11', 'MariaDB'],
] as const
const chosen = process.env.HOLDFAST_TEST_MYSQL?.split(' ')

/** The least that the documentation says. */
const grants = {
  MySQL: 'SELECT, SHOW VIEW, EXECUTE, TRIGGER, EVENT, FLUSH_TABLES, REPLICATION CLIENT',
  MariaDB: 'SELECT, SHOW VIEW, SHOW CREATE ROUTINE, EXECUTE, TRIGGER, EVENT, RELOAD, BINLOG MONITOR',
}

describe.each(releases.filter(([name]) => !chosen || chosen.includes(name)))('%s', (name, product) => {
  const programs =
    product === 'MySQL' ? { dump: 'mysqldump', load: 'mysql' } : { dump: 'mariadb-dump', load: 'mariadb' }
  let server: Server | undefined
  let work: Workspace
  let root: Connection
  let before: State

  beforeAll(async () => {
    server = await startServer(name)
    if (!server) return
    work = await openWorkspace()
    await work.secret('root', { username: server.user, password: server.password })
    root = await createConnection({
      host: server.host,
      port: server.port,
      user: server.user,
      password: server.password,
      multipleStatements: true,
    })
    await seed()
    before = await state()
  }, 120_000)

  afterAll(async () => {
    await root?.end().catch(() => {})
    await server?.destroy()
    await work?.remove()
  }, 60_000)

  const real = () => server as Server
  const login = () => [
    `-h${real().host}`,
    `-P${real().port}`,
    `-u${real().user}`,
    `-p${real().password}`,
    '--protocol=TCP',
  ]

  async function seed(): Promise<void> {
    await real().client(programs.load, [...login(), '--default-character-set=utf8mb4'], seedOf(product))
    const rights = name === 'mariadb-10.11' ? grants.MariaDB.replace('SHOW CREATE ROUTINE, ', '') : grants[product]
    await root.query(`CREATE USER hf@'%' IDENTIFIED BY '${secrets.database}'; GRANT ${rights} ON *.* TO hf@'%'`)
  }

  function source(more: Record<string, unknown> = {}) {
    return {
      name: 'db',
      mysql: {
        ...{ host: real().host, port: real().port, credentials: { secret: 'db' }, tls: { mode: 'disabled' } },
        ...{ clients: real().clients, ...more },
      },
    }
  }

  function target(more: Record<string, unknown> = {}) {
    return source({ credentials: { secret: 'root' }, ...more })
  }

  function use(more: Record<string, unknown> = {}, aim: Record<string, unknown> = {}): void {
    work.values.backups = { nightly: { storages: ['local'], sources: [source(more)] } }
    work.values.restores = {
      once: { from: { plan: 'nightly', storages: ['local'] }, pick: 'latest', targets: [target(aim)] },
    }
  }

  async function backup(): Promise<MysqlFacts> {
    const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
    return (await work.manifest('nightly', summary.backup as string)).sources[0]?.facts as MysqlFacts
  }

  /** Rows and definitions of everything but the bank, as the server's own program writes them, and its accounts. */
  interface State {
    dump: string
    accounts: string
  }

  async function state(): Promise<State> {
    const options = [
      '--skip-dump-date',
      '--routines',
      '--events',
      '--hex-blob',
      '--order-by-primary',
      '--single-transaction',
    ]
    const more =
      product === 'MySQL'
        ? ['--set-gtid-purged=OFF', '--no-tablespaces']
        : name === 'mariadb-11.8'
          ? ['--dump-history']
          : []
    const dump = await real().client(programs.dump, [
      ...login(),
      ...options,
      ...more,
      '--databases',
      'shop',
      'odd name',
      'empty_one',
    ])
    const names = ['keeper@localhost', `'o''dd na"me'@'10.0.%'`, 'reader']
    const queries = [
      ...names.map((one) => `SHOW GRANTS FOR ${one}`),
      ...names.slice(0, 2).map((one) => `SHOW CREATE USER ${one}`),
    ]
    const said: unknown[] = []
    if (product === 'MySQL') await root.query('SET SESSION print_identified_with_as_hex = ON')
    for (const query of queries)
      said.push(
        await root.query(query).then(
          ([rows]) => rows,
          () => 'none',
        ),
      )
    // the columns of a grant come in no order
    const accounts = JSON.stringify(said, null, 1).replace('(`amount`, `id`)', '(`id`, `amount`)')
    return { dump: dump.replace(/DO SETVAL.*/g, ''), accounts }
  }

  async function lose(): Promise<void> {
    await root.query(
      'DROP DATABASE IF EXISTS shop; DROP DATABASE IF EXISTS `odd name`; DROP DATABASE IF EXISTS empty_one; DROP DATABASE IF EXISTS bank',
    )
    await root.query(
      `DROP DATABASE IF EXISTS holdfast; DROP USER IF EXISTS keeper@localhost, 'o''dd na"me'@'10.0.%'; DROP ROLE IF EXISTS reader`,
    )
  }

  /** Moves money until it is told to stop; tells how often. */
  function writing() {
    let stopped = false
    const moves = (async () => {
      const writer = await createConnection({
        host: real().host,
        port: real().port,
        user: real().user,
        password: real().password,
      })
      const [[last]] = (await writer.query('SELECT COUNT(*) AS n FROM bank.ledger')) as unknown as [[{ n: number }]]
      let n = last.n
      for (; !stopped; n++) {
        await writer.beginTransaction()
        await writer.query('UPDATE bank.here SET money = money - ?, moves = moves + 1', [n % 7])
        await writer.query('UPDATE bank.there SET money = money + ?, moves = moves + 1', [n % 7])
        await writer.query('INSERT INTO bank.ledger VALUES (?, ?)', [n, n % 7])
        await writer.commit()
      }
      await writer.end()
      return n
    })()
    const stop = () => {
      stopped = true
      return moves
    }
    return { stop, [Symbol.asyncDispose]: async () => void (await stop().catch(() => {})) }
  }

  async function bank() {
    const [[row]] = (await root.query(
      `SELECT h.moves AS here, t.moves AS there, h.money + t.money AS money, t.money AS moved, (SELECT COUNT(*) FROM bank.ledger) AS ledger,
         (SELECT CAST(IFNULL(SUM(amount), 0) AS SIGNED) FROM bank.ledger) AS amount FROM bank.here h, bank.there t`,
    )) as unknown as [[{ here: number; there: number; money: number; moved: number; ledger: number; amount: number }]]
    return row
  }

  describe.each([['parallel'], ['mysqldump']])('the method %s', (method) => {
    test('brings back every object and row, at one point in time while a writer runs', async ({ skip }) => {
      if (!server) return skip()
      use({ method, proof: 'checksums' })
      await using writer = writing()
      const facts = await backup()
      const moves = await writer.stop()
      expect(facts.consistency.binlog).toMatchObject({ file: expect.stringMatching(/^binlog\./) })
      const { summary } = await succeeds(work.holdfast('verify', 'nightly', 'latest', '--level', 'readable'))
      expect(summary.outcome).toBe('done')
      await lose()
      const restored = await succeeds(work.holdfast('restore', 'once'))
      const read = { plan: 'nightly', id: restored.summary.backup, path: /data|dump/ }
      expect(restored.summary.steps).toMatchObject({ db: { data: { bytes: await bytesIn(work, read) } } })
      const after = await state()
      expect(after.dump).toEqual(before.dump)
      expect(after.accounts).toEqual(before.accounts)
      const found = await bank()
      expect(found.here).toBe(found.there)
      expect(found.ledger).toBe(found.here)
      expect(found.moved).toBe(found.amount)
      expect(Number(found.money)).toBe(1_000_000)
      expect(found.ledger).toBeLessThanOrEqual(moves)
      expect(restored.stdout).toMatch(/checksums [1-9]/)
      const again = await succeeds(work.holdfast('restore', 'once'))
      expect(again.stdout).toContain('already restored')
    }, 180_000)
  })

  if (name === 'mariadb-10.11') return

  test('a target that is not empty is refused and stays as it is; overwrite replaces it, chosen tables only', async ({
    skip,
  }) => {
    if (!server) return skip()
    use({ accounts: false })
    await backup()
    await root.query('INSERT INTO shop.nothing VALUES (77); CREATE TABLE shop.extra (id INT); DROP DATABASE holdfast')
    const refused = await work.holdfast('restore', 'once')
    expect(refused.code).toBe(21)
    expect(refused.summary.error).toContain('database shop')
    use({ accounts: false }, { include: { databases: [], tables: ['shop.nothing'] } })
    await succeeds(work.holdfast('restore', 'once', '--overwrite'))
    const [rows] = await root.query('SELECT COUNT(*) AS n FROM shop.nothing UNION ALL SELECT COUNT(*) FROM shop.extra')
    expect(rows).toEqual([{ n: 0 }, { n: 0 }])
    use({ accounts: false }, { exclude: { databases: ['bank'], tables: ['shop.orders'] } })
    const partly = await succeeds(work.holdfast('restore', 'once', '--overwrite'))
    expect(partly.summary.warnings?.join()).toContain('left out')
    use({ accounts: false })
    await succeeds(work.holdfast('restore', 'once', '--overwrite', '--token', 'all'))
    expect((await state()).dump).toEqual(before.dump)
  }, 180_000)

  test('what the source left out is nobody\u2019s: views of it are left out with a warning, and overwrite leaves it', async ({
    skip,
  }) => {
    if (!server) return skip()
    await root.query(
      'CREATE DATABASE part; CREATE TABLE part.kept (id INT PRIMARY KEY); CREATE TABLE part.sessions (id INT PRIMARY KEY); INSERT INTO part.kept VALUES (1); INSERT INTO part.sessions VALUES (2); CREATE VIEW part.shows AS SELECT * FROM part.kept; CREATE VIEW part.lost AS SELECT * FROM part.sessions',
    )
    const rows = async () => (await root.query('SELECT id FROM part.shows UNION ALL SELECT id FROM part.sessions'))[0]
    for (const method of ['parallel', 'mysqldump']) {
      use({ accounts: false, method, include: { databases: ['part'] }, exclude: { tables: ['part.sessions'] } })
      await backup()
      await root.query('DELETE FROM part.kept')
      await succeeds(work.holdfast('restore', 'once', '--overwrite', '--token', `${method} over`))
      expect(await rows()).toEqual([{ id: 1 }, { id: 2 }])
      await root.query('CREATE TABLE shop.aside AS SELECT * FROM part.sessions; DROP DATABASE part')
      const { summary } = await succeeds(work.holdfast('restore', 'once', '--token', method))
      expect(summary.warnings).toEqual([
        expect.stringMatching(/left out with its table: .*part\.sessions/),
        'views of database part were left out with their tables: lost',
      ])
      expect((await root.query('SELECT id FROM part.shows'))[0]).toEqual([{ id: 1 }])
      await root.query(
        'CREATE TABLE part.sessions (id INT PRIMARY KEY); INSERT INTO part.sessions SELECT * FROM shop.aside; DROP TABLE shop.aside; CREATE OR REPLACE VIEW part.lost AS SELECT * FROM part.sessions',
      )
    }
    await root.query('DROP DATABASE part')
  }, 180_000)

  test('a request is carried out once, one with a schedule once for each backup', async ({ skip }) => {
    if (!server) return skip()
    use({ accounts: false })
    const change = (round: number) => root.query(`CREATE TABLE shop.round_${round} (id INT PRIMARY KEY)`)
    await remembersRequests(work, { change, reach: async () => (await state()).dump })
    await root.query('DROP TABLE shop.round_1, shop.round_2, shop.round_3')
  }, 180_000)

  test('without the privilege for the lock, positions that stand still prove the snapshot', async ({ skip }) => {
    if (!server) return skip()
    const privilege = product === 'MySQL' ? 'FLUSH_TABLES' : 'RELOAD'
    await root.query(`REVOKE ${privilege} ON *.* FROM hf@'%'`)
    use({ accounts: false })
    const facts = await backup()
    expect(facts.consistency.by).toBe('positions')
    await using writer = writing()
    const failed = await work.holdfast('backup', 'nightly')
    await writer.stop()
    await root.query(`GRANT ${privilege} ON *.* TO hf@'%'`)
    expect(failed.code).toBe(22)
    expect(failed.summary.hint).toContain(`GRANT ${privilege}`)
  }, 120_000)

  /** Scripts in front of the real client, by what they do with its output. */
  async function fake(file: string, body: string): Promise<string> {
    const folder = join(work.dir, `fake-${Math.random()}`)
    await mkdir(folder)
    for (const program of await readdir(real().clients)) {
      const script = `#!/usr/bin/env bash\nreal() { '${join(real().clients, program)}' "$@"; }\n`
      const passes = `case "$*" in *--version*) real "$@"; exit;; esac\n`
      if (!Object.values(programs).includes(program)) continue
      await writeFile(join(folder, program), script + passes + (program === file ? body : 'real "$@"'))
      await chmod(join(folder, program), 0o755)
    }
    return folder
  }

  test.each([
    ['at its start', 'echo "dump: it broke" >&2; exit 2'],
    ['halfway', 'real "$@" | head -c 3000; echo "dump: it broke" >&2; exit 2'],
    ['at its end', 'real "$@"; echo "dump: it broke" >&2; exit 3'],
    ['silently short', 'real "$@" | head -c 3000'],
    ['without the last lines', 'real "$@" | grep -v "^-- Dump completed"'],
  ])(
    'a dump that fails %s makes no backup',
    async (_, body) => {
      if (!server) return
      for (const method of ['parallel', 'mysqldump']) {
        use({ method, clients: await fake(programs.dump, body) })
        const manifests = (await readdir(join(work.store, 'nightly'))).filter((file) => file.endsWith('.json'))
        const failed = await work.holdfast('backup', 'nightly')
        expect(failed.code).toBe(22)
        expect(failed.summary.error).toContain(programs.dump)
        expect((await readdir(join(work.store, 'nightly'))).filter((file) => file.endsWith('.json'))).toEqual(manifests)
      }
    },
    120_000,
  )

  test('a restore that was killed is completed by the next run', async ({ skip }) => {
    if (!server) return skip()
    use({ accounts: false })
    await backup()
    await lose()
    const held = join(work.dir, 'held')
    const body = `[ -e '${held}' ] || exec '${join(real().clients, programs.load)}' "$@"\nhead -c 2500 | real "$@"; echo $$ > '${held}.pid'; mv '${held}.pid' '${held}.now'; exec sleep 600`
    await writeFile(held, '')
    use({ accounts: false }, { clients: await fake(programs.load, body) })
    const killed = work.start('restore', 'once')
    await vi.waitUntil(() => existsSync(`${held}.now`), patiently)
    killed.kill('SIGKILL')
    await killed.done
    await rm(held)
    const half = await work.holdfast('backup', 'nightly')
    expect([half.code, half.summary.error]).toEqual([25, expect.stringContaining('did not end')])
    process.kill(Number(await readFile(`${held}.now`, 'utf8')))
    await succeeds(work.holdfast('restore', 'once'))
    expect((await state()).dump).toEqual(before.dump)
  }, 120_000)

  test('the parts are restored by hand with nothing but zstd and the client', async ({ skip }) => {
    if (!server) return skip()
    use({ accounts: false })
    const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
    await lose()
    await root.query("CREATE USER keeper@localhost IDENTIFIED BY 'x'")
    const folder = join(work.store, 'nightly', summary.backup as string, 'db')
    const client = [join(real().clients, programs.load), ...login()].join(' ')
    // as the page says it, but for the login
    const page = await readFile(new URL('../../../docs/engines/mysql.md', import.meta.url), 'utf8')
    const [, script = ''] = /## By hand.*?```sh\n(.*?)```/s.exec(page) ?? []
    const byHand = (said: string) =>
      promisify(execFile)('bash', ['-c', said.replace('| mysql ', `| ${client} `)], { cwd: folder })
    await byHand(script)
    expect((await state()).dump).toEqual(before.dump)
    await writeFile(join(folder, 'shop', 'views.sql.zst'), 'damaged')
    await expect(byHand(script)).rejects.toMatchObject({ code: expect.any(Number) })
    expect((await state()).dump).toEqual(before.dump)
  }, 120_000)

  test('a dump cannot run a shell when it is restored', async ({ skip }) => {
    if (!server) return skip()
    const touched = join(work.dir, 'touched')
    const commands = `\\\\! touch ${touched}\\nsystem touch ${touched}\\nDELIMITER //\\n\\\\! touch ${touched}\\n`
    use({ accounts: false, clients: await fake(programs.dump, `real "$@" | sed 's#^-- Dump completed#${commands}&#'`) })
    await succeeds(work.holdfast('backup', 'nightly'))
    await work.holdfast('restore', 'once', '--overwrite')
    expect(existsSync(touched)).toBe(false)
    // it did not end, so no backup would be taken of it
    await root.query('DROP DATABASE holdfast')
  }, 120_000)

  test.each<[string, number, string, () => Record<string, unknown>]>([
    ['a wrong password', 22, 'Secret', () => ({ credentials: { secret: 'native', username: 'hf' } })],
    ['a port where nothing listens', 22, 'host and port', () => ({ port: 1 })],
    ['a host that is not', 22, 'host and port', () => ({ host: 'nowhere.invalid' })],
    ['TLS that the server has not', 22, 'tls', () => ({ tls: { mode: 'verify-identity' } })],
    ['a database that is not', 20, 'it has the databases', () => ({ include: { databases: ['nowhere'] } })],
    ['a folder without clients', 2, 'clients', () => ({ clients: '/nowhere' })],
    ['an option with a password', 2, '', () => ({ extraOptions: ['--pass=x'] })],
    ['an option that breaks the stream', 2, '', () => ({ extraOptions: ['--skip-comments'] })],
  ])(
    '%s ends with code %i',
    async (_, code, hint, more) => {
      if (!server) return
      use(more())
      const failed = await work.holdfast('backup', 'nightly')
      expect([failed.code, failed.summary.error]).toEqual([code, expect.any(String)])
      expect(`${failed.summary.hint}`).toContain(hint)
    },
    60_000,
  )

  test('an account that lacks privileges is told which', async ({ skip }) => {
    if (!server) return skip()
    await root.query(`REVOKE EVENT ON *.* FROM hf@'%'`)
    use()
    const failed = await work.holdfast('check', 'nightly')
    await root.query(`GRANT EVENT ON *.* TO hf@'%'`)
    expect(`${failed.code} ${failed.stdout} ${failed.stderr}`).toMatch(/22 .*lacks EVENT/s)
  }, 60_000)
})
