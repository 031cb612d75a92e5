import type { Readable } from 'node:stream'
import type { RunContext } from '../../engine.ts'
import { quoteText, type Session, SqlError } from '../../io/mysql.ts'
import { decoded } from '../../io/text.ts'
import type { Server } from './server.ts'

/** A user, or a role: MariaDB's have no host. */
interface Account {
  user: string
  host: string | null
}

/** Accounts of the servers themselves; root on the socket belongs to whoever set the server up. */
const system = new Set(['mysql.sys', 'mysql.session', 'mysql.infoschema', 'mariadb.sys', 'PUBLIC'])

interface Statement {
  account: Account
  kind: 'create' | 'grant' | 'default'
  sql: string
}

/**
 * accounts.sql: every account and role with its hash, grants and default roles. All accounts come first, so that no grant names a role
 * that is not there yet. Before each statement a comment says whose it is.
 */
export async function* dumpAccounts(session: Session, server: Server): AsyncGenerator<string> {
  const accounts = await accountsOf(session, server)
  // bytes of a caching_sha2 hash are printed raw otherwise
  if (server.product === 'MySQL') await session.execute('SET SESSION print_identified_with_as_hex = ON')
  yield `-- accounts, roles and grants of ${server.product} ${server.version}\nSET NAMES utf8mb4;\n`
  const later: Statement[] = []
  for (const account of accounts) {
    const { create, roles } = withoutDefaultRole(await createOf(session, account))
    yield written({ account, kind: 'create', sql: create })
    if (roles) later.push({ account, kind: 'default', sql: `SET DEFAULT ROLE ${roles} TO ${nameOf(account)}` })
    later.push(...(await grantsOf(session, account)))
  }
  // MariaDB's default roles are said by SHOW GRANTS
  for (const kind of ['grant', 'default']) for (const one of later) if (one.kind === kind) yield written(one)
  yield '-- accounts completed\n-- Dump completed\n'
}

async function accountsOf(session: Session, { product }: Server): Promise<Account[]> {
  const role = product === 'MariaDB' ? "is_role = 'Y'" : 'FALSE'
  const rows = await session.rows<{ user: string; host: string; role: string }>(
    `SELECT user AS user, host AS host, ${role} AS role FROM mysql.user ORDER BY ${role} DESC, user, host`,
  )
  return rows
    .map(({ user, host, role }) => ({ user, host: Number(role) ? null : host }))
    .filter((account) => !isSystem(account))
}

function isSystem({ user, host }: Account): boolean {
  return system.has(user) || ((user === 'root' || user === 'mysql') && host === 'localhost')
}

async function createOf(session: Session, account: Account): Promise<string> {
  if (account.host === null) return `CREATE ROLE IF NOT EXISTS ${nameOf(account)}`
  const [row] = await session.rows<Record<string, string>>(`SHOW CREATE USER ${nameOf(account)}`)
  return (Object.values(row ?? {})[0] ?? '').replace(/^CREATE USER /, 'CREATE USER IF NOT EXISTS ')
}

async function grantsOf(session: Session, account: Account): Promise<Statement[]> {
  const rows = await session.rows<Record<string, string>>(`SHOW GRANTS FOR ${nameOf(account)}`)
  return rows.flatMap((row): Statement[] => {
    // MariaDB says the hash again, and of a role also what the roles that it has been given hold
    const sql = (Object.values(row)[0] ?? '').replace(
      / IDENTIFIED (?:BY PASSWORD|VIA) .*?(?= WITH (?:GRANT|MAX_)| REQUIRE |$)/s,
      '',
    )
    const grantee = / TO (\S+|`(?:[^`]|``)*`(?:@`(?:[^`]|``)*`)?)/.exec(sql.slice(sql.lastIndexOf(' TO ')))?.[1]
    if (/^GRANT USAGE ON \*\.\* TO \S+$/.test(sql)) return []
    if (account.host === null && grantee !== undefined && unquoted(grantee) !== account.user) return []
    return [{ account, kind: sql.startsWith('SET DEFAULT ROLE') ? 'default' : 'grant', sql }]
  })
}

