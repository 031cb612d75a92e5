import { z } from 'zod'
import { parseFacts, type SourceFacts } from '../../manifest.ts'

const Name = { schema: z.string(), name: z.string() }

/** What the manifest says of one database. */
export const DatabaseFacts = z.object({
  name: z.string(),
  owner: z.string(),
  encoding: z.string(),
  collate: z.string(),
  ctype: z.string(),
  /** c: libc, i: ICU, b: builtin. */
  provider: z.string(),
  locale: z.string().nullable(),
  /** The point in time: all parts of the database show this snapshot. */
  snapshot: z.object({ id: z.string(), lsn: z.string(), time: z.string() }),
  extensions: z.array(z.object({ name: z.string(), version: z.string(), schema: z.string() })),
  timescaledb: z.object({ version: z.string(), hypertables: z.int(), chunks: z.int() }).nullable(),
  /** With rows of their own. `part` and `entry` say where the rows are; null when they were left out. */
  tables: z.array(z.object({ ...Name, rows: z.int(), part: z.string().nullable(), entry: z.int().nullable() })),
  /** Where they stood; null when never asked for a number. */
  sequences: z.array(z.object({ ...Name, value: z.string().nullable() })),
  largeObjects: z.int(),
  /** Paths, in the order that they are restored in. */
  parts: z.array(z.string()).min(1),
})
export type DatabaseFacts = z.infer<typeof DatabaseFacts>
export type TableFacts = DatabaseFacts['tables'][number]

/** What the manifest says of a PostgreSQL source: enough to restore into any server and to prove it. */
export const PostgresFacts = z.object({
  consistency: z.literal('per-database'),
  method: z.enum(['parallel', 'single']),
  /** globals.sql is there, and whether it has the password hashes. */
  globals: z.object({ passwords: z.boolean() }).nullable(),
  databases: z.array(DatabaseFacts),
})
export type PostgresFacts = z.infer<typeof PostgresFacts>

export const globalsPart = 'globals.sql'

/** Parts of a database lie in a folder of its name; what S3 or a file system could stumble over is written as in URLs. */
export function folderOf(database: string): string {
  return [...Buffer.from(database)]
    .map((byte) => (/[A-Za-z0-9_-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `%${hex(byte)}`))
    .join('')
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, '0')
}

export function tableKey(database: string, { schema, name }: { schema: string; name: string }): string {
  return `${database}.${schema}.${name}`
}

/** The facts of a manifest. Throws `verification` when they are not PostgreSQL's. */
export function factsOf(source: Pick<SourceFacts, 'facts'> | undefined): PostgresFacts {
  return parseFacts(PostgresFacts, source, 'a PostgreSQL backup')
}

/** What the facts promise and the manifest does not list. */
export function missingParts(facts: PostgresFacts, parts: readonly { path: string }[]): string[] {
  const promised = [...(facts.globals ? [globalsPart] : []), ...facts.databases.flatMap((database) => database.parts)]
  return promised.filter((path) => !parts.some((part) => part.path === path))
}
