import { quoteName, type Session } from '../../io/mysql.ts'
import { holdsRows, keyOf } from './tables.ts'

export interface Count {
  rows: number
  checksum: string | null
}

interface Named {
  database: string
  name: string
  kind: 'table' | 'sequence'
  engine: string
}

/** Rows, and a checksum when asked, of every table that has some of its own, as this session's transaction sees it. */
export async function count(
  session: Session,
  tables: readonly Named[],
  { checksums }: { checksums: boolean },
): Promise<Map<string, Count>> {
  const counts = new Map<string, Count>()
  for (const table of tables) {
    if (!holdsRows(table)) continue
    const sum = checksums ? await checksumOf(session, table) : 'NULL'
    const [row] = await session.rows<{ n: string; checksum: string | null }>(
      `SELECT COUNT(*) AS n, ${sum} AS checksum FROM ${quoteName(table.database)}.${quoteName(table.name)}`,
    )
    counts.set(keyOf(table), { rows: Number(row?.n), checksum: row?.checksum ?? null })
  }
  return counts
}

/** CHECKSUM TABLE would do if it did not count hidden columns too, and depend on the version: equal tables had different ones. */
async function checksumOf(session: Session, { database, name }: Named): Promise<string> {
  const columns = await session.rows<{ name: string }>(
    `SELECT column_name AS name FROM information_schema.columns WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position`,
    [database, name],
  )
  const sums = columns.map((column) => `IFNULL(CRC32(${quoteName(column.name)}), '-')`)
  return `CAST(SUM(CRC32(CONCAT_WS('|', ${sums.join(', ')}))) AS CHAR)`
}

/** What both counts agree on: of tables that were written in between nothing is known. */
export function agreed(before: ReadonlyMap<string, Count>, after: ReadonlyMap<string, Count>): Map<string, Count> {
  return new Map(
    [...before].filter(([key, { rows, checksum }]) => {
      const other = after.get(key)
      return other?.rows === rows && other.checksum === checksum
    }),
  )
}
