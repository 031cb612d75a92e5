import { z } from 'zod'
import { Credentials, clientsFolder, Tls } from '../../io/connection.ts'

const host = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[^\s,;:/@[\]]+)(:\d{1,5})?$/, 'a host is host, host:port or [ipv6]:port')

/** Databases of the server itself, and ours. */
export const systemDatabases = ['admin', 'config', 'local', 'holdfast']

const database = z
  .string()
  .regex(/^[^/\\. "$*<>:|?\0]{1,63}$/, 'not a name of a database')
  .refine((name) => !systemDatabases.includes(name), 'this database belongs to the server, or to holdfast')
const collection = z.string().regex(/^[^/\\. "$\0]+\.[^$\0]+$/, 'a collection is database.collection')

const server = {
  hosts: z.array(host).min(1).optional().describe('the server, or members of its replica set: host or host:port'),
  srv: z
    .string()
    .regex(/^[^\s,;:/@]+$/, 'a host name only')
    .optional()
    .describe('name whose SRV record lists the servers, instead of hosts'),
  replicaSet: z.string().min(1).optional().describe('name of the replica set; with several hosts it is needed'),
  credentials: Credentials.optional(),
  authenticationDatabase: z.string().min(1).default('admin').describe('database that knows the account'),
  tls: Tls,
  clients: clientsFolder,
}

interface Server {
  hosts?: string[] | undefined
  srv?: string | undefined
  tls: Tls
  extraOptions: string[]
}

/** Options that would carry a password, go around the values, break the stream or hide what the tool says. */
const taken =
  /^(--?(password|uri|config|host|port|username|authenticationDatabase|sslPEMKeyPassword|awsSessionToken|ssl\w*|tls\w*|db|collection|query|queryFile|out|dir|archive|gzip|oplog\w*|numInsertionWorkersPerCollection|dumpDbUsersAndRoles|restoreDbUsersAndRoles|viewsAsCollections|excludeCollection\w*|ns(Include|Exclude|From|To)|drop|dryRun|quiet|stopOnError|help|version)(=|$)|-[a-z]*[phudcqo])/

function refuseServer({ hosts, srv, tls, extraOptions }: Server, issues: z.RefinementCtx): void {
  const wrong = (path: (string | number)[], message: string) => issues.addIssue({ code: 'custom', path, message })
  if ((hosts === undefined) === (srv === undefined)) wrong([], 'name one of hosts and srv')
  if (tls.mode === 'verify-ca')
    wrong(['tls', 'mode'], 'the MongoDB tools check the host name with the CA: verify-identity, or required')
  if ((tls.cert === undefined) !== (tls.key === undefined)) wrong(['tls'], 'cert and key go together')
  extraOptions.forEach((option, i) => {
    if (taken.test(option) || option.includes('://'))
      wrong(['extraOptions', i], 'this option would go around the values or break the stream')
  })
}

const extraOptions = (tool: string) =>
  z.array(z.string().min(1)).default([]).describe(`more options of ${tool}, one word an entry: -j, "1"`)

const parallelCollections = z.int().min(1).max(64).default(4)

export const Source = z
  .strictObject({
    ...server,
    include: z
      .strictObject({ databases: z.array(database).min(1).describe('names of databases') })
      .optional()
      .describe('only these databases, each at a time of its own; the whole server when absent'),
    exclude: z
      .strictObject({
        databases: z.array(database).default([]).describe('names of databases'),
        collections: z.array(collection).default([]).describe('single collections, database.collection'),
      })
      .optional()
      .describe('not these databases and collections; the others are then taken each at a time of its own'),
    users: z
      .boolean()
      .default(true)
      .describe('with chosen databases: also their users and roles; a whole server always has them'),
    oplog: z
      .enum(['auto', 'required', 'off'])
      .default('auto')
      .describe(
        'one point in time for a whole replica set. auto: where there is an oplog; required: refuse where there is none; off',
      ),
    readPreference: z
      .enum(['primary', 'primaryPreferred', 'secondary', 'secondaryPreferred', 'nearest'])
      .default('secondaryPreferred')
      .describe('which member of a replica set is read'),
    parallelCollections: parallelCollections.describe('how many collections are read at once'),
    extraOptions: extraOptions('mongodump'),
  })
  .superRefine((source, issues) => {
    refuseServer(source, issues)
    if (source.oplog === 'required' && isChosen(source))
      issues.addIssue({ code: 'custom', path: ['oplog'], message: 'the oplog is only for a whole server' })
  })
export type Source = z.infer<typeof Source>

/** Chosen databases are dumped one by one. */
export function isChosen({ include, exclude }: Pick<Source, 'include' | 'exclude'>): boolean {
  return include !== undefined || exclude !== undefined
}

const Choice = z.strictObject({
  databases: z.array(z.string().min(1)).default([]).describe('names of databases'),
  collections: z.array(collection).default([]).describe('single collections, database.collection'),
})

export const Target = z
  .strictObject({
    ...server,
    include: Choice.optional().describe('only these databases and collections'),
    exclude: Choice.optional().describe('not these databases and collections'),
    rename: z
      .array(
        z.strictObject({
          from: collection.describe('name in the backup'),
          to: collection.describe('name in the target'),
        }),
      )
      .default([])
      .describe('other names: from shop.* to shop2.*, or from shop.orders to shop.old'),
    users: z.boolean().default(true).describe('also restore users and roles, unless databases are chosen or renamed'),
    verify: z
      .enum(['before', 'during'])
      .default('before')
      .describe('read and check the whole backup before the first write, or while it is written'),
    parallelCollections: parallelCollections.describe(
      'how many collections are written at once; mongorestore takes no fewer than the backup read at once',
    ),
    insertionWorkers: z
      .int()
      .min(1)
      .max(32)
      .optional()
      .describe(
        'how many writers each of these collections has: 2, or 1 where their documents are large; always 1 when a capped collection is among what is restored, or an earlier backup does not say',
      ),
    extraOptions: extraOptions('mongorestore'),
  })
  .superRefine((target, issues) => {
    refuseServer(target, issues)
    target.rename.forEach(({ from, to }, i) => {
      if (target.rename.findIndex((other) => other.from === from) !== i)
        issues.addIssue({ code: 'custom', path: ['rename', i], message: 'it is renamed twice' })
      if (from.endsWith('.*') !== to.endsWith('.*'))
        issues.addIssue({
          code: 'custom',
          path: ['rename', i],
          message: 'both are database.*, or both database.collection',
        })
    })
  })
export type Target = z.infer<typeof Target>

/** A plan's own server as the target of its backup. */
export function targetOf(source: unknown): unknown {
  const { hosts, srv, replicaSet, credentials, authenticationDatabase, tls, clients, parallelCollections } =
    source as Source
  const connection = { hosts, srv, replicaSet, credentials, authenticationDatabase, tls, clients, parallelCollections }
  return Target.parse(Object.fromEntries(Object.entries(connection).filter(([, value]) => value !== undefined)))
}

/** What is restored under which names; not how fast, nor where the server is: the marker is in the target. */
export function requestOf(target: unknown): unknown {
  const { include, exclude, rename, users } = target as Target
  return { include, exclude, rename, users }
}
