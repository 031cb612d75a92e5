import { z } from 'zod'
import { JobError } from '../../errors.ts'
import { parseFacts, type SourceFacts } from '../../manifest.ts'
import type { Session } from './connection.ts'
import type { Statement } from './statements.ts'
import { systemDatabases } from './values.ts'

const TableFacts = z.object({ database: z.string(), schema: z.string(), name: z.string(), rows: z.int() })

/** What the manifest says of a CockroachDB source. */
export const CockroachFacts = z.object({
  scope: z.enum(['cluster', 'databases', 'tables']),
  /** The point in time of the backup, as the database writes it. */
  endTime: z.string(),
  revisionHistory: z.boolean(),
  encrypted: z.boolean(),
  databases: z.array(z.string()),
  tables: z.array(TableFacts),
})
export type CockroachFacts = z.infer<typeof CockroachFacts>

export function factsOf(source: Pick<SourceFacts, 'facts'> | undefined): CockroachFacts {
  return parseFacts(CockroachFacts, source, 'a CockroachDB backup')
}

interface Shown {
  database_name: string | null
  parent_schema_name: string | null
  object_name: string
  object_type: string
  end_time: string | Date
  rows: string | number | null
}

/** What the database says is in the backup that it wrote last, after it looked for each of its files. */
export async function readBackup(
  session: Session,
  { sql, values }: Statement,
): Promise<Pick<CockroachFacts, 'endTime' | 'databases' | 'tables'>> {
  const rows = (await session.rows<Shown>(sql, values)).filter(
    ({ database_name: name, object_type: type, object_name: object }) => {
      return !systemDatabases.includes(type === 'database' ? object : (name ?? ''))
    },
  )
  const end = rows[0]?.end_time
  if (end === undefined) throw new JobError('server', 'the database finds nothing in the backup that it wrote')
  const tables = rows.filter(({ object_type: type }) => type === 'table')
  const named = rows.filter(({ object_type: type }) => type === 'database').map(({ object_name: name }) => name)
  return {
    endTime: end instanceof Date ? end.toISOString() : end,
    databases: [...new Set([...named, ...tables.map(({ database_name: name }) => name ?? '')])].sort(),
    tables: tables.map(({ database_name: database, parent_schema_name: schema, object_name: name, rows: count }) => ({
      database: database ?? '',
      schema: schema ?? 'public',
      name,
      rows: Number(count ?? 0),
    })),
  }
}
