import { z } from 'zod'
import { parseFacts, type SourceFacts } from '../../manifest.ts'

const Stored = z.object({
  path: z.string(),
  /** In the order of a restore. */
  kind: z.enum(['accounts', 'dump', 'tables', 'data', 'triggers', 'routines', 'views', 'events']),
  database: z.string().optional(),
  /** Of the kind `data`: what it has rows of. A large table may be in several. */
  tables: z.array(z.string()).optional(),
  /** Bytes of its longest INSERT statement; backups of earlier versions do not say it. */
  longest: z.int().optional(),
})
export type Stored = z.infer<typeof Stored>

/** What the manifest says of a MySQL or MariaDB source: enough to restore it and to prove the restore. */
export const MysqlFacts = z.object({
  method: z.enum(['parallel', 'mysqldump']),
  consistency: z.object({
    /** snapshot: everything at one point; per-database: each database at its own. */
    kind: z.enum(['snapshot', 'per-database']),
    /** How the point was made the same for all connections. */
    by: z.enum(['read-lock', 'positions', 'single-connection', 'table-locks']),
    /** How long writers were held back. */
    lockMs: z.int().optional(),
    binlog: z.object({ file: z.string(), position: z.int() }).nullable(),
    /** gtid_executed of MySQL, gtid_binlog_pos of MariaDB. */
    gtid: z.string().nullable(),
  }),
  databases: z.array(z.string()),
  tables: z.array(
    z.object({
      database: z.string(),
      name: z.string(),
      kind: z.enum(['table', 'sequence']),
      engine: z.string(),
      /** At the point of the backup; null where it cannot be known. */
      rows: z.int().nullable(),
      /** Over all columns of all rows, in any order, when it was asked for. */
      checksum: z.string().nullable(),
    }),
  ),
  objects: z.array(
    z.object({
      database: z.string(),
      views: z.array(z.string()),
      routines: z.int(),
      triggers: z.int(),
      events: z.int(),
      /** Tables that the source's values left out of it; earlier versions did not say so. */
      without: z.array(z.string()).default([]),
    }),
  ),
  parts: z.array(Stored),
})
export type MysqlFacts = z.infer<typeof MysqlFacts>

/** The facts of a manifest. Throws `verification` when they are not this engine's. */
export function factsOf(source: Pick<SourceFacts, 'facts'> | undefined): MysqlFacts {
  return parseFacts(MysqlFacts, source, 'a MySQL backup')
}

/** What the facts promise and the manifest does not list. */
export function missingParts(facts: MysqlFacts, parts: readonly { path: string }[]): string[] {
  const there = new Set(parts.map(({ path }) => path))
  return facts.parts.map(({ path }) => path).filter((path) => !there.has(`${path}.zst`) && !there.has(path))
}
