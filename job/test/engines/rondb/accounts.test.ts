import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import {
  type AccountPlan,
  createAccounts,
  dumpAccounts,
  grantAccounts,
  ourAccounts,
  readAccounts,
  setPasswords,
} from '../../../engines/rondb/accounts.ts'
import { fakeSession } from './session.ts'

const read = (...lines: string[]) =>
  readAccounts(Readable.from([Buffer.from(`${lines.join('\n')}\n`)], { objectMode: false }))
const names = (plan: AccountPlan) => plan.creates.map(({ account }) => `${account.user}@${account.host}`)

describe('users.sql', () => {
  test.each<[string, string]>([
    ['`app`@`%`', 'app@%'],
    ["'app'@'%'", 'app@%'],
    ['"app"@"10.0.0.%"', 'app@10.0.0.%'],
    ["'app'", 'app@%'],
    ["''@'localhost'", '@localhost'],
    ["`o'brien`@`%`", "o'brien@%"],
    ["'o''brien'@'%'", "o'brien@%"],
    ["'o\\'brien'@'%'", "o'brien@%"],
    ["`it''s`@`%`", "it''s@%"],
    ['`a``b`@`%`', 'a`b@%'],
    ['`a"b`@`%`', 'a"b@%'],
    ['"a""b"@"%"', 'a"b@%'],
    ['`a\\b`@`%`', 'a\\b@%'],
    ["'a\\\\b'@'%'", 'a\\b@%'],
    ['`a b; c`@`2001:db8::%`', 'a b; c@2001:db8::%'],
    ['`voil\u00e0`@`%`', 'voil\u00e0@%'],
    ['`x`@`192.168.0.0/255.255.0.0`', 'x@192.168.0.0/255.255.0.0'],
  ])('CREATE USER %s makes %s', async (written, expected) => {
    expect(
      names(await read(`CREATE USER IF NOT EXISTS ${written} IDENTIFIED WITH 'caching_sha2_password' AS 0x24;`)),
    ).toEqual([expected])
  })

  test.each([
    "'root'@'localhost'",
    '`mysql.sys`@`localhost`',
    "'mysql.session'@'localhost'",
    "'mysql.infoschema'@'localhost'",
  ])('the system account %s is left as it is', async (account) => {
    const plan = await read(
      `CREATE USER ${account} IDENTIFIED BY 'x';`,
      `GRANT ALL ON *.* TO ${account} WITH GRANT OPTION;`,
    )
    expect(plan).toEqual({ creates: [], grants: [] })
  })

  test('root from elsewhere is an account like others', async () => {
    expect(names(await read("CREATE USER 'root'@'%' IDENTIFIED BY 'x';"))).toEqual(['root@%'])
  })

  test('an account that exists is no error', async () => {
    const [made] = (await read('-- CREATE USER nobody', "CREATE USER 'a'@'%' IDENTIFIED BY 'CREATE USER ';")).creates
    expect(made?.sql).toBe("CREATE USER IF NOT EXISTS 'a'@'%' IDENTIFIED BY 'CREATE USER '")
  })

  const columns = Array.from({ length: 900 }, (_, i) => `\`column ${i}\``).join(', ')
  test.each<[string, string]>([
    ['a grant', 'GRANT SELECT ON `shop`.* TO `app`@`%`'],
    ['one that may be passed on', 'GRANT ALL PRIVILEGES ON *.* TO `app`@`%` WITH GRANT OPTION'],
    ['a role', 'GRANT `reader`@`%`,`writer`@`%` TO `app`@`%` WITH ADMIN OPTION'],
    ['a grant on a routine', 'GRANT EXECUTE ON PROCEDURE `shop`.`p` TO `app`@`%`'],
    ['a grant on very many columns', `GRANT SELECT (${columns}) ON \`shop\`.\`t\` TO \`app\`@\`%\``],
    ['a grant on a table called TO', "GRANT SELECT ON `shop`.`GIVE TO 'x'` TO `app`@`%`"],
    ['a proxy', "GRANT PROXY ON `other`@`%` TO 'app'@'%'"],
    ['a partial revoke', 'REVOKE INSERT ON `mysql`.* FROM `app`@`%`'],
    ['a default role', 'SET DEFAULT ROLE `reader`@`%` TO `app`@`%`'],
  ])('%s belongs to the account that gets it', async (_, sql) => {
    expect(await read(`${sql};`)).toEqual({ creates: [], grants: [{ account: { user: 'app', host: '%' }, sql }] })
  })

  test('of mysqlpump: default roles are taken out of CREATE USER and set after all grants', async () => {
    const plan = await read(
      '-- Dump created by MySQL pump utility, version: 8.0.34, Linux (x86_64)',
      'SET @OLD_SQL_MODE=@@SQL_MODE;',
      "CREATE USER 'app'@'%' IDENTIFIED WITH 'mysql_native_password' AS '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19' DEFAULT ROLE `reader`@`%` REQUIRE NONE PASSWORD EXPIRE DEFAULT ACCOUNT UNLOCK;",
      "GRANT USAGE ON *.* TO 'app'@'%';",
      "GRANT `reader`@`%` TO 'app'@'%';",
      "CREATE USER 'reader'@'%' IDENTIFIED WITH 'caching_sha2_password' REQUIRE NONE PASSWORD EXPIRE ACCOUNT LOCK;",
      "GRANT SELECT ON `shop`.* TO 'reader'@'%';",
      'SET SQL_MODE=@OLD_SQL_MODE;',
      '-- Dump end time: Sat Nov 21 08:00:00 2026',
    )
    expect(names(plan)).toEqual(['app@%', 'reader@%'])
    expect(plan.creates.map(({ sql }) => sql).join()).not.toContain('DEFAULT ROLE')
    expect(plan.grants.map(({ sql }) => sql)).toEqual([
      "GRANT USAGE ON *.* TO 'app'@'%'",
      "GRANT `reader`@`%` TO 'app'@'%'",
      "GRANT SELECT ON `shop`.* TO 'reader'@'%'",
      "SET DEFAULT ROLE `reader`@`%` TO 'app'@'%'",
    ])
  })
})