function unquoted(name: string): string {
  return name.startsWith('`') ? name.slice(1, name.indexOf('`', 1)) : name
}

function nameOf({ user, host }: Account): string {
  return host === null ? quoteText(user) : `${quoteText(user)}@${quoteText(host)}`
}

/** SHOW CREATE USER of MySQL names default roles inside, where they would have to be granted already. */
function withoutDefaultRole(statement: string): { create: string; roles: string | undefined } {
  const role = '(?:`(?:[^`]|``)*`@`(?:[^`]|``)*`)'
  const found = new RegExp(` DEFAULT ROLE (${role}(?:,${role})*)`).exec(statement)
  return { create: found ? statement.replace(found[0], '') : statement, roles: found?.[1] }
}

function written({ account, kind, sql }: Statement): string {
  return `-- ${JSON.stringify({ ...account, kind })}\n${sql};\n`
}

/** What accounts.sql says, in its order. */
export async function readAccounts(dump: Readable): Promise<Statement[]> {
  let text = ''
  for await (const chunk of decoded(dump)) text += chunk
  return text.split(/^-- (?=\{")/m).flatMap((block): Statement[] => {
    const end = block.indexOf('\n')
    if (!block.startsWith('{')) return []
    const { user, host, kind } = JSON.parse(block.slice(0, end)) as Account & Pick<Statement, 'kind'>
    const sql = block.slice(end + 1).replace(/;\n(-- [^\n]*\n)*$/, '')
    return [{ account: { user, host }, kind, sql }]
  })
}

export const key = ({ user, host }: Account): string => (host === null ? user : `${user}@${host}`)

interface Ours {
  statements: Statement[]
  session: Session
  overwrite: boolean
  /** Names that an earlier try of this restore made. */
  earlier: string[]
}

/** The accounts that a restore makes: those that are missing, those of an earlier try, and with `overwrite` all but our own. */
export async function ourAccounts({ statements, session, overwrite, earlier }: Ours): Promise<string[]> {
  const rows = await session.rows<{ user: string; host: string }>('SELECT user AS user, host AS host FROM mysql.user')
  const existing = new Set(rows.map(({ user, host }) => (host === '' ? user : `${user}@${host}`)))
  const [me] = await session.rows<{ me: string }>('SELECT CURRENT_USER() AS me')
  return statements
    .filter(({ kind }) => kind === 'create')
    .map(({ account }) => key(account))
    .filter((name) => name !== me?.me && (!existing.has(name) || earlier.includes(name) || overwrite))
}

interface Making {
  statements: Statement[]
  session: Session
  ours: string[]
  run: Pick<RunContext, 'signal' | 'warn'>
}

/** Makes the accounts in `ours` anew: one that exists becomes what the backup says, with no other grants. */
export async function createAccounts({ statements, session, ours, run }: Making): Promise<void> {
  for (const { account, kind, sql } of statements) {
    run.signal.throwIfAborted()
    const name = key(account)
    if (kind !== 'create' || !ours.includes(name)) continue
    const what = account.host === null ? 'ROLE' : 'USER'
    await session.execute(`DROP ${what} IF EXISTS ${nameOf(account)}`, `drop of account ${name}`)
    await session.execute(sql, `account ${name}`)
  }
}

/** What a grant names is not there: a table that was left out, or a privilege of something that is not installed. */
const absent = new Set([1146, 1147, 1305, 1356, 1141, 1403, 1049])

/** Grants and default roles of the accounts in `ours`. A grant on something that the request leaves out is a warning. */
export async function grantAccounts({ statements, session, ours, run }: Making): Promise<void> {
  for (const { account, kind, sql } of statements) {
    run.signal.throwIfAborted()
    if (kind === 'create' || !ours.includes(key(account))) continue
    try {
      await session.execute(sql, `grant for ${key(account)}`)
    } catch (error) {
      if (!(error instanceof SqlError && absent.has(error.errno))) throw error
      run.warn(`a grant of ${key(account)} was left out: ${error.message}`)
    }
  }
}
