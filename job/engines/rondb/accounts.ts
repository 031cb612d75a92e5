import type { Readable } from 'node:stream'
import type { RunContext } from '../../engine.ts'
import { quoteText, type Session, SqlError } from '../../io/mysql.ts'
import { bare, statements } from './statements.ts'

interface Account {
  user: string
  host: string
}

/** Accounts of the server itself; root on the socket belongs to whoever set the server up. */
const system = new Set(['mysql.sys', 'mysql.session', 'mysql.infoschema'])

/**
 * users.sql: every account and role with its hash, grants and default roles, one statement a line.
 * All accounts come first, so that no grant names a role that is not there yet.
 */
export async function* dumpAccounts(session: Session): AsyncGenerator<string> {
  const accounts = (
    await session.rows<Account>('SELECT user AS user, host AS host FROM mysql.user ORDER BY user, host')
  ).filter((account) => !isSystem(account))
  // bytes of a caching_sha2 hash are printed raw otherwise
  await session.execute('SET SESSION print_identified_with_as_hex = ON')
  yield '-- accounts, roles and grants\nSET NAMES utf8mb4;\n'
  const grants: string[] = []
  const defaults: string[] = []
  for (const account of accounts) {
    const name = nameOf(account)
    const [created] = await session.rows<Record<string, string>>(`SHOW CREATE USER ${name}`)
    const { create, roles } = withoutDefaultRole(Object.values(created ?? {})[0] ?? '')
    yield `${create.replace(/^CREATE USER /, 'CREATE USER IF NOT EXISTS ')};\n`
    if (roles) defaults.push(`SET DEFAULT ROLE ${roles} TO ${name};\n`)
    for (const row of await session.rows<Record<string, string>>(`SHOW GRANTS FOR ${name}`)) {
      const grant = Object.values(row)[0] ?? ''
      if (!/^GRANT USAGE ON \*\.\* TO \S+$/.test(grant)) grants.push(`${grant};\n`)
    }
  }
  yield* grants
  yield* defaults
  yield '-- accounts completed\n'
}

function isSystem({ user, host }: Account): boolean {
  return system.has(user) || (user === 'root' && host === 'localhost')
}

function nameOf({ user, host }: Account): string {
  return `${quoteText(user)}@${quoteText(host)}`
}

/** SHOW CREATE USER names default roles inside, where they would have to be granted already. */
function withoutDefaultRole(statement: string): { create: string; roles: string | undefined } {
  const role = '(?:`(?:[^`]|``)*`@`(?:[^`]|``)*`)'
  const found = new RegExp(` DEFAULT ROLE (${role}(?:,${role})*)`).exec(statement)
  return { create: found ? statement.replace(found[0], '') : statement, roles: found?.[1] }
}

export interface AccountPlan {
  creates: AccountStatement[]
  grants: AccountStatement[]
}

interface AccountStatement {
  account: Account
  sql: string
}

