import type { RunContext } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { quoteName, type Session, SqlError } from '../../io/mysql.ts'
import { keyOf } from './tables.ts'

interface Table {
  database: string
  name: string
}

const patience = 60_000

/**
 * After ndb_restore a MySQL server does not know the tables: ndb_metadata_sync makes it look, and turns itself off when done.
 * It may leave some out, which opening by name brings in. Still missing ones are a failed proof.
 */
export async function syncTables(
  session: Session,
  tables: Table[],
  run: Pick<RunContext, 'signal' | 'log'>,
): Promise<void> {
  await session.execute('SET GLOBAL ndb_metadata_sync = 1')
  const until = Date.now() + patience
  while ((await hidden(session, tables)).length > 0 && Date.now() < until) {
    const [row] = await session.rows<{ on: string }>('SELECT @@GLOBAL.ndb_metadata_sync AS `on`')
    if (Number(row?.on) === 0) break
    await new Promise((resolve) => setTimeout(resolve, 100))
    run.signal.throwIfAborted()
  }
  for (const { database, name } of await hidden(session, tables)) {
    await session.rows(`SELECT 1 FROM ${quoteName(database)}.${quoteName(name)} LIMIT 0`).catch((error) => {
      if (!(error instanceof SqlError)) throw error
    })
  }
  const missing = await hidden(session, tables)
  if (missing.length > 0) {
    throw new JobError(
      'verification',
      `MySQL server ${session.server} does not see ${missing.length} restored tables: ${missing.slice(0, 5).map(keyOf).join(', ')}`,
      {
        hint: 'its error log says why; after mending it run the same restore again',
      },
    )
  }
}

async function hidden(session: Session, tables: Table[]): Promise<Table[]> {
  const rows = await session.rows<Table>(
    "SELECT table_schema AS `database`, table_name AS name FROM information_schema.tables WHERE LOWER(engine) = 'ndbcluster'",
  )
  const known = new Set(rows.map(keyOf))
  return tables.filter((table) => !known.has(keyOf(table)))
}