const server = (accounts: [user: string, host: string, create: string, ...grants: string[]][]) =>
  fakeSession({
    rows: (sql) => {
      if (sql.includes('FROM mysql.user')) return accounts.map(([user, host]) => ({ user, host }))
      const found = accounts.find(([user, host]) => sql.endsWith(`'${user}'@'${host}'`))
      const [, , create, ...grants] = found ?? ['', '', '']
      if (sql.startsWith('SHOW CREATE USER')) return [{ 'CREATE USER': create }]
      return grants.map((grant) => ({ Grants: grant }))
    },
  })

describe('the dump of accounts', () => {
  const session = server([
    [
      'app',
      '%',
      "CREATE USER `app`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x2441 DEFAULT ROLE `reader`@`%`,`a``b`@`%` REQUIRE NONE",
      'GRANT USAGE ON *.* TO `app`@`%`',
      'GRANT `reader`@`%` TO `app`@`%`',
    ],
    ['mysql.sys', 'localhost', 'CREATE USER `mysql.sys`@`localhost`', 'GRANT USAGE ON *.* TO `mysql.sys`@`localhost`'],
    ['reader', '%', 'CREATE USER `reader`@`%` ACCOUNT LOCK', 'GRANT SELECT ON *.* TO `reader`@`%`'],
    ['root', 'localhost', 'CREATE USER `root`@`localhost`', 'GRANT ALL ON *.* TO `root`@`localhost`'],
  ])

  test('has all accounts, then all grants, then default roles, and says that it is complete', async () => {
    const text = (await Array.fromAsync(dumpAccounts(session))).join('')
    expect(text.split('\n')).toEqual([
      '-- accounts, roles and grants',
      'SET NAMES utf8mb4;',
      "CREATE USER IF NOT EXISTS `app`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x2441 REQUIRE NONE;",
      'CREATE USER IF NOT EXISTS `reader`@`%` ACCOUNT LOCK;',
      'GRANT `reader`@`%` TO `app`@`%`;',
      'GRANT SELECT ON *.* TO `reader`@`%`;',
      "SET DEFAULT ROLE `reader`@`%`,`a``b`@`%` TO 'app'@'%';",
      '-- accounts completed',
      '',
    ])
  })

  test('asks for hashes as hex before it asks for any', async () => {
    const hex = session.asked.findIndex((sql) => sql.includes('print_identified_with_as_hex'))
    expect(hex).toBeGreaterThanOrEqual(0)
    expect(hex).toBeLessThan(session.asked.findIndex((sql) => sql.startsWith('SHOW CREATE USER')))
  })

  test('is read back as it was written', async () => {
    const plan = await readAccounts(Readable.from(dumpAccounts(session), { objectMode: false }))
    expect(names(plan)).toEqual(['app@%', 'reader@%'])
    expect(plan.grants).toHaveLength(3)
  })
})

