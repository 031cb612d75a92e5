import { execFile, execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createConnection, type RowDataPacket } from 'mysql2/promise'

const script = join(import.meta.dirname, '../../../test_scripts/ndb')
const execute = promisify(execFile)
const alive = new Set<string>()

/** Sizes are those of test_scripts/ndb; without options: two data nodes of two LDMs, two replicas, one MySQL server. */
export interface NdbOptions {
  dataNodes?: number
  replicas?: number
  ldm?: number
  mysqlds?: 0 | 1 | 2
  apiSlots?: number
  /** As in config.ini: `256M`. */
  dataMemory?: string
  compressedBackup?: boolean
  /** Binary logs, with the changes made by the NDB API. */
  logBin?: boolean
}

export interface NdbCluster {
  readonly dir: string
  readonly connectString: string
  readonly mysql: MysqlAddress[]
  /** The certificate authority of the first MySQL server (PEM). */
  readonly ca: string | undefined
  readonly nodeIds: number[]
  readonly binDir: string
  /** Where the data node leaves its native backups: `<folder>/BACKUP-<id>`. */
  backupFolder(nodeId: number): string
  /** SIGKILL of a data node: a crash. */
  killNode(nodeId: number): Promise<void>
  /** Resolves when the node is started again. */
  startNode(nodeId: number): Promise<void>
  restartMysql(server?: number): Promise<void>
  /** Runs statements as root on a MySQL server (0 is the first); resolves to the rows of the last one that gives rows. */
  sql<Row = Record<string, unknown>>(statements: string, server?: number): Promise<Row[]>
  /** Ends all of it at once and removes the data. */
  destroy(): Promise<void>
}

export interface MysqlAddress {
  host: string
  port: number
  socket: string
}

/** Starts a cluster in a new folder on free ports. Undefined, with the reason printed, where no NDB can be had; in CI that is an error. */
export async function startNdb(options: NdbOptions = {}): Promise<NdbCluster | undefined> {
  const running = await runningCluster(options)
  if (running) return running
  const dir = await mkdtemp(join(tmpdir(), 'hf-ndb-'))
  alive.add(dir)
  try {
    await ndb('start', dir, ...argumentsOf(options))
  } catch (error) {
    const { code, stderr } = error as { code?: number; stderr?: string }
    if (code !== 2) {
      await destroy(dir)
      throw new Error(`no NDB cluster: ${stderr ?? ''}`, { cause: error })
    }
    await forget(dir)
    const reason = `skipped: no NDB on this machine (${(stderr ?? '').trim().split('\n')[0]})`
    if (process.env.CI) throw new Error(reason)
    console.warn(reason)
    return undefined
  }
  return describeCluster(dir, await environmentOf(dir))
}

const taken = new Set<string>()

/** For quick rounds: HOLDFAST_TEST_NDB names folders of clusters that test_scripts/ndb keeps running; one of the right size is used and left. */
async function runningCluster({ dataNodes = 2, mysqlds = 1 }: NdbOptions): Promise<NdbCluster | undefined> {
  for (const dir of (process.env.HOLDFAST_TEST_NDB ?? '').split(',').filter((one) => one !== '' && !taken.has(one))) {
    const cluster = describeCluster(dir, await environmentOf(dir))
    if (cluster.nodeIds.length !== dataNodes || cluster.mysql.length !== mysqlds) continue
    taken.add(dir)
    return { ...cluster, destroy: async () => {} }
  }
  return undefined
}

function describeCluster(dir: string, env: Record<string, string>): NdbCluster {
  const mysql = ['', '_2'].flatMap((suffix) => addressOf(env, suffix) ?? [])
  return {
    dir,
    connectString: env.NDB_CONNECTSTRING ?? '',
    mysql,
    ca: env.MYSQL_CA,
    nodeIds: (env.NDB_DATA_NODE_IDS ?? '').split(',').map(Number),
    binDir: join(env.NDB_HOME ?? '', 'bin'),
    backupFolder: (nodeId) => join(env.NDB_DATA_DIR ?? '', String(nodeId), 'BACKUP'),
    killNode: (nodeId) => ndb('kill-node', dir, String(nodeId)),
    startNode: (nodeId) => ndb('start-node', dir, String(nodeId)),
    restartMysql: (server = 0) => ndb('restart-mysqld', dir, String(server + 1)),
    sql: (statements, server = 0) => query(mysql[server], statements),
    destroy: () => destroy(dir),
  }
}

function addressOf(env: Record<string, string>, suffix: string): MysqlAddress | undefined {
  const [host, port, socket] = ['HOST', 'PORT', 'SOCKET'].map((name) => env[`MYSQL_${name}${suffix}`])
  return host && port && socket ? { host, port: Number(port), socket } : undefined
}

async function query<Row>(address: MysqlAddress | undefined, statements: string): Promise<Row[]> {
  if (!address) throw new Error('the cluster has no such MySQL server')
  const connection = await createConnection({
    socketPath: address.socket,
    user: 'root',
    charset: 'utf8mb4',
    multipleStatements: true,
    supportBigNumbers: true,
    dateStrings: true,
  })
  try {
    const [result, fields] = await connection.query<RowDataPacket[] | RowDataPacket[][]>(statements)
    const several = Array.isArray(fields) && fields.some((field) => field === undefined || Array.isArray(field))
    if (several) return (result as unknown[]).filter(Array.isArray).at(-1) ?? []
    return Array.isArray(result) ? (result as Row[]) : []
  } finally {
    await connection.end()
  }
}

function argumentsOf(options: NdbOptions): string[] {
  const values: [string, string | number | undefined][] = [
    ['--data-nodes', options.dataNodes],
    ['--replicas', options.replicas],
    ['--ldm', options.ldm],
    ['--mysqlds', options.mysqlds],
    ['--api-slots', options.apiSlots],
    ['--data-memory', options.dataMemory],
    ['--compressed-backup', options.compressedBackup ? 1 : undefined],
    ['--log-bin', options.logBin ? 1 : undefined],
  ]
  return values.flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)]))
}

async function environmentOf(dir: string): Promise<Record<string, string>> {
  const { stdout } = await execute(script, ['env', dir])
  return Object.fromEntries([...stdout.matchAll(/(\w+)='([^']*)'/g)].map(([, name, value]) => [name, value]))
}

async function ndb(...args: string[]): Promise<void> {
  await execute(script, args, { timeout: 240_000 })
}

async function destroy(dir: string): Promise<void> {
  await ndb('destroy', dir)
  await forget(dir)
}

async function forget(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true })
  alive.delete(dir)
}

// A test that fails before its afterAll must not leave gigabytes of data nodes behind.
process.once('exit', () => {
  for (const dir of alive) execFileSync(script, ['destroy', dir], { stdio: 'ignore' })
})
