import { z } from 'zod'
import { secretName as secret, Tls } from '../../io/connection.ts'

const key = z.string().min(1)

const server = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+)(:\d{1,5})?$/, 'a server is host, host:port or [ipv6]:port')

const Credentials = z.strictObject({
  secret,
  username: z.string().min(1).optional().describe('the ACL user; `default` when absent'),
  usernameKey: key.optional().describe('key of the Secret with the ACL user, instead of username'),
  passwordKey: key.default('password'),
})
export type Credentials = z.infer<typeof Credentials>

const Sentinel = z.strictObject({
  servers: z.array(server).min(1).describe('sentinels, host:port, or host for port 26379; asked in turn'),
  master: z.string().min(1).describe('name of the master that they watch'),
  credentials: Credentials.optional().describe('account of the sentinels, when they have one'),
})

const Cluster = z.strictObject({
  servers: z.array(server).min(1).describe('some nodes of the cluster, host:port; the others are found'),
})

const connection = {
  host: z.string().optional().describe('the server'),
  port: z.int().min(1).max(65535).default(6379).describe('port of `host`, and of nodes of a cluster that name none'),
  sentinel: Sentinel.optional().describe('instead of host: the master that sentinels know'),
  cluster: Cluster.optional().describe('instead of host: all masters of a cluster'),
  credentials: Credentials.optional().describe('the account; none when absent'),
  tls: Tls,
}
const Connection = z.strictObject(connection)
export type Connection = z.infer<typeof Connection>

function oneServer({ host, sentinel, cluster }: { host?: unknown; sentinel?: unknown; cluster?: unknown }): boolean {
  return [host, sentinel, cluster].filter(Boolean).length === 1
}
const nameOne = { message: 'name one of host, sentinel and cluster' }

const Choice = z.strictObject({
  databases: z.array(z.int().min(0)).default([]).describe('numbers of databases; all when empty'),
  keys: z
    .array(z.string().min(1))
    .default([])
    .describe('patterns of keys as KEYS takes them, such as `resque:*`; all when empty'),
})
export type Choice = z.infer<typeof Choice>

export const Source = z
  .strictObject({
    ...connection,
    preferReplica: z
      .boolean()
      .default(true)
      .describe('take the snapshot from a replica that has caught up, when there is one'),
    include: Choice.optional().describe('only these databases, and of them only these keys'),
    exclude: Choice.optional().describe('not these databases, nor these keys'),
    accounts: z.boolean().default(true).describe('also back up the ACL users'),
    parallel: z.int().min(1).default(3).describe("how many of a cluster's masters at once"),
  })
  .refine(oneServer, nameOne)
export type Source = z.infer<typeof Source>

export const Target = z
  .strictObject({
    ...connection,
    include: Choice.optional().describe('only these databases, and of them only these keys'),
    exclude: Choice.optional().describe('not these databases, nor these keys'),
    functions: z.boolean().default(true).describe('also restore the libraries of functions'),
    accounts: z.boolean().default(true).describe('also restore the ACL users'),
  })
  .refine(oneServer, nameOne)
export type Target = z.infer<typeof Target>

/** A plan's own server as the target of its backup. */
export function targetOf(source: unknown): unknown {
  const { host, port, sentinel, cluster, credentials, tls } = source as Source
  return Target.parse({ host, port, sentinel, cluster, credentials, tls })
}

/** What is restored; not where the server is: the marker is in it. */
export function requestOf(target: unknown): unknown {
  const { include, exclude, functions, accounts } = target as Target
  return { include, exclude, functions, accounts }
}
