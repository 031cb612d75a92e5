import { z } from 'zod'
import { parseFacts, type SourceFacts } from '../../manifest.ts'
import { TableFacts } from './tables.ts'

/** What the manifest says of a RonDB source: enough to restore into any cluster and to prove it. */
export const RondbFacts = z.object({
  /** The point in time: the end or the start of the backup, in global checkpoints. Null in adopted backups of older clusters. */
  consistency: z.object({
    snapshot: z.enum(['end', 'start']),
    startGcp: z.int().nullable(),
    stopGcp: z.int().nullable(),
    /** What --restore-epoch writes to mysql.ndb_apply_status; text, beyond 2^53 in time. */
    epoch: z.string().nullable(),
  }),
  /** The data nodes that are in the backup, each with its group and its number of parts (one per LDM). */
  topology: z.object({ nodes: z.array(z.object({ id: z.int(), group: z.int().nullable(), parts: z.int() })).min(1) }),
  /** #Records and #LogRecords of START BACKUP; blob parts and NDB's own tables count too. */
  records: z.int().nullable(),
  logRecords: z.int().nullable(),
  bytes: z.int(),
  /** Records of NDB's own tables before and after, which no restore brings back. */
  systemRecords: z.tuple([z.int(), z.int()]).nullable(),
  encrypted: z.boolean(),
  databases: z.array(z.string()),
  tables: z.array(TableFacts),
  /** Tables that are not NDB, `database.table`, and whether local-tables.sql has them. */
  localTables: z.object({ names: z.array(z.string()), dumped: z.boolean() }),
})
export type RondbFacts = z.infer<typeof RondbFacts>

/** The facts of a manifest. Throws `verification` when they are not RonDB's. */
export function factsOf(source: Pick<SourceFacts, 'facts'> | undefined): RondbFacts {
  return parseFacts(RondbFacts, source, 'a RonDB backup')
}

/** What of a backup's parts the facts promise and the manifest does not list: folders of data nodes, and dumps. */
export function missingParts(facts: RondbFacts, parts: readonly { path: string }[]): string[] {
  const folders = facts.topology.nodes.map(({ id }) => `rondb/${id}/`)
  const dumps = ['users.sql', 'databases.sql', ...(facts.localTables.dumped ? ['local-tables.sql'] : [])]
  return [...dumps, ...folders].filter((path) => !parts.some((part) => part.path.startsWith(path)))
}
