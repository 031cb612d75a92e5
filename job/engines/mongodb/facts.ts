import { z } from 'zod'
import { parseFacts, type SourceFacts } from '../../manifest.ts'
import { Oplog } from './oplog.ts'

const CollectionFacts = z.object({
  database: z.string(),
  name: z.string(),
  /** collection, view, timeseries. */
  type: z.string(),
  documents: z.int(),
  indexes: z.array(z.string()),
  /** What a thousand of its documents have that come one after the other, at most; like the next not in earlier backups. */
  thousandBytes: z.int().optional(),
  /** The order of its documents is part of it. */
  capped: z.boolean().optional(),
})
export type CollectionFacts = z.infer<typeof CollectionFacts>

/** What the manifest says of a MongoDB source: enough to restore any of it and to prove it. */
export const MongoFacts = z.object({
  /** oplog: one point in time; per-database and per-collection: each at its own. */
  consistency: z.enum(['oplog', 'per-database', 'per-collection']),
  /** Without time zone: seconds since 1970 and a count, as MongoDB numbers its writes. */
  oplog: Oplog.optional(),
  replicaSet: z.string().nullable(),
  databases: z.array(z.string()),
  /** Views and time series included; the server's own are left out. */
  collections: z.array(CollectionFacts),
  /** How many there are; null where they were left out. */
  users: z.int().nullable(),
  roles: z.int().nullable(),
  /** One archive of the whole server, or one of each database. */
  archives: z.array(
    z.object({
      path: z.string(),
      database: z.string().nullable(),
      users: z.boolean(),
      /** Collections that mongodump read at once: mongorestore writes no fewer. Earlier backups do not say. */
      collectionsAtOnce: z.int().optional(),
    }),
  ),
})
export type MongoFacts = z.infer<typeof MongoFacts>

/** The facts of a manifest. Throws `verification` when they are not MongoDB's. */
export function factsOf(source: Pick<SourceFacts, 'facts'> | undefined): MongoFacts {
  return parseFacts(MongoFacts, source, 'a MongoDB backup')
}

/** Archives that the facts promise and the manifest does not list. */
export function missingParts(facts: MongoFacts, parts: readonly { path: string }[]): string[] {
  return facts.archives.map(({ path }) => path).filter((path) => !parts.some((part) => part.path === path))
}

export function namespaceOf({ database, name }: { database: string; name: string }): string {
  return `${database}.${name}`
}
