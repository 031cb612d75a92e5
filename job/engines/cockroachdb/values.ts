import { z } from 'zod'
import { Credentials, secretName, Tls } from '../../io/connection.ts'
import { httpUrl } from '../../urls.ts'

const database = z.string().min(1)
const table = z.string().regex(/^[^.]+\.[^.]+\.[^.]+$/, 'a table is database.schema.table')

const server = {
  host: z.string().min(1).describe('a node of the cluster, or the address in front of them'),
  port: z.int().min(1).max(65535).default(26257).describe('its SQL port'),
  credentials: Credentials,
  tls: Tls,
  encryption: z
    .strictObject({
      secret: secretName,
      key: z.string().min(1).default('password').describe('key of the passphrase in the Secret'),
    })
    .optional()
    .describe('the database encrypts the backup with this passphrase; a restore needs it again'),
  storageAccess: z
    .enum(['credentials', 'implicit'])
    .default('credentials')
    .describe("how the nodes log in to the bucket: with the storage's credentials, or with what their machines may"),
  storageEndpoint: httpUrl
    .optional()
    .describe('URL of the S3 server as the nodes reach it, when that is another than ours'),
}

/** Names of options of the statements that take no value. */
const extraOptions = (statement: string) =>
  z
    .array(z.string().regex(/^[a-z_]+$/, 'the name of an option without a value'))
    .default([])
    .describe(`more options of ${statement} that take no value`)

export const Source = z
  .strictObject({
    ...server,
    include: z
      .strictObject({
        databases: z.array(database).default([]).describe('whole databases'),
        tables: z.array(table).default([]).describe('single tables, database.schema.table'),
      })
      .optional()
      .describe('only these databases, or only these tables; the whole cluster when absent'),
    age: z
      .string()
      .regex(/^[1-9]\d*s$/, 'a number of seconds, such as 10s')
      .default('10s')
      .describe('how old the state is that is backed up: a little age keeps the backup out of the way of writers'),
    revisionHistory: z
      .boolean()
      .default(false)
      .describe('also keep what changed since the garbage collection, for restores to an earlier time (`at`)'),
    extraOptions: extraOptions('BACKUP'),
  })
  .superRefine(({ include }, issues) => {
    if (include && (include.databases.length === 0) === (include.tables.length === 0))
      issues.addIssue({ code: 'custom', path: ['include'], message: 'name databases or tables, not both' })
  })
export type Source = z.infer<typeof Source>

export const Target = z.strictObject({
  ...server,
  include: z
    .strictObject({ databases: z.array(database).min(1).describe('whole databases') })
    .optional()
    .describe('only these databases of the backup'),
  exclude: z
    .strictObject({ databases: z.array(database).min(1).describe('whole databases') })
    .optional()
    .describe('not these databases of the backup'),
  at: z
    .string()
    .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/, 'a time is written in UTC, such as 2026-11-21T14:30:00Z')
    .optional()
    .describe('restore the state of this earlier time, in UTC; the backup must have been made with revisionHistory'),
  users: z.boolean().default(true).describe('also restore users and roles, when the backup is of a whole cluster'),
  verify: z
    .enum(['before', 'during'])
    .default('before')
    .describe('read and check all files of the backup before the first write, or leave that to the database'),
  extraOptions: extraOptions('RESTORE'),
})
export type Target = z.infer<typeof Target>

/** Databases of the server itself, and ours. */
export const systemDatabases = ['system', 'holdfast']

/** A plan's own cluster as the target of its backup. */
export function targetOf(source: unknown): unknown {
  const { host, port, credentials, tls, encryption, storageAccess, storageEndpoint } = source as Source
  const same = { host, port, credentials, tls, encryption, storageAccess, storageEndpoint }
  return Target.parse(Object.fromEntries(Object.entries(same).filter(([, value]) => value !== undefined)))
}

export function requestOf(target: unknown): unknown {
  const { include, exclude, users, at } = target as Target
  return { include, exclude, users, at }
}
