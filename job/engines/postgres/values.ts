import { z } from 'zod'
import { Credentials, clientsFolder, Tls } from '../../io/connection.ts'

const Connection = {
  host: z.string().min(1).describe('a PostgreSQL server: name, address, or the folder of its socket'),
  port: z.int().min(1).max(65535).default(5432).describe('port of the server'),
  database: z
    .string()
    .min(1)
    .default('postgres')
    .describe('database to log in to first; a restore keeps its marker there, in the schema holdfast'),
  credentials: Credentials,
  tls: Tls,
  clients: clientsFolder.describe(
    'folder with pg_dump, pg_dumpall and pg_restore, or with folders <major>/bin; the PATH and /usr/lib/postgresql when absent',
  ),
}

const Choice = z.strictObject({
  databases: z.array(z.string().min(1)).default([]).describe('databases by name'),
  tables: z
    .array(z.string().regex(/^[^.]+\.[^.]+\..+$/, 'a table is database.schema.table'))
    .default([])
    .describe('tables, database.schema.table: their rows; a database keeps the structure of all its tables'),
})

const parallel = z.int().min(1).max(64).default(2)

/** Those that would say where to, as whom, or turn the output into something else; getopt takes their beginnings, too. */
const ours = [
  'binary-upgrade,clean,column-inserts,compress,create,data-only,dbname,encoding,exit-on-error,file,filter,format',
  'help,host,if-exists,inserts,jobs,list,lock-wait-timeout,no-data,no-password,no-schema,password,port,restrict-key',
  'rows-per-insert,schema-only,section,sequence-data,serializable-deferrable,single-transaction,snapshot,statistics-only',
  'table,table-and-children,transaction-size,use-list,username,verbose,version,role,enable-row-security',
].flatMap((names) => names.split(','))

const extraOptions = z
  .array(
    z
      .string()
      .regex(/^--[a-z][a-z-]+(=.*)?$/s, 'an option is --name or --name=value')
      .refine((option) => !ours.some((name) => name.startsWith(option.slice(2).split('=', 1)[0] ?? '')), {
        error: ({ input }) =>
          `${String(input).split('=', 1)[0]} cannot be given: it is set by holdfast, or would break it`,
      }),
  )
  .default([])

export const Source = z.strictObject({
  ...Connection,
  include: Choice.optional().describe('only these databases, and of a database only the rows of these tables'),
  exclude: Choice.optional().describe('not these databases, and not the rows of these tables'),
  method: z
    .enum(['parallel', 'single'])
    .default('parallel')
    .describe('parallel: several pg_dump on one snapshot; single: one pg_dump, one part in custom format a database'),
  parallel: parallel.describe('how many pg_dump at once'),
  globals: z.boolean().default(true).describe('also back up roles, memberships and tablespaces'),
  rolePasswords: z
    .boolean()
    .default(true)
    .describe(
      'with the password hashes of roles, which needs a superuser; false for managed servers: roles then come back without a password',
    ),
  lockTimeout: z
    .string()
    .regex(/^[1-9]\d*[smh]$/, 'a duration is a number with s, m or h, such as 60s')
    .default('60s')
    .describe('how long to wait for a table that somebody is changing the structure of'),
  extraOptions: extraOptions.describe('more options of pg_dump, such as --no-publications'),
})
export type Source = z.infer<typeof Source>

export const Target = z.strictObject({
  ...Connection,
  include: Choice.optional().describe('only these databases, and of a database only the rows of these tables'),
  exclude: Choice.optional().describe('not these databases, and not the rows of these tables'),
  rename: z
    .array(
      z.strictObject({
        from: z.string().min(1).describe('a database of the backup'),
        to: z.string().min(1).max(63).describe('its name in the target'),
      }),
    )
    .default([])
    .describe('other names for restored databases'),
  parallel: parallel.describe('how many parts, then indexes, at once'),
  globals: z.boolean().default(true).describe('also make roles and tablespaces that the target lacks'),
  ownership: z
    .boolean()
    .default(true)
    .describe('give owners, grants and settings back; false: everything belongs to the account of the restore'),
  analyze: z.boolean().default(true).describe('collect statistics for the planner after the rows'),
  verify: z
    .enum(['before', 'during'])
    .default('before')
    .describe(
      'before: every part is read and compared with the manifest before the first change; during: while it is loaded',
    ),
  extraOptions: extraOptions.describe('more options of pg_restore, such as --no-tablespaces'),
})
export type Target = z.infer<typeof Target>

/** What both say of a server. */
export type Connection = Pick<Source, 'host' | 'port' | 'database' | 'credentials' | 'tls' | 'clients'>

/** Our own schema: never backed up, never in the way. */
export const ownSchema = 'holdfast'

/** A plan's own server as the target of its backup. */
export function targetOf(source: unknown): unknown {
  const { host, port, database, credentials, tls, clients, parallel } = source as Source
  return Target.parse({ host, port, database, credentials, tls, parallel, ...(clients ? { clients } : {}) })
}

/** What comes back and as what; not how many at once, nor where the server is: the marker is in the target. */
export function requestOf(target: unknown): unknown {
  const { include, exclude, rename, globals, ownership } = target as Target
  return { include, exclude, rename, globals, ownership }
}