/** Reads users.sql of ours or of mysqlpump into what makes accounts and what comes after. */
export async function readAccounts(dump: Readable): Promise<AccountPlan> {
  const plan: AccountPlan = { creates: [], grants: [] }
  const defaults: AccountStatement[] = []
  for await (const sql of statements(dump)) {
    // a grant on many columns names its account far behind
    const text = bare(sql, sql.length)
    const create = /^CREATE USER\s+(?:IF NOT EXISTS\s+)?(.+)/is.exec(text)
    const to =
      /^(?:GRANT|SET DEFAULT ROLE)\b[\s\S]*\sTO\s+(?=['"`])(.+)/i.exec(text) ??
      /^REVOKE\b[\s\S]*\sFROM\s+(?=['"`])(.+)/i.exec(text)
    const account = accountAt((create ?? to)?.[1] ?? '')
    if (!account || isSystem(account)) continue
    if (!create) {
      plan.grants.push({ account, sql })
      continue
    }
    const { create: plain, roles } = withoutDefaultRole(
      sql.replace(/CREATE USER\s+(IF NOT EXISTS\s+)?/i, 'CREATE USER IF NOT EXISTS '),
    )
    plan.creates.push({ account, sql: plain })
    if (roles) defaults.push({ account, sql: `SET DEFAULT ROLE ${roles} TO ${encode(nameOf(account))}` })
  }
  plan.grants.push(...defaults)
  return plan
}

/** `user`@`host`, 'user'@'host' or "user"@"host" at the start of a text; without a host it is %. */
function accountAt(text: string): Account | undefined {
  const name = '(`(?:[^`]|``)*`|\'(?:[^\'\\\\]|\'\'|\\\\.)*\'|"(?:[^"\\\\]|""|\\\\.)*")'
  const [, user, host] = new RegExp(`^${name}(?:@${name})?`).exec(text) ?? []
  return user === undefined ? undefined : { user: unquote(user), host: host === undefined ? '%' : unquote(host) }
}

function unquote(name: string): string {
  const quote = name.charAt(0)
  const inner = name.slice(1, -1).replaceAll(quote + quote, quote)
  return Buffer.from(quote === '`' ? inner : inner.replaceAll(/\\(.)/g, '$1'), 'latin1').toString('utf8')
}

/** Statements of a dump are UTF-8 bytes read as latin1. */
function encode(sql: string): string {
  return Buffer.from(sql, 'utf8').toString('latin1')
}

interface Restore {
  plan: AccountPlan
  session: Session
  /** A session that passes the dump's bytes as they are. */
  bytes: Session
  /** Names as ourAccounts gives them. */
  ours: string[]
  run: Pick<RunContext, 'signal' | 'warn'>
}

const key = ({ user, host }: Account): string => `${user}@${host}`

/**
 * The accounts that this restore makes: those that are missing, those that an earlier try of it made, and with `overwrite`
 * all but the one that we are logged in with.
 */
export async function ourAccounts({
  plan,
  session,
  overwrite,
  earlier,
}: {
  plan: AccountPlan
  session: Session
  overwrite: boolean
  earlier: string[]
}): Promise<string[]> {
  const rows = await session.rows<Account>('SELECT user AS user, host AS host FROM mysql.user')
  const existing = new Set(rows.map(key))
  const [me] = await session.rows<{ me: string }>('SELECT CURRENT_USER() AS me')
  const ours = (account: string) =>
    !existing.has(account) || earlier.includes(account) || (overwrite && account !== me?.me)
  return plan.creates.map(({ account }) => key(account)).filter(ours)
}

/** Makes the accounts in `ours`; one that exists becomes what the backup says, and loses what grants it has. */
export async function createAccounts({ plan, session, bytes, run, ours }: Restore): Promise<void> {
  for (const { account, sql } of plan.creates.filter((one) => ours.includes(key(one.account)))) {
    run.signal.throwIfAborted()
    await bytes.execute(sql, `account ${key(account)}`)
    await session.execute(`REVOKE ALL PRIVILEGES, GRANT OPTION FROM ${nameOf(account)}`, `REVOKE for ${key(account)}`)
    await revokeRoles(session, account)
    await bytes.execute(sql.replace('CREATE USER IF NOT EXISTS', 'ALTER USER'), `account ${key(account)}`)
  }
}

const absent = new Set([1146, 1147, 1305, 1356, 1141, 1403])

/** REVOKE ALL leaves roles alone. */
async function revokeRoles(session: Session, account: Account): Promise<void> {
  const roles = await session.rows<Account>(
    'SELECT from_user AS user, from_host AS host FROM mysql.role_edges WHERE to_user = ? AND to_host = ?',
    [account.user, account.host],
  )
  for (const role of roles) {
    await session.execute(`REVOKE ${nameOf(role)} FROM ${nameOf(account)}`, `REVOKE ${key(role)} for ${key(account)}`)
  }
}

/** Grants and default roles of the accounts in `ours`. A grant on something that the request leaves out is a warning. */
export async function grantAccounts({ plan, bytes, run, ours }: Omit<Restore, 'session'>): Promise<void> {
  for (const { account, sql } of plan.grants) {
    run.signal.throwIfAborted()
    if (!ours.includes(key(account))) continue
    try {
      await bytes.execute(sql, `grant for ${key(account)}`)
    } catch (error) {
      if (!(error instanceof SqlError && absent.has(error.errno))) throw error
      run.warn(`a grant of ${key(account)} was left out: ${error.message}`)
    }
  }
}

/** Sets passwords from Secrets on every account of the backup with that user name. */
export async function setPasswords({
  plan,
  session,
  passwords,
}: {
  plan: AccountPlan
  session: Session
  passwords: Record<string, string>
}): Promise<number> {
  await session.execute("SET SESSION sql_mode = ''")
  let count = 0
  for (const { account } of plan.creates) {
    const password = passwords[account.user]
    if (password === undefined) continue
    await session.execute(
      `ALTER USER IF EXISTS ${nameOf(account)} IDENTIFIED BY ${quoteText(password)}`,
      `password of ${key(account)}`,
    )
    count++
  }
  return count
}
