import type { Marker, ServerFacts, SourceRun, SourceState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import {
  currentAccount,
  globalPrivileges,
  holds,
  type Login,
  open,
  type ReadingSession,
  type Session,
} from '../../io/mysql.ts'
import type { Chosen } from './dumps.ts'
import { hasHistory } from './dumps.ts'
import { readMarkers, refuseUnfinished } from './marker.ts'
import { select } from './selection.ts'
import { fittingClients, loginOf, type Server, serverOf } from './server.ts'
import { holdsRows, keyOf, type Listing, list, type Table } from './tables.ts'
import type { Source } from './values.ts'

/** Everything that can be known before anything is begun. */
export interface Checked extends ServerFacts {
  login: Login
  server: Server
  listing: Listing
  chosen: Chosen
  /** What restores left there. */
  markers: Marker[]
}

export async function check(run: SourceRun): Promise<SourceState> {
  const checked = await examine(run)
  return { server: checked.server, tools: checked.tools, detail: checked }
}

export async function examine(run: SourceRun): Promise<Checked> {
  const source = run.source as Source
  const login = loginOf(source, run)
  const session = await connect(login, run.signal)
  try {
    const server = await serverOf(session)
    const tools = await fittingClients(['dump'], { server, values: source, run })
    await refuseWeak(session, { source, server, at: run.at })
    const markers = await readMarkers(session)
    refuseUnfinished(markers, `server ${login.server}`)
    const listing = await list(session, server)
    const { tables, objects } = select({ ...listing, values: source, at: run.at, from: `server ${login.server}` })
    const databases = [...new Set([...objects, ...tables.map((table) => table.database)])].sort()
    const chosen = { databases, tables, objects }
    warnOfLimits({ run, server, tables })
    return { server, tools, login, listing, chosen, markers }
  } finally {
    session.close()
  }
}

/** A session whose texts are utf8mb4 on every server: older MariaDB does not know the collation that the driver asks for. */
export async function connect(login: Login, signal: AbortSignal): Promise<ReadingSession> {
  const session = await open(login, { signal })
  await session.execute('SET NAMES utf8mb4')
  return session
}

const reading = ['SELECT', 'SHOW VIEW', 'TRIGGER', 'EVENT']

/** An account that has them on single databases only sees those: then they must be chosen, without accounts. */
async function refuseWeak(session: Session, { source, server, at }: { source: Source; server: Server; at: string }) {
  const held = await globalPrivileges(session)
  await refuseNoFlush(session, { ...source, at })
  const needed = [...reading, ...(source.singleTransaction ? [] : ['LOCK TABLES'])]
  const missing = needed.filter((privilege) => !holds(held, privilege))
  const narrow = source.include !== undefined && !source.accounts
  if (missing.length === 0 || narrow) return
  const more = server.product === 'MySQL' ? 'FLUSH_TABLES, REPLICATION CLIENT' : 'RELOAD, BINLOG MONITOR'
  throw new JobError('server', `the account on server ${session.server} lacks ${missing.join(', ')} on *.*`, {
    hint: `GRANT ${needed.join(', ')}, ${more} ON *.* TO ${await currentAccount(session)}; or name ${at}.include, and ${at}.accounts: false`,
  })
}

/** A restore would find out at its end. */
export async function refuseNoFlush(session: Session, { flushLogs, at }: { flushLogs: boolean; at: string }) {
  if (!flushLogs || holds(await globalPrivileges(session), 'RELOAD')) return
  throw new JobError('server', `the account on server ${session.server} lacks RELOAD, which ${at}.flushLogs needs`, {
    hint: `GRANT RELOAD ON *.* TO ${await currentAccount(session)}; or leave flushLogs out`,
  })
}

const transactional = new Set(['innodb', 'rocksdb', 'tokudb', 'sequence', ''])

/** Snapshots cover it. */
export function isTransactional({ engine }: Table): boolean {
  return transactional.has(engine.toLowerCase())
}

function warnOfLimits({ run, server, tables }: { run: SourceRun; server: Server; tables: Table[] }): void {
  const { singleTransaction } = run.source as Source
  const others = tables.filter((table) => holdsRows(table) && !isTransactional(table))
  if (singleTransaction && others.length > 0) {
    const names = others.slice(0, 5).map((table) => `${keyOf(table)} (${table.engine})`)
    run.warn(
      `no snapshot covers ${names.join(', ')}${others.length > 5 ? `, … (${others.length} tables)` : ''}: what is written to them meanwhile may be in the backup or not`,
    )
  }
  const elsewhere = tables.filter((table) => table.kind === 'table' && !holdsRows(table))
  if (elsewhere.length > 0)
    run.warn(`without rows, which are in other tables or on other servers: ${elsewhere.map(keyOf).join(', ')}`)
  const versioned = tables.filter((table) => table.versioned)
  if (versioned.length > 0 && !hasHistory(server, tables))
    run.warn(`the history of ${versioned.map(keyOf).join(', ')} is not in the backup: MariaDB dumps it since 10.11`)
}
