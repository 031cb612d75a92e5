import type { Marker, RestoreStep, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { clientVersions } from '../../io/clients.ts'
import type { Login } from '../../io/mysql.ts'
import { together } from '../../io/parallel.ts'
import { refuseOvertaken } from '../../io/restores.ts'
import { versionIn } from './clients.ts'
import { type Clears, Creates, clearsOf, type DiskObjects, foreign, look, withEarlier } from './content.ts'
import { factsOf, missingParts, type RondbFacts } from './facts.ts'
import { type Cluster, showCluster } from './management.ts'
import { loginsOf } from './mysql.ts'
import { type Selection, select } from './selection.ts'
import { keyOf } from './tables.ts'
import type { Target } from './values.ts'

export interface Detail {
  cluster: Cluster
  logins: Login[]
  facts: RondbFacts
  selection: Selection
  creates: Creates
  passwords: Record<string, string>
  disk: DiskObjects
  clears: Clears
  markers: Marker[]
  workers: number
}

export async function checkTarget(run: TargetRun): Promise<TargetState> {
  const target = run.target as Target
  const facts = factsOf(run.source)
  refuseWithoutPassword(run, facts)
  const passwords = readPasswords(run)
  const selection = select({ tables: facts.tables, databases: facts.databases, target, at: run.at })
  refuseMissingParts(run, facts)
  const logins = loginsOf(target.mysql, run, run.at)
  const [tools, { cluster, workers }, { content, markers }] = await together([
    clientVersions(['ndb_mgm', 'ndb_restore'], { folder: target.clients, signal: run.signal, versionIn }),
    checkCluster(run, facts),
    look(logins, run),
  ])
  const tables = [...selection.tables.map(keyOf), ...localNames(facts, selection)]
  const ours = madeBefore(run)
  const creates = withEarlier({ databases: selection.whole, objects: selection.objects, tables }, ours)
  const detail: Detail = {
    cluster,
    logins,
    facts,
    selection,
    creates,
    passwords,
    disk: content.disk,
    clears: clearsOf(content, creates),
    markers,
    workers,
  }
  return {
    server: { product: cluster.product, version: cluster.version },
    tools,
    contents: foreign({ content, ours, overwrite: run.overwrite, markers }),
    detail,
  }
}

function madeBefore({ unfinished }: TargetRun): Creates | undefined {
  return unfinished && Creates.safeParse(unfinished.creates).data
}

/**
 * Under the lock, before the first change: hours may have passed since the target was looked at. What came into it since is nobody's
 * to drop.
 */
export async function recheck(run: TargetRun): Promise<void> {
  const detail = run.state?.detail as Detail
  const { content, markers } = await look(detail.logins, run)
  refuseOvertaken(run, detail.markers, markers)
  const [found] = foreign({ content, ours: madeBefore(run), overwrite: run.overwrite, markers })
  const same = JSON.stringify(clearsOf(content, detail.creates)) === JSON.stringify(detail.clears)
  if (found === undefined && same) return
  throw new JobError(
    'target-not-empty',
    `the target changed while the backup was being fetched: ${found ?? 'other tables would be dropped than planned'}`,
    {
      hint: 'nothing was changed; look at what was made there, and run the restore again',
    },
  )
}

/** Tables that are not NDB come back with their database when the backup has them. */
function localNames({ localTables }: RondbFacts, { objects }: Selection): string[] {
  return localTables.dumped
    ? localTables.names.filter((name) => objects.some((database) => name.startsWith(`${database}.`)))
    : []
}

function refuseWithoutPassword(run: TargetRun, facts: RondbFacts): void {
  const { decryption } = run.target as Target
  if (decryption) run.secret(decryption, decryption.key, `${run.at}.decryption`)
  else if (facts.encrypted) {
    throw new JobError(
      'configuration',
      `backup ${run.backupId} is encrypted, and ${run.at}.decryption names no password`,
      { hint: 'decryption: { secret: NAME, key: password }' },
    )
  }
}

function readPasswords(run: TargetRun): Record<string, string> {
  const { passwords, restoreEpoch } = run.target as Target
  const read = Object.entries(passwords).map(([user, ref]) => [
    user,
    run.secret(ref, ref.key ?? user, `${run.at}.passwords.${user}`),
  ])
  if (read.length > 0 && restoreEpoch) {
    run.warn(
      'passwords are changed in a target that may replicate: a changed password flows to the other clusters; put the existing passwords into the Secrets instead',
    )
  }
  return Object.fromEntries(read)
}

/** users.sql is for accounts only: without them a backup that lost it can still be restored. */
function refuseMissingParts(run: TargetRun, facts: RondbFacts): void {
  const { accounts } = run.target as Target
  const missing = missingParts(facts, run.parts).filter((path) => accounts || path !== 'users.sql')
  if (missing.length === 0) return
  throw new JobError('verification', `backup ${run.backupId} has no ${missing.join(', ')}`, {
    hint: 'the backup is damaged: take another one, or another storage',
  })
}

async function checkCluster(run: TargetRun, facts: RondbFacts): Promise<Pick<Detail, 'cluster' | 'workers'>> {
  const cluster = await showCluster({ ...(run.target as Target), signal: run.signal })
  refuseOlder(run, cluster)
  return { cluster, workers: workersFor({ run, facts, cluster }) }
}

/** NDB reads backups of older versions, not of newer majors. */
function refuseOlder(run: TargetRun, cluster: Cluster): void {
  const [from, to] = [run.source.server.version, cluster.version].map((version) => Number.parseInt(version, 10))
  if (run.source.server.product !== cluster.product || !(Number(from) > Number(to))) return
  throw new JobError(
    'server',
    `the backup is of ${run.source.server.product} ${run.source.server.version}, the target runs ${cluster.version}`,
    {
      hint: 'restore into a cluster of the same or a newer major version',
    },
  )
}

function workersFor({ run, facts, cluster }: { run: TargetRun; facts: RondbFacts; cluster: Cluster }): number {
  const { parallel = Number.POSITIVE_INFINITY } = run.target as Target
  if (!cluster.dataNodes.some((node) => node.state === 'started')) {
    throw new JobError('server', 'no data node of the target is started', {
      hint: 'start the cluster: ndb_mgm -e SHOW tells the state of each node',
    })
  }
  if (cluster.freeSlots.length === 0) {
    throw new JobError('server', 'the target has no free API slot for ndb_restore', {
      hint: 'add empty [api] sections to config.ini (rondb-helm: rondbConfig.EmptyApiSlots)',
    })
  }
  const nodes = facts.topology.nodes.length
  const workers = Math.min(nodes, parallel, cluster.freeSlots.length)
  if (workers < nodes && workers === cluster.freeSlots.length)
    run.warn(
      `the target has ${cluster.freeSlots.length} free API slots for ${nodes} nodes: so many are restored at once`,
    )
  return workers
}

/** The steps, and in people's words what each does to the target. */
export async function planRestore(run: TargetRun, state: TargetState): Promise<RestoreStep[]> {
  const target = run.target as Target
  const { selection, clears, facts, workers } = state.detail as Detail
  const nodes = facts.topology.nodes.map((node) => node.id).join(', ')
  const drops = [
    ...clears.databases.map((database) => `database ${database}`),
    ...clears.tables.map((table) => `table ${table}`),
  ]
  const stays =
    clears.stays.length > 0 ? `; what is not NDB and not in the backup stays: ${clears.stays.join(', ')}` : ''
  return [
    {
      name: 'fetch',
      writes: false,
      reads: run.parts.map(({ path }) => path),
      says: `download and verify the files of data nodes ${nodes}, ${workers} at once; nothing is written before all are good`,
    },
    ...(drops.length > 0 ? [{ name: 'clear', says: `drop ${drops.join(', ')}${stays}`, writes: true }] : []),
    {
      name: 'tables',
      writes: true,
      says: `make ${selection.tables.length} tables in ${new Set(selection.tables.map((table) => table.database)).size} databases`,
    },
    {
      name: 'data',
      writes: true,
      reads: run.parts.map(({ path }) => path).filter((path) => path.endsWith('.Data')),
      says: `restore the rows of ${facts.topology.nodes.length} data nodes, ${workers} at once`,
    },
    {
      name: 'indexes',
      writes: true,
      says: `rebuild indexes and foreign keys${target.restoreEpoch ? `, and write epoch ${facts.consistency.epoch ?? 'of the backup'}` : ''}`,
    },
    { name: 'sync', writes: true, says: 'make the tables visible to every MySQL server' },
    ...(target.accounts
      ? [
          {
            name: 'accounts',
            writes: true,
            says: `make missing accounts and roles${run.overwrite ? ', and set those that exist to what the backup says' : '; those that exist stay as they are'}`,
          },
        ]
      : []),
    ...(facts.localTables.dumped ? [{ name: 'local', writes: true, says: 'replay the tables that are not NDB' }] : []),
    { name: 'objects', writes: true, says: 'make views, routines, triggers and events on every MySQL server' },
    ...(target.accounts ? [{ name: 'grants', writes: true, says: 'give the grants and default roles' }] : []),
    {
      name: 'prove',
      writes: true,
      says: 'count what was restored against the backup, and open every table on every MySQL server',
    },
  ]
}
