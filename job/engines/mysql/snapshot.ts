import { setTimeout } from 'node:timers/promises'
import type { SourceRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { currentAccount, type Session, SqlError } from '../../io/mysql.ts'
import { together } from '../../io/parallel.ts'
import type { MysqlFacts } from './facts.ts'
import { isOlder, type Server } from './server.ts'
import type { Source } from './values.ts'

export interface Point {
  binlog: MysqlFacts['consistency']['binlog']
  gtid: string | null
}

interface Options {
  run: SourceRun
  server: Server
  /** Keeps the lock, and afterwards its own transaction at the same point. */
  session: Session
  /** Others that are to see the same. */
  readers: readonly Session[]
}

/**
 * All sessions begin their transactions while a global read lock holds every writer back, so that they see one state. The lock is let go
 * as soon as each has begun: what they read then is theirs.
 */
export async function openSnapshot(options: Options): Promise<MysqlFacts['consistency']> {
  const { run, session, readers } = options
  const { lockTimeout, flushLogs } = run.source as Source
  await session.execute(`SET SESSION lock_wait_timeout = ${lockTimeout}`)
  const isolation = 'SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ'
  await together([session, ...readers].map((one) => one.execute(isolation)))
  try {
    await session.execute('FLUSH TABLES WITH READ LOCK')
  } catch (error) {
    if (error instanceof SqlError && noPrivilege.has(error.errno)) return openChecked(options)
    if (error instanceof SqlError && error.errno === 1205) throw lockTimedOut(session, run, error)
    throw error
  }
  const locked = performance.now()
  // a rotation changes no row, and the lock allows it
  if (flushLogs) await session.execute('FLUSH BINARY LOGS')
  const point = await begin(options)
  await session.execute('UNLOCK TABLES')
  // for the lock alone: a table that is being altered is waited for
  await session.execute('SET SESSION lock_wait_timeout = DEFAULT')
  const lockMs = Math.round(performance.now() - locked)
  return { kind: 'snapshot', by: 'read-lock', lockMs, ...point }
}

/** Access denied: the whole statement, or some privilege of it. Managed servers may refuse the lock to everybody. */
const noPrivilege = new Set([1044, 1045, 1227])

function lockTimedOut(session: Session, run: SourceRun, cause: unknown): JobError {
  return new JobError('server', `server ${session.server} did not give the global read lock in time`, {
    hint: `a long statement holds it up: end it, raise ${run.at}.lockTimeout, or back up from a replica`,
    cause,
  })
}

async function begin({ run, session, readers, server }: Options): Promise<Point> {
  const start = 'START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */'
  const begun = together([position(session, server), ...[session, ...readers].map((one) => one.execute(start))])
  // who waits for them holds every writer back
  const [point] = await before(run.signal, begun)
  return point
}

const patience = 60_000

async function before<T>(signal: AbortSignal, begun: Promise<T>): Promise<T> {
  const inTime = new AbortController()
  const late = setTimeout(patience, undefined, { signal: AbortSignal.any([signal, inTime.signal]) }).then(() => {
    throw new JobError('server', `the transactions did not begin within ${patience / 1000} seconds`, {
      hint: 'the server is very busy: try again later, or with less `parallel`',
    })
  })
  late.catch(() => {})
  begun.catch(() => {})
  try {
    return await Promise.race([begun, late])
  } finally {
    inTime.abort()
  }
}

const tries = 10

/**
 * Without the privilege for the lock: begin, and look whether anything was committed meanwhile. A transaction is in the binary log a
 * moment before rows show it, so the position must have stood still for a while before, and must afterwards.
 */
async function openChecked(options: Options): Promise<MysqlFacts['consistency']> {
  const { run, session, readers, server } = options
  if ((run.source as Source).flushLogs) await session.execute('FLUSH BINARY LOGS')
  for (let i = 0; i < tries; i++) {
    const still = await standsStill(session, server, run)
    if (!still) continue
    const point = await begin(options)
    await setTimeout(settle, undefined, { signal: run.signal })
    if (same(still, point) && same(point, await position(session, server)))
      return { kind: 'snapshot', by: 'positions', ...point }
    await together([session, ...readers].map((one) => one.execute('ROLLBACK')))
  }
  throw new JobError(
    'server',
    `server ${session.server} was written to during each of ${tries} tries to begin a snapshot`,
    {
      hint: await grantHint(session, server),
    },
  )
}

const settle = 200

async function standsStill(session: Session, server: Server, run: SourceRun): Promise<Point | undefined> {
  const first = await position(session, server)
  if (first.binlog === null && !first.gtid) {
    throw new JobError('server', `the account on server ${session.server} may not take the global read lock`, {
      hint: `${await grantHint(session, server)}; or let it see the binary log's position`,
    })
  }
  await setTimeout(settle, undefined, { signal: run.signal })
  return same(first, await position(session, server)) ? first : undefined
}

function same(a: Point, b: Point): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

async function grantHint(session: Session, { product }: Server): Promise<string> {
  const privileges = product === 'MySQL' ? 'FLUSH_TABLES, REPLICATION CLIENT' : 'RELOAD, BINLOG MONITOR'
  return `GRANT ${privileges} ON *.* TO ${await currentAccount(session)}, for a lock of a fraction of a second; or choose method: mysqldump`
}

/** Where the binary log is, as far as the account may know. */
export async function position(session: Session, server: Server): Promise<Point> {
  const status =
    server.product === 'MySQL' && !isOlder(server.version, '8.2') ? 'SHOW BINARY LOG STATUS' : 'SHOW MASTER STATUS'
  const [log] = await allowed(session.rows<{ File: string; Position: string; Executed_Gtid_Set?: string }>(status))
  const variable = server.product === 'MySQL' ? 'gtid_executed' : 'gtid_binlog_pos'
  const [set] = await allowed(session.rows<{ gtid: string | null }>(`SELECT @@GLOBAL.${variable} AS gtid`))
  const gtid = log?.Executed_Gtid_Set || set?.gtid
  return {
    binlog: log ? { file: log.File, position: Number(log.Position) } : null,
    gtid: gtid ? gtid.replaceAll('\n', '') : null,
  }
}

async function allowed<Row>(rows: Promise<Row[]>): Promise<Row[]> {
  try {
    return await rows
  } catch (error) {
    if (error instanceof SqlError && noPrivilege.has(error.errno)) return []
    throw error
  }
}
