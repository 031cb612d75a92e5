import type { RunContext, ServerFacts, SourceRun, SourceState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { clientVersions } from '../../io/clients.ts'
import { roomAt } from '../../io/folder.ts'
import { currentAccount, globalPrivileges, holds, type Login, type Session, withMysql } from '../../io/mysql.ts'
import { together } from '../../io/parallel.ts'
import { versionIn } from './clients.ts'
import { type Cluster, type DataNode, runningBackup, showCluster } from './management.ts'
import { restoresIn } from './marker.ts'
import { loginsOf } from './mysql.ts'
import { localPlace } from './places.ts'
import type { Source } from './values.ts'

/** Everything that can be known before anything is touched. */
export interface Checked extends ServerFacts {
  cluster: Cluster
  started: DataNode[]
  logins: Login[]
  /** Bytes that the native backup will take at each node. */
  needs: Map<number, number>
  /** What restores left there. */
  restores: string
}

export async function check(run: SourceRun): Promise<SourceState> {
  const source = run.source as Source
  const [checked, other] = await together([examine(run), runningBackup({ ...source, signal: run.signal })])
  if (other !== undefined)
    run.warn(`backup ${other} is running in the cluster; a run would wait up to ${source.waitForOther} for it`)
  return { server: checked.server, tools: checked.tools, detail: checked }
}

export async function examine(run: SourceRun): Promise<Checked> {
  const source = run.source as Source
  if (source.encryption) run.secret(source.encryption, source.encryption.key, `${run.at}.encryption`)
  const logins = loginsOf(source.mysql, run, run.at)
  const [tools, { cluster, started }, { used, restores }] = await together([
    clientVersions(['ndb_mgm', 'ndb_restore', 'mysqldump'], { folder: source.clients, signal: run.signal, versionIn }),
    examineCluster(run),
    examineServers(logins, run),
  ])
  if (logins.length > 1) await compareObjects(logins, run)
  const needs = needsRoom(started, used)
  if (source.files.access === 'local') await checkRoom(source, { started, needs, run })
  const server = { product: cluster.product, version: cluster.version }
  return { server, tools, cluster, started, logins, needs, restores }
}

async function examineCluster(run: SourceRun): Promise<Pick<Checked, 'cluster' | 'started'>> {
  const cluster = await showCluster({ ...(run.source as Source), signal: run.signal })
  return { cluster, started: startedNodes(cluster, run) }
}

/** All MySQL servers of a cluster say the same of what its rows take, and of what restores left; locks are those of each. */
async function examineServers(logins: Login[], run: SourceRun) {
  const examined = logins.map((login) =>
    withMysql(
      login,
      async (session) => {
        await checkMysql(session, login)
        return { restores: await restoresIn(session), used: await usedBytes(session) }
      },
      { signal: run.signal },
    ),
  )
  const [first] = await together(examined)
  return first as NonNullable<typeof first>
}

/** A backup needs one started node of every group; a missing replica only means less to choose from. */
export function startedNodes(cluster: Cluster, run: Pick<RunContext, 'warn'>): DataNode[] {
  const started = cluster.dataNodes.filter((node) => node.state === 'started')
  for (const node of cluster.dataNodes) {
    if (node.state === 'down' || node.state === 'starting')
      run.warn(`data node ${node.id} is ${node.state}: its replica is not part of the backup`)
  }
  if (started.length === 0) {
    throw new JobError('server', 'no data node is started', {
      hint: 'start the cluster: ndb_mgm -e SHOW tells the state of each node',
    })
  }
  const groups = new Set(cluster.dataNodes.map((node) => node.group).filter((group) => group !== undefined))
  for (const group of groups) {
    if (!started.some((node) => node.group === group))
      throw new JobError('server', `no data node of node group ${group} is started`)
  }
  return started
}

const needed = ['SELECT', 'SHOW VIEW', 'TRIGGER', 'EVENT']

async function checkMysql(session: Session, login: Login): Promise<void> {
  const privileges = await globalPrivileges(session)
  const absent = needed.filter((privilege) => !holds(privileges, privilege))
  if (absent.length > 0) {
    throw new JobError('server', `account ${login.user} on MySQL server ${login.server} lacks ${absent.join(', ')}`, {
      hint: `GRANT ${needed.join(', ')} ON *.* TO ${await currentAccount(session)}`,
    })
  }
  const [ndb] = await session.rows<{ n: string }>(
    "SELECT COUNT(*) AS n FROM information_schema.engines WHERE engine = 'ndbcluster' AND support IN ('YES', 'DEFAULT')",
  )
  if (Number(ndb?.n) === 0) {
    throw new JobError('server', `MySQL server ${login.server} is not connected to an NDB cluster`, {
      hint: 'check mysql.host: it must be a server of this cluster',
    })
  }
}

/** Views, routines, events, tables that are not NDB and most accounts live in each MySQL server by itself: the dumps have those of the first. */
async function compareObjects(logins: Login[], run: RunContext): Promise<void> {
  const lists = await Promise.all(logins.map((login) => withMysql(login, objectNames, { signal: run.signal })))
  const [first, ...others] = lists
  others.forEach((list, i) => {
    const only = list.filter((name) => !first?.includes(name))
    if (only.length > 0)
      run.warn(
        `only MySQL server ${logins[i + 1]?.server} has ${only.slice(0, 10).join(', ')}: the backup holds what ${logins[0]?.server} has`,
      )
  })
}

async function objectNames(session: Session): Promise<string[]> {
  const rows = await session.rows<{ name: string }>(
    `SELECT CONCAT('view ', table_schema, '.', table_name) AS name FROM information_schema.views WHERE table_schema NOT IN ('sys', 'mysql', 'ndbinfo')
     UNION ALL SELECT CONCAT(LOWER(routine_type), ' ', routine_schema, '.', routine_name) FROM information_schema.routines WHERE routine_schema NOT IN ('sys', 'mysql')
     UNION ALL SELECT CONCAT('trigger ', trigger_schema, '.', trigger_name) FROM information_schema.triggers WHERE trigger_schema NOT IN ('sys', 'mysql')
     UNION ALL SELECT CONCAT('event ', event_schema, '.', event_name) FROM information_schema.events
     UNION ALL SELECT CONCAT('table ', table_schema, '.', table_name) FROM information_schema.tables
       WHERE table_type = 'BASE TABLE' AND LOWER(engine) <> 'ndbcluster' AND table_schema NOT IN ('sys', 'mysql', 'performance_schema', 'information_schema', 'ndbinfo')
     UNION ALL SELECT CONCAT('account ', user, '@', host) FROM mysql.user`,
  )
  return rows.map((row) => row.name)
}

/** What each node's rows take in its memory. */
async function usedBytes(session: Session): Promise<Map<number, number>> {
  const rows = await session.rows<{ node: number; bytes: string }>(
    `SELECT node_id AS node, CAST(SUM(fixed_elem_alloc_bytes - fixed_elem_free_bytes + var_elem_alloc_bytes - var_elem_free_bytes) AS CHAR) AS bytes
       FROM ndbinfo.memory_per_fragment WHERE type NOT LIKE '%index%' GROUP BY node_id`,
  )
  return new Map(rows.map(({ node, bytes }) => [Number(node), Number(bytes)]))
}

/**
 * Pure: the nodes of a group share its rows out. NDB writes a backup next to its own files: a full volume would take the data node down
 * with it.
 */
function needsRoom(started: DataNode[], used: Map<number, number>): Map<number, number> {
  const copies = Math.max(1, started.length / new Set(started.map((node) => node.group)).size)
  return new Map([...used].map(([node, bytes]) => [node, bytes / copies]))
}

/** Nodes on one machine may share a volume. */
async function checkRoom(
  source: Source,
  { started, needs, run }: { started: DataNode[]; needs: Map<number, number>; run: SourceRun },
) {
  const volumes = new Map<number, Room>()
  for (const { id } of started) {
    const place = localPlace(source.files, id) as { folder: string }
    const { device, free } = await roomAt(place.folder).catch((cause) => {
      throw new JobError('server', `the backup folder ${place.folder} of data node ${id} cannot be read`, {
        hint: `check ${run.at}.files.path: {node} becomes the node id`,
        cause,
      })
    })
    const bytes = (volumes.get(device)?.bytes ?? 0) + (needs.get(id) ?? 0)
    volumes.set(device, { where: place.folder, free, bytes })
  }
  refuseFull([...volumes.values()])
}

interface Room {
  where: string
  free: number
  bytes: number
}

export function refuseFull(rooms: Room[]): void {
  for (const { where, free, bytes } of rooms) {
    if (free > bytes) continue
    throw new JobError(
      'server',
      `${where} has ${Math.round(free / 1e6)} MB free, the backup needs about ${Math.round(bytes / 1e6)} MB`,
      { hint: 'make room on the volume, or remove old BACKUP-<id> folders there' },
    )
  }
}
