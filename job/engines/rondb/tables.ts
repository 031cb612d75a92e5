import { z } from 'zod'
import type { Session } from '../../io/mysql.ts'
import { leftOut, systemDatabases } from './values.ts'

/** A table of NDB with its record counts before and after the backup: equal when nobody wrote. */
export const TableFacts = z.object({
  database: z.string(),
  name: z.string(),
  /** Rows, from NDB's own counters. */
  rows: z.tuple([z.int(), z.int()]),
  /** Rows plus the rows of its blob parts: what a native backup counts as records. */
  records: z.tuple([z.int(), z.int()]),
})
export type TableFacts = z.infer<typeof TableFacts>

/** Records of everything in NDB at one moment. */
export interface Counts {
  /** By `database.table`: rows and records (with blob parts). */
  tables: Map<string, { database: string; name: string; rows: number; records: number }>
  /** Records of NDB's own tables, which ndb_restore skips. */
  system: number
}

interface CountRow {
  fq_name: string
  table_id: number
  records: string
}

/**
 * Reads ndbinfo.memory_per_fragment: its element counts add up to START BACKUP's #Records exactly (seen on 9.7.2).
 * Each fragment has as many copies as there are replicas: the largest count of them is taken.
 */
export async function countRecords(session: Session): Promise<Counts> {
  const rows = await session.rows<CountRow>(
    `SELECT ${utf8('fq_name')} AS fq_name, table_id, CAST(SUM(c) AS CHAR) AS records
       FROM (SELECT fq_name, table_id, fragment_num, MAX(fixed_elem_count) AS c FROM ndbinfo.memory_per_fragment
              WHERE type NOT LIKE '%index%' GROUP BY fq_name, table_id, fragment_num) AS fragments
      GROUP BY fq_name, table_id`,
  )
  return tally(rows)
}

/** ndbinfo says that its names are latin1, and gives the bytes of UTF-8. */
export function utf8(column: string): string {
  return `CONVERT(CAST(${column} AS BINARY) USING utf8mb4)`
}

/** Pure: fq_name is `database/schema/table`; a blob part table is named after the id of its table. */
export function tally(rows: CountRow[]): Counts {
  const tables: Counts['tables'] = new Map()
  const byId = new Map<number, string>()
  let system = 0
  const user = rows.map((row) => ({ ...named(row.fq_name), id: row.table_id, records: Number(row.records) }))
  for (const { database, name, id, records } of user) {
    if (isSystem(database)) system += records
    else if (!blobOf(name)) {
      tables.set(`${database}.${name}`, { database, name, rows: records, records })
      byId.set(id, `${database}.${name}`)
    }
  }
  for (const { database, name, records } of user) {
    const owner = blobOf(name)
    const table = owner === undefined ? undefined : tables.get(byId.get(owner) ?? '')
    if (table && !isSystem(database)) table.records += records
  }
  return { tables, system }
}

export function named(fqName: string): { database: string; name: string } {
  const [database = '', , ...name] = fqName.split('/')
  return { database, name: name.join('/') }
}

function isSystem(database: string): boolean {
  return database === 'mysql' || database === 'sys'
}

function blobOf(name: string): number | undefined {
  const id = /^NDB\$BLOB_(\d+)_\d+$/.exec(name)?.[1]
  return id === undefined ? undefined : Number(id)
}

/** Half-made tables of an ALTER have names that start with #sql; a backup holds none that matter. */
export function isUserTable({ database, name }: { database: string; name: string }): boolean {
  return !systemDatabases.includes(database) && !name.startsWith('NDB$') && !name.startsWith('#sql')
}

/** Tables that are not in NDB, by the first MySQL server: `database.table`. */
export async function localTables(session: Session): Promise<{ database: string; name: string }[]> {
  return session.rows<{ database: string; name: string }>(
    `SELECT table_schema AS \`database\`, table_name AS name FROM information_schema.tables
      WHERE table_type = 'BASE TABLE' AND LOWER(engine) <> 'ndbcluster' AND table_schema NOT IN (?) ORDER BY 1, 2`,
    [[...systemDatabases, ...leftOut]],
  )
}

/** Databases that users made, in name order. */
export async function userDatabases(session: Session): Promise<string[]> {
  const rows = await session.rows<{ name: string }>(
    'SELECT schema_name AS name FROM information_schema.schemata WHERE schema_name NOT IN (?) ORDER BY 1',
    [[...systemDatabases, ...leftOut]],
  )
  return rows.map((row) => row.name)
}

export const keyOf = ({ database, name }: { database: string; name: string }): string => `${database}.${name}`

/** Records of everything that a restore never brings back. */
export function leftRecords(counts: Counts): number {
  const left = [...counts.tables.values()].filter((table) => !isUserTable(table) || leftOut.includes(table.database))
  return counts.system + left.reduce((sum, table) => sum + table.records, 0)
}