describe('which accounts a restore makes', () => {
  const existing = () =>
    fakeSession({
      rows: (sql) =>
        sql.includes('CURRENT_USER')
          ? [{ me: 'admin@%' }]
          : [
              { user: 'app', host: '%' },
              { user: 'admin', host: '%' },
            ],
    })
  const plan = read("CREATE USER 'app'@'%';", "CREATE USER 'new'@'%';", "CREATE USER 'admin'@'%';")

  test.each<[string, { overwrite: boolean; earlier: string[] }, string[]]>([
    ['those that are missing', { overwrite: false, earlier: [] }, ['new@%']],
    ['those that a crashed run made too', { overwrite: false, earlier: ['app@%'] }, ['app@%', 'new@%']],
    ['with overwrite all but the one that is logged in', { overwrite: true, earlier: [] }, ['app@%', 'new@%']],
  ])('%s', async (_, options, ours) => {
    expect(await ourAccounts({ plan: await plan, session: existing(), ...options })).toEqual(ours)
  })
})

describe('making accounts', () => {
  const text = [
    "CREATE USER 'app'@'%' IDENTIFIED BY 'x';",
    "CREATE USER 'b'@'%';",
    "GRANT SELECT ON `shop`.* TO 'app'@'%';",
    "GRANT SELECT ON `gone`.`t` TO 'app'@'%';",
    "GRANT ALL ON *.* TO 'b'@'%';",
  ]
  const run = () => {
    const warnings: string[] = []
    return { signal: new AbortController().signal, warn: (warning: string) => void warnings.push(warning), warnings }
  }

  test('gives ours what the backup says, and touches no other', async () => {
    const [session, bytes] = [fakeSession(), fakeSession()]
    await createAccounts({ plan: await read(...text), session, bytes, run: run(), ours: ['app@%'] })
    expect(bytes.asked).toEqual([
      "CREATE USER IF NOT EXISTS 'app'@'%' IDENTIFIED BY 'x'",
      "ALTER USER 'app'@'%' IDENTIFIED BY 'x'",
    ])
    expect(session.asked[0]).toBe("REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'app'@'%'")
    expect(session.asked[1]).toContain('mysql.role_edges')
  })

  test('a grant on what was left out is a warning, and none goes to accounts that are not ours', async () => {
    const bytes = fakeSession({ errno: (sql) => (sql.includes('gone') ? 1146 : undefined) })
    const context = run()
    await grantAccounts({ plan: await read(...text), bytes, run: context, ours: ['app@%'] })
    expect(bytes.asked).toHaveLength(2)
    expect(context.warnings).toEqual(['a grant of app@% was left out: error 1146'])
  })

  test('another error of a grant ends the restore', async () => {
    const bytes = fakeSession({ errno: () => 1045 })
    const granted = grantAccounts({ plan: await read(...text), bytes, run: run(), ours: ['app@%'] })
    await expect(granted).rejects.toThrow('error 1045')
  })

  test('passwords from Secrets go to every account of that user name', async () => {
    const session = fakeSession()
    const plan = await read("CREATE USER 'app'@'%';", "CREATE USER 'app'@'10.%';", "CREATE USER 'b'@'%';")
    expect(await setPasswords({ plan, session, passwords: { app: "it's \\ new" } })).toBe(2)
    expect(session.asked.slice(1)).toEqual([
      "ALTER USER IF EXISTS 'app'@'%' IDENTIFIED BY 'it''s \\\\ new'",
      "ALTER USER IF EXISTS 'app'@'10.%' IDENTIFIED BY 'it''s \\\\ new'",
    ])
  })
})
