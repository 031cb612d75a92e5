import type { Session } from '../../io/mysql.ts'
import type { Server } from './server.ts'
import { systemDatabases } from './values.ts'

export interface Table {
  database: string
  name: string
  kind: 'table' | 'sequence'
  engine: string
  /** Rows as the server estimates their bytes. */
  bytes: number
  /** History of a system-versioned table of MariaDB. */
  versioned: boolean
  /** Changes with the table's columns. */
  digest: string
}

/** What a database has beside its tables. */
export interface Objects {
  views: string[]
  routines: number
  triggers: number
  events: number
}

export interface Listing {
  /** In name order, empty ones too. */
  databases: string[]
  tables: Table[]
  objects: Map<string, Objects>
}

/** Their rows are elsewhere: in other tables, or on other servers. The dump programs leave them out, too. */
const elsewhere = new Set([
  ...['mrg_myisam', 'mrg_isam', 'federated', 'connect', 'oqgraph', 'spider', 'vp', 'blackhole'],
])

/** It has rows of its own. */
export function holdsRows({ kind, engine }: Pick<Table, 'kind' | 'engine'>): boolean {
  return kind === 'table' && !elsewhere.has(engine.toLowerCase())
}

export const keyOf = ({ database, name }: { database: string; name: string }): string => `${database}.${name}`

/** Everything that users made. */
export async function list(session: Session, { product }: Server): Promise<Listing> {
  // what the server keeps of sizes may be a day old, or nothing
  if (product === 'MySQL') await session.execute('SET SESSION information_schema_stats_expiry = 0')
  const databases = await session.rows<{ name: string }>(
    'SELECT schema_name AS name FROM information_schema.schemata WHERE schema_name NOT IN (?) ORDER BY 1',
    [systemDatabases],
  )
  const found = await session.rows<{
    db: string
    name: string
    type: string
    kind: string | null
    bytes: string | null
  }>(
    `SELECT table_schema AS db, table_name AS name, table_type AS type, engine AS kind, data_length AS bytes
       FROM information_schema.tables WHERE table_schema NOT IN (?) AND table_name NOT LIKE '#sql%' ORDER BY 1, 2`,
    [systemDatabases],
  )
  const digests = await columnDigests(session)
  const tables = found.flatMap(({ db, name, type, kind, bytes }): Table[] => {
    if (type.includes('VIEW')) return []
    return [
      {
        database: db,
        name,
        kind: type === 'SEQUENCE' ? 'sequence' : 'table',
        engine: kind ?? '',
        bytes: Number(bytes ?? 0),
        versioned: type === 'SYSTEM VERSIONED',
        digest: digests.get(`${db}.${name}`) ?? '',
      },
    ]
  })
  const objects = await programsOf(session)
  for (const { db, name, type } of found) if (type.includes('VIEW')) objectsIn(objects, db).views.push(name)
  return { databases: databases.map((row) => row.name), tables, objects }
}

async function columnDigests(session: Session): Promise<Map<string, string>> {
  const rows = await session.rows<{ name: string; digest: string }>(
    `SELECT CONCAT(table_schema, '.', table_name) AS name,
            CAST(SUM(CRC32(CONCAT_WS('|', column_name, ordinal_position, column_type, is_nullable, extra, IFNULL(generation_expression, '')))) AS CHAR) AS digest
       FROM information_schema.columns WHERE table_schema NOT IN (?) GROUP BY table_schema, table_name`,
    [systemDatabases],
  )
  return new Map(rows.map(({ name, digest }) => [name, digest]))
}

export interface Column {
  name: string
  /** As SQL has it. */
  type: string
  /** Of a column that is computed; `ROW START` and `ROW END` of one that keeps history. */
  expression: string
}

/** Columns of all tables of some databases, in their order, those that are invisible too. */
export async function columnsOf(session: Session, databases: readonly string[]): Promise<Map<string, Column[]>> {
  if (databases.length === 0) return new Map()
  const rows = await session.rows<Column & { table: string }>(
    `SELECT CONCAT(table_schema, '.', table_name) AS \`table\`, column_name AS name, column_type AS type,
            IFNULL(generation_expression, '') AS expression
       FROM information_schema.columns WHERE table_schema IN (?) ORDER BY table_schema, table_name, ordinal_position`,
    [databases],
  )
  return Map.groupBy(rows, (row) => row.table)
}

async function programsOf(session: Session): Promise<Map<string, Objects>> {
  const rows = await session.rows<{ db: string; what: 'routines' | 'triggers' | 'events'; n: string }>(
    `SELECT routine_schema AS db, 'routines' AS what, COUNT(*) AS n FROM information_schema.routines WHERE routine_schema NOT IN (?) GROUP BY 1
     UNION ALL SELECT trigger_schema, 'triggers', COUNT(*) FROM information_schema.triggers WHERE trigger_schema NOT IN (?) GROUP BY 1
     UNION ALL SELECT event_schema, 'events', COUNT(*) FROM information_schema.events WHERE event_schema NOT IN (?) GROUP BY 1`,
    [systemDatabases, systemDatabases, systemDatabases],
  )
  const objects = new Map<string, Objects>()
  for (const { db, what, n } of rows) objectsIn(objects, db)[what] = Number(n)
  return objects
}

function objectsIn(objects: Map<string, Objects>, database: string): Objects {
  const known = objects.get(database) ?? { views: [], routines: 0, triggers: 0, events: 0 }
  objects.set(database, known)
  return known
}

/** Pure: tables that are not as they were, as a person would say it. */
export function changed(before: readonly Table[], after: readonly Table[]): string[] {
  const now = new Map(after.map((table) => [keyOf(table), table]))
  return before.flatMap((table) => {
    const found = now.get(keyOf(table))
    if (!found) return [`${keyOf(table)} was dropped or renamed`]
    return found.digest === table.digest ? [] : [`${keyOf(table)} was altered`]
  })
}
