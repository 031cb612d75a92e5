import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import type { SourceRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { currentAccount, type Session, SqlError } from '../../io/mysql.ts'
import type { MysqlFacts } from './facts.ts'
import { isOlder, type Server } from './server.ts'
import type { Source } from './values.ts'

export interface Point {
  binlog: MysqlFacts['consistency']['binlog']
  gtid: string | null
}

/** A dump that was started, and when its transaction is open. */
export interface Opening {
  stream: Readable
  begun: Promise<void>
}

interface Opened {
  streams: Readable[]
  consistency: MysqlFacts['consistency']
}

interface Options {
  run: SourceRun
  server: Server
  /** Keeps the lock, and afterwards its own transaction at the same point. */
  session: Session
  start(): Opening[]
}

/**
 * All dumps begin their transactions while a global read lock holds every writer back, so that they see one state. The lock is let go
 * as soon as each is known to have begun: what they read then is theirs.
 */
export async function openSnapshot(options: Options): Promise<Opened> {
  const { run, session } = options
  const { lockTimeout, flushLogs } = run.source as Source
  await session.execute(`SET SESSION lock_wait_timeout = ${lockTimeout}`)
  await session.execute('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ')
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
  const opened = await begin(options)
  await session.execute('UNLOCK TABLES')
  const lockMs = Math.round(performance.now() - locked)
  return { streams: opened.streams, consistency: { kind: 'snapshot', by: 'read-lock', lockMs, ...opened.point } }
}

/** Access denied: the whole statement, or some privilege of it. Managed servers may refuse the lock to everybody. */
const noPrivilege = new Set([1044, 1045, 1227])

function lockTimedOut(session: Session, run: SourceRun, cause: unknown): JobError {
  return new JobError('server', `server ${session.server} did not give the global read lock in time`, {
    hint: `a long statement holds it up: end it, raise ${run.at}.lockTimeout, or back up from a replica`,
    cause,
  })
}

async function begin({ run, session, server, start }: Options): Promise<{ streams: Readable[]; point: Point }> {
  const started = start()
  const [point] = await Promise.all([
    position(session, server),
    session.execute('START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */'),
    // who waits for them holds every writer back
    before(run.signal, Promise.all(started.map(begunOrEnded))),
  ])
  return { streams: started.map(({ stream }) => stream), point }
}

const patience = 60_000

async function before(signal: AbortSignal, begun: Promise<unknown>): Promise<void> {
  const late = setTimeout(patience, undefined, { signal }).then(() => {
    throw new JobError('server', `the dumps did not begin their transactions within ${patience / 1000} seconds`, {
      hint: 'the server is very busy, or slow to log in to: try again later, or with less `parallel`',
    })
  })
  begun.catch(() => {})
  await Promise.race([begun, late])
}

/** A dump that fails before says so by its stream, which nobody reads yet. */
async function begunOrEnded({ stream, begun }: Opening): Promise<void> {
  const ended = new AbortController()
  const failed = once(stream, 'error', { signal: ended.signal }).then(([error]) => {
    throw error
  })
  failed.catch(() => {})
  try {
    await Promise.race([begun, failed])
  } finally {
    ended.abort()
    // an error that comes later is seen by who reads the stream
    stream.on('error', () => {})
  }
}

const tries = 10

/**
 * Without the privilege for the lock: begin, and look whether anything was committed meanwhile. A transaction is in the binary log a
 * moment before rows show it, so the position must have stood still for a while before, and must afterwards.
 */
async function openChecked(options: Options): Promise<Opened> {
  const { run, session, server } = options
  if ((run.source as Source).flushLogs) await session.execute('FLUSH BINARY LOGS')
  for (let i = 0; i < tries; i++) {
    const still = await standsStill(session, server, run)
    if (!still) continue
    const { streams, point } = await begin(options)
    await setTimeout(settle, undefined, { signal: run.signal })
    if (same(still, point) && same(point, await position(session, server)))
      return { streams, consistency: { kind: 'snapshot', by: 'positions', ...point } }
    for (const stream of streams) stream.destroy()
    await session.execute('ROLLBACK')
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
