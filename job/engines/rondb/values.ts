import { z } from 'zod'
import { Credentials, secretName as secret, Tls } from '../../io/connection.ts'

const key = z.string().min(1)

const duration = z.string().regex(/^[1-9]\d*[smhd]$/, 'a duration is a number with s, m, h or d, such as 30m')

/** host:port, [ipv6]:port, host, or the path of a socket. */
const server = z
  .string()
  .regex(
    /^(\/.+|\[[0-9a-fA-F:.]+\](:\d{1,5})?|[^\s:/]+(:\d{1,5})?)$/,
    'a server is host, host:port or the path of a socket',
  )

const Mysql = z
  .strictObject({
    host: z.string().optional().describe('a MySQL server of the cluster'),
    port: z.int().min(1).max(65535).default(3306),
    socket: z.string().startsWith('/').optional().describe('path of the socket, instead of host and port'),
    servers: z
      .array(server)
      .min(1)
      .optional()
      .describe('all MySQL servers of the cluster, instead of host: host:port or socket'),
    credentials: Credentials,
    tls: Tls,
  })
  .refine((mysql) => [mysql.host, mysql.socket, mysql.servers].filter(Boolean).length === 1, {
    message: 'name one of host, socket and servers',
  })
export type Mysql = z.infer<typeof Mysql>

const managementServers = z
  .array(z.string().regex(/^(\[[0-9a-fA-F:.]+\]|[^\s,;:/]+)(:\d{1,5})?$/, 'a management server is host or host:port'))
  .min(1)
  .describe('management servers, host:port')
const clients = z
  .string()
  .startsWith('/', 'the folder of the clients is an absolute path')
  .optional()
  .describe('folder with ndb_mgm, ndb_restore and mysqldump; the PATH when absent')
const encryption = z.strictObject({ secret, key: key.default('password') })

const podName = z.string().regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'a name of Kubernetes: a-z, 0-9, - and .')

const Files = z
  .strictObject({
    access: z
      .enum(['local', 'volume', 'exec'])
      .describe(
        "local: paths on this machine; volume: worker pods mount the data nodes' volumes; exec: read through the data nodes' containers",
      ),
    path: z
      .string()
      .min(1)
      .optional()
      .describe(
        "a data node's backup folder, which holds BACKUP-<id>. local: an absolute path with {node} for the node id; volume: the path in the volume; exec: the path in the container",
      ),
    dataNodes: z
      .strictObject({
        selector: z.string().min(1).optional().describe("labels of the data nodes' pods"),
        statefulSets: z
          .array(
            z.strictObject({
              name: podName.describe('name of the StatefulSet'),
              replicas: z.int().min(1).describe('how many pods it has'),
            }),
          )
          .min(1)
          .optional()
          .describe('the StatefulSets of the data nodes, instead of the labels'),
      })
      .refine((chosen) => (chosen.selector === undefined) !== (chosen.statefulSets === undefined), {
        message: 'name one of selector and statefulSets',
      })
      .default({ selector: 'rondbService=ndbmtd' })
      .describe('which pods are the data nodes (volume, exec); matched to node ids by their addresses'),
    volume: z
      .string()
      .min(1)
      .default('rondb-ndbmtd')
      .describe("volume of the data node's pod that has the backup folder (volume)"),
    container: z.string().min(1).default('ndbmtd').describe("container of the data node's pod to read through (exec)"),
  })
  .superRefine(({ access, path }, issues) => {
    const wrong = wrongPath(access, path)
    if (wrong) issues.addIssue({ code: 'custom', path: ['path'], message: wrong })
  })
export type Files = z.infer<typeof Files>

function wrongPath(access: 'local' | 'volume' | 'exec', path: string | undefined): string | undefined {
  if (path?.split('/').includes('..')) return 'the path has no ..'
  if (access === 'volume')
    return path?.startsWith('/') ? 'with access volume the path is one in the volume: no / in front' : undefined
  if (path === undefined) return access === 'local' ? 'with access local a path is needed' : undefined
  if (!path.startsWith('/')) return 'the path is absolute'
  if (access === 'local' && !path.includes('{node}')) return 'the path needs {node}, which becomes the node id'
  return undefined
}

/** Where rondb-helm's data nodes keep their backups. */
export const defaultPath = {
  volume: 'ndb/backups/BACKUP',
  exec: '/srv/hops/mysql-cluster/default_storage/ndb/backups/BACKUP',
}

export const Source = z.strictObject({
  managementServers,
  clients,
  mysql: Mysql,
  files: Files.describe("how the data nodes' backup files are reached"),
  snapshot: z.enum(['end', 'start']).default('end').describe('the point in time of the backup: its end or its start'),
  encryption: encryption.optional().describe('NDB encrypts the files with this password; a restore needs it again'),
  localTables: z
    .enum(['warn', 'dump'])
    .default('warn')
    .describe('tables that are not NDB: only name them, or dump them too'),
  keepLocal: z.int().min(0).default(0).describe("how many finished backups stay in the data nodes' folders"),
  waitForOther: duration.default('30m').describe('how long to wait for a backup that somebody else is taking'),
})
export type Source = z.infer<typeof Source>

const database = z.string().min(1)
const table = z.string().regex(/^[^.]+\..+$/, 'a table is database.table')
const Choice = z.strictObject({
  databases: z.array(database).default([]),
  tables: z.array(table).default([]),
})

export const Target = z.strictObject({
  managementServers,
  clients,
  mysql: Mysql.describe('MySQL servers of the target; routines, views and events are made on each that is named'),
  include: Choice.optional().describe('only these databases and tables'),
  exclude: Choice.optional().describe('not these databases and tables'),
  restoreEpoch: z
    .boolean()
    .default(true)
    .describe('write the epoch to mysql.ndb_apply_status, for a target that follows a primary'),
  diskObjects: z.boolean().default(true).describe('also create tablespaces and log file groups'),
  accounts: z.boolean().default(true).describe('also restore accounts, roles and grants'),
  passwords: z
    .record(z.string(), z.strictObject({ secret, key: key.optional() }))
    .default({})
    .describe('passwords for accounts by user name, from Secrets; the key is the user name when absent'),
  decryption: encryption.optional().describe('password of an encrypted backup'),
  staging: z
    .string()
    .startsWith('/')
    .optional()
    .describe(
      "folder for the downloaded files on the job's own machine, made when it lies below the temporary folder (/scratch in a pod); when absent the temporary folder, in Kubernetes worker pods with volumes of their own",
    ),
  parallel: z
    .int()
    .min(1)
    .optional()
    .describe('how many ndb_restore at once; as many as there are free API slots when absent'),
})
export type Target = z.infer<typeof Target>

/** Databases that rondb-helm makes for itself, and ours: never restored. */
export const leftOut = ['heartbeat', 'ycsb', 'dbt2', 'holdfast']

/** Databases of the server itself. */
export const systemDatabases = ['mysql', 'information_schema', 'performance_schema', 'sys', 'ndbinfo']

/** A plan's own cluster as the target of its backup. */
export function targetOf(source: unknown): unknown {
  const { managementServers, clients, mysql, encryption } = source as Source
  return Target.parse({
    managementServers,
    mysql,
    ...(clients ? { clients } : {}),
    ...(encryption ? { decryption: encryption } : {}),
  })
}

/** The selection and what is made of the accounts; not how many at once, nor where the servers are: the marker is in the target. */
export function requestOf(target: unknown): unknown {
  const { include, exclude, accounts, restoreEpoch, diskObjects } = target as Target
  return { include, exclude, accounts, restoreEpoch, diskObjects }
}
