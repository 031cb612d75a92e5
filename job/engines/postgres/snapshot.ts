import { JobError } from '../../errors.ts'
import type { Login } from '../../io/connection.ts'
import { type TableRow, tablesOf } from './catalog.ts'
import { open, quoteName, type Session, SqlError } from './server.ts'

/** One point in time of one database, which any number of pg_dump can read from, as long as it is open. */
export interface Snapshot {
  /** For --snapshot. */
  id: string
  /** Where the write-ahead log was then. */
  lsn: string
  time: string
  /** With rows of their own. None of them can be emptied, changed or dropped meanwhile. */
  tables: TableRow[]
  session: Session
  close(): Promise<void>
}

interface Wanted {
  database: string
  /** Milliseconds to wait for the lock of a table. */
  lockTimeout: number
  signal: AbortSignal
}

/** How often the tables are listed again when one was made or rewritten in between. */
const tries = 5
const tablesAtOnce = 500

/**
 * All tables are locked against changes of their structure before the snapshot is taken: TRUNCATE, and what rewrites a table, are seen by
 * older snapshots as an empty table.
 */
export async function openSnapshot(login: Login, { database, lockTimeout, signal }: Wanted): Promise<Snapshot> {
  const session = await open(login, database, { signal })
  try {
    // the size of a table that is locked is waited for, too
    await session.execute(`SET lock_timeout = ${lockTimeout}`)
    for (let tried = 1; ; tried++) {
      const before = await tablesOf(session)
      await session.execute('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
      const locked = await lock(session, before)
      if (locked) {
        const [taken] = await session.rows<{ id: string; lsn: string; time: string }>(
          `SELECT pg_export_snapshot() AS id, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS time,
                  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn`,
        )
        const tables = await tablesOf(session)
        const known = new Set(before.map(keyOf))
        const fresh = tables.filter((table) => !known.has(keyOf(table)))
        // who makes tables all the time has to live with what pg_dump does: these are locked a moment later
        if (fresh.length === 0 || (tried >= tries && (await lock(session, fresh))))
          return { ...(taken as { id: string; lsn: string; time: string }), tables, session, close: session.close }
      }
      await session.execute('ROLLBACK')
      if (tried >= 2 * tries)
        throw new JobError(
          'busy',
          `tables of database ${database} are made and dropped faster than they can be locked`,
          {
            hint: 'run again when the database is calmer',
            retryable: true,
          },
        )
    }
  } catch (error) {
    await session.close()
    throw error instanceof SqlError ? understood(error) : error
  }
}

function keyOf({ oid, file }: TableRow): string {
  return `${oid} ${file}`
}

/** False when one of them is not there any more. */
async function lock(session: Session, tables: TableRow[]): Promise<boolean> {
  for (let from = 0; from < tables.length; from += tablesAtOnce) {
    const names = tables
      .slice(from, from + tablesAtOnce)
      .map(({ schema, name }) => `ONLY ${quoteName(schema)}.${quoteName(name)}`)
    try {
      await session.execute(`LOCK TABLE ${names.join(', ')} IN ACCESS SHARE MODE`, 'LOCK TABLE')
    } catch (error) {
      if (!(error instanceof SqlError)) throw error
      if (error.code === '42P01' || error.code === '3F000') return false
      throw error
    }
  }
  return true
}

function understood(error: SqlError): JobError {
  if (error.code === '55P03')
    return new JobError('busy', `a table is locked by somebody who changes its structure: ${error.message}`, {
      hint: 'run again when that is done, or raise lockTimeout',
      retryable: true,
    })
  if (error.code === '53200')
    return new JobError('server', error.message, {
      hint: 'raise max_locks_per_transaction of the server: a dump locks every table',
    })
  return error
}
