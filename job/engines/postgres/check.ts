import type { RunContext, SourceRun, SourceState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Login, loginOf } from '../../io/connection.ts'
import { inParallel } from '../../io/parallel.ts'
import {
  type DatabaseRow,
  databasesOf,
  hiddenRows,
  lookAtServer,
  type ServerRow,
  tablesOf,
  unreadable,
} from './catalog.ts'
import { type Clients, findClients } from './clients.ts'
import { refuseRestoring } from './marker.ts'
import { chooseDatabases, chooseTables } from './selection.ts'
import { quoteName, type Session, withSession } from './server.ts'
import type { Source } from './values.ts'

/** Everything that can be known before anything is touched. */
export interface Checked {
  login: Login
  server: ServerRow
  clients: Clients
  /** Those that are backed up. */
  databases: DatabaseRow[]
}

export const oldest = 13

export async function check(run: SourceRun): Promise<SourceState> {
  const checked = await examine(run)
  return { ...serverFacts(checked), detail: checked }
}

export function serverFacts({ server, clients }: Checked) {
  return { server: { product: 'PostgreSQL', version: server.version }, tools: clients.versions }
}

export async function examine(run: SourceRun): Promise<Checked> {
  const source = run.source as Source
  const login = loginOf(source, run, run.at)
  const { server, databases } = await withSession(
    login,
    source.database,
    async (session) => {
      const server = await lookAtServer(session)
      refuseOld(server, login)
      const databases = chosen(await databasesOf(session, server.major), source, run)
      await refuseRestoring(
        session,
        databases.map((database) => database.name),
        login,
      )
      return { server, databases }
    },
    run,
  )
  const clients = await findClients({
    programs: ['pg_dump', 'pg_dumpall'],
    folder: source.clients,
    major: server.major,
    because: `the server is PostgreSQL ${server.version}`,
    at: run.at,
    signal: run.signal,
  })
  warnOfMajor(run, server, clients)
  refuseHashes(server, source, login)
  await inParallel(databases, 4, (database) =>
    withSession(login, database.name, (session) => examineDatabase(session, { database, login, source, run }), run),
  )
  return { login, server, clients, databases }
}

export function refuseOld({ version, major }: ServerRow, { server }: Login): void {
  if (major >= oldest) return
  throw new JobError('server', `${server} is PostgreSQL ${version}; the oldest that is supported is ${oldest}`, {
    hint: 'upgrade the server: the PostgreSQL project ended that release long ago',
  })
}

/** Templates have nothing to lose, and who forbids connections wants to be left alone; unless it is asked for. */
function chosen(all: DatabaseRow[], source: Source, run: SourceRun): DatabaseRow[] {
  const names = all.map((database) => database.name)
  const named = new Set([
    ...(source.include?.databases ?? []),
    ...(source.include?.tables ?? []).map((table) => table.split('.')[0]),
  ])
  const wanted = new Set(chooseDatabases(names, source, run.at))
  const closed = all.filter(
    ({ name, connectable, template }) => wanted.has(name) && !connectable && (!template || named.has(name)),
  )
  for (const { name } of closed) run.warn(`database ${name} allows no connections: it is not in this backup`)
  const found = all.filter(
    ({ name, connectable, template }) => wanted.has(name) && connectable && (!template || named.has(name)),
  )
  if (found.length > 0) return found
  throw new JobError('nothing-matches', `${run.at}: no database is left to back up`, {
    hint: `there are ${names.join(', ')}`,
  })
}

/** Found out at a restore, it would be too late. */
function warnOfMajor(run: SourceRun, server: ServerRow, clients: Clients): void {
  if (clients.major < 17 || server.major >= 17) return
  run.warn(
    `pg_dump ${clients.major} dumps PostgreSQL ${server.version}: this backup can be restored into PostgreSQL 17 or newer only; for ${server.major} install postgresql-client-${server.major}, too`,
  )
}

function refuseHashes({ superuser }: ServerRow, { globals, rolePasswords }: Source, { user, server, at }: Login): void {
  if (superuser || !globals || !rolePasswords) return
  throw new JobError('server', `${user} on ${server} is no superuser, and may not read the password hashes of roles`, {
    hint: `${at}.rolePasswords: false leaves them out`,
  })
}

interface Examining {
  database: DatabaseRow
  login: Login
  source: Source
  run: SourceRun
}

async function examineDatabase(session: Session, { database, login, source, run }: Examining): Promise<void> {
  const { name } = database
  await session.execute('SET lock_timeout = 60000')
  if (source.include?.tables.length || source.exclude?.tables.length)
    chooseTables(name, await tablesOf(session), { ...source, at: run.at })
  const closed = await unreadable(session)
  if (closed.length > 0)
    throw new JobError('server', `${login.user} may not read ${some(closed)} of database ${name}`, {
      hint: `GRANT pg_read_all_data TO ${quoteName(login.user)}; large objects need a superuser, or a grant each`,
    })
  const hidden = await hiddenRows(session)
  if (hidden.length > 0)
    throw new JobError('server', `row security of ${some(hidden)} in database ${name} hides rows from ${login.user}`, {
      hint: `ALTER ROLE ${quoteName(login.user)} BYPASSRLS: a backup must not leave rows out`,
    })
  await warnOfSubscriptions(session, name, run)
}

/** pg_dump leaves them out without a word that anybody would hear. */
async function warnOfSubscriptions(session: Session, database: string, run: RunContext): Promise<void> {
  const [row] = await session.rows<{ n: number }>(
    `SELECT count(subname)::int AS n FROM pg_subscription
      WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)`,
  )
  if (row?.n)
    run.warn(
      `database ${database} has ${row.n} subscriptions: only a superuser can back them up, they are not in this backup`,
    )
}

export function some(names: string[]): string {
  return names.length > 5 ? `${names.slice(0, 5).join(', ')} and ${names.length - 5} more` : names.join(', ')
}
