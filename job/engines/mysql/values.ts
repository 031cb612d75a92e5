import { z } from 'zod'
import { Credentials, clientsFolder, Tls } from '../../io/connection.ts'

const Server = {
  host: z.string().min(1).optional().describe('host of the server'),
  port: z.int().min(1).max(65535).default(3306),
  socket: z.string().startsWith('/').optional().describe('path of the socket, instead of host and port'),
  credentials: Credentials,
  tls: Tls,
  clients: clientsFolder,
}

const oneAddress = {
  check: ({ host, socket }: { host?: string | undefined; socket?: string | undefined }) =>
    (host === undefined) !== (socket === undefined),
  message: 'name one of host and socket',
}

const Choice = z.strictObject({
  databases: z.array(z.string().min(1)).default([]),
  tables: z.array(z.string().regex(/^[^.]+\..+$/, 'a table is database.table')).default([]),
})

const Selection = {
  include: Choice.optional().describe('only these databases and tables; tables are database.table'),
  exclude: Choice.optional().describe('not these databases and tables'),
}

/** What would carry a secret in argv, lead elsewhere, or make the output another one than the engine reads. */
const ownOptions = [
  ...['user', 'password', 'host', 'port', 'socket', 'protocol', 'login-path', 'defaults-file', 'defaults-extra-file'],
  ...['defaults-group-suffix', 'no-defaults', 'print-defaults', 'plugin-dir', 'ssl', 'tls-version'],
  ...[
    'result-file',
    'tab',
    'dir',
    'parallel',
    'xml',
    'help',
    'version',
    'compact',
    'comments',
    'verbose',
    'debug',
    'force',
  ],
  ...['databases', 'all-databases', 'tables', 'where', 'ignore-table', 'ignore-database', 'data', 'no-data'],
  ...['create-info', 'no-create-info', 'routines', 'events', 'triggers', 'single-transaction', 'flush-logs', 'system'],
  ...[
    'execute',
    'batch',
    'binary-mode',
    'commands',
    'sandbox',
    'init-command',
    'delimiter',
    'tee',
    'pager',
    'ignore-error',
  ],
]

/** Clients take any beginning of an option that is not ambiguous, and `skip-`, `loose-` before it. */
function isOf(options: readonly string[], option: string): boolean {
  const name = option.replace(/^--/, '').replace(/=.*/s, '').replaceAll('_', '-').toLowerCase()
  const bare = name.replace(/^(?:(?:loose|skip|disable|enable)-)+/, '')
  return options.some((own) => own.startsWith(bare) || bare.startsWith(`${own}-`))
}

/** What would hide columns that rows name, or concerns rows, which the job reads by itself. */
const rowOptions = [
  ...['generated-invisible-primary-key', 'insert-ignore', 'replace', 'as-of', 'tz-utc', 'hex-blob', 'extended-insert'],
  ...['complete-insert', 'order-by-primary', 'order-by-size', 'delayed-insert', 'insert-delayed', 'no-autocommit'],
  ...['dump-history', 'max-statement-time', 'keys', 'default-character-set', 'compatible', 'fields', 'lines'],
]

const extraOptions = z
  .array(
    z
      .string()
      .regex(/^--[a-z][\w-]*(=[^\0]*)?$/i, 'an option is --name or --name=value')
      .refine((option) => !isOf(ownOptions, option), 'this option is set by the engine, by other values'),
  )
  .default([])

const parallel = (what: string) => z.int().min(1).max(32).default(4).describe(what)

export const Source = z
  .strictObject({
    ...Server,
    method: z
      .enum(['parallel', 'mysqldump'])
      .default('parallel')
      .describe('parallel: one snapshot over several connections, in parts; mysqldump: one stream'),
    parallel: parallel('how many connections dump at once (parallel)'),
    ...Selection,
    accounts: z.boolean().default(true).describe('also back up accounts, roles and grants; reads the database mysql'),
    singleTransaction: z
      .boolean()
      .default(true)
      .describe('false locks the tables of each database while they are dumped instead of a snapshot (mysqldump)'),
    flushLogs: z.boolean().default(false).describe('begin a new binary log at the point of the backup'),
    lockTimeout: z
      .int()
      .min(1)
      .max(3600)
      .default(20)
      .describe('seconds to wait for the global read lock: writers wait behind it (parallel)'),
    proof: z
      .enum(['rows', 'checksums'])
      .default('rows')
      .describe(
        'what a restore is compared with: the number of rows of each table, or a checksum over all columns too, which reads them all',
      ),
    extraOptions: extraOptions.describe(
      'more options for mysqldump or mariadb-dump, which write the definitions, and with method: mysqldump all',
    ),
  })
  .refine(oneAddress.check, oneAddress.message)
  .superRefine(({ method, singleTransaction, extraOptions }, issues) => {
    for (const [i, option] of extraOptions.entries())
      if (method === 'parallel' && isOf(rowOptions, option))
        issues.addIssue({
          code: 'custom',
          path: ['extraOptions', i],
          message: 'the method parallel reads rows by itself: choose method: mysqldump for this option',
        })
    if (method === 'parallel' && !singleTransaction)
      issues.addIssue({
        code: 'custom',
        path: ['singleTransaction'],
        message: 'the method parallel needs a transaction: choose method: mysqldump',
      })
  })
export type Source = z.infer<typeof Source>

export const Target = z
  .strictObject({
    ...Server,
    parallel: parallel('how many connections load at once'),
    ...Selection,
    accounts: z.boolean().default(true).describe('also restore accounts, roles and grants'),
    verify: z
      .enum(['before', 'during'])
      .default('before')
      .describe(
        'before: every part is read and compared with the manifest before the first change; during: while it is loaded',
      ),
    skipBinlog: z
      .boolean()
      .default(false)
      .describe('keep the restore out of the binary log: replicas do not get it (sql_log_bin = 0)'),
    flushLogs: z.boolean().default(false).describe('begin a new binary log after the restore'),
    extraOptions: extraOptions.describe('more options for mysql or mariadb'),
  })
  .refine(oneAddress.check, oneAddress.message)
export type Target = z.infer<typeof Target>

/** Databases of the server itself, and where a restore keeps its marker. */
export const systemDatabases = ['mysql', 'information_schema', 'performance_schema', 'sys', 'ndbinfo', 'holdfast']

/** A plan's own server as the target of its backup. */
export function targetOf(source: unknown): unknown {
  const { host, port, socket, credentials, tls, clients, accounts, parallel } = source as Source
  return Target.parse({
    ...(socket ? { socket } : { host }),
    ...{ port, credentials, tls, accounts, parallel },
    ...(clients ? { clients } : {}),
  })
}

/** The selection; not how it is loaded, nor where the server is: the marker is in the target. */
export function requestOf(target: unknown): unknown {
  const { include, exclude, accounts, skipBinlog } = target as Target
  return { include, exclude, accounts, skipBinlog }
}
