import { z } from 'zod'
import type { Marker, RestoreStep, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { clientVersions } from './clients.ts'
import { factsOf, type RondbFacts } from './facts.ts'
import { type Cluster, showCluster } from './management.ts'
import { readMarkers } from './marker.ts'
import { type Login, loginsOf, type Session, withMysql } from './mysql.ts'
import { type Selection, select } from './selection.ts'
import { isUserTable, keyOf, named, utf8 } from './tables.ts'
import { leftOut, type Source, systemDatabases, Target } from './values.ts'

/** What is in a target, by all its MySQL servers and by NDB. */
interface Content {
  /** Databases with anything in them. */
  databases: Map<string, Thing[]>
  disk: DiskObjects
}

/** What tables on disk need. They belong to the cluster, not to a database, and are never dropped with one. */
export interface DiskObjects {
  tablespaces: string[]
  logFileGroups: string[]
}

interface Thing {
  name: string
  kind: 'NDB table' | 'table' | 'view' | 'routine' | 'event'
}

/** What a restore is going to make, as the marker keeps it: after a crash only this may be dropped. */
export const Creates = z.object({
  /** Databases that are dropped and made as a whole. */
  databases: z.array(z.string()),
  /** Databases whose views, routines and events are made: the whole ones, and those that some tables are left out of. */
  objects: z.array(z.string()).default([]),
  /** Tables, `database.table`. */
  tables: z.array(z.string()),
  /** Accounts, `user@host`, by MySQL server: known once the restore looks at them. */
  accounts: z.record(z.string(), z.array(z.string())).default({}),
})
export type Creates = z.infer<typeof Creates>

export interface Detail {
  cluster: Cluster
  logins: Login[]
  facts: RondbFacts
  selection: Selection
  creates: Creates
  passwords: Record<string, string>
  disk: DiskObjects
  /** Whether a crash or `overwrite` leaves something to drop first. */
  clears: { databases: string[]; tables: string[]; stays: string[] }
  workers: number
}

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

export async function checkTarget(run: TargetRun): Promise<TargetState> {
  const target = run.target as Target
  const facts = factsOf(run.source)
  refuseWithoutPassword(run, facts)
  const passwords = readPasswords(run)
  const selection = select({ tables: facts.tables, databases: facts.databases, target, at: run.at })
  refuseMissingNodes(run, facts)
  const logins = loginsOf(target.mysql, run, run.at)
  const tools = await clientVersions(['ndb_mgm', 'ndb_restore'], target.clients, run.signal)
  const cluster = await showCluster({ ...target, signal: run.signal })
  refuseOlder(run, cluster)
  const workers = workersFor({ run, facts, cluster })

  const { content, markers } = await look(logins, run)
  const marker = markers.find((one) => one.request === run.request)
  const creates = Creates.parse({
    databases: selection.whole,
    objects: selection.objects,
    tables: [...selection.tables.map(keyOf), ...localNames(facts, selection)],
    accounts: Creates.safeParse(marker?.creates).data?.accounts,
  })
  const unfinished = marker?.state === 'begun'
  const contents = foreign({ content, creates, unfinished, overwrite: run.overwrite, markers })
  const detail: Detail = {
    cluster,
    logins,
    facts,
    selection,
    creates,
    passwords,
    disk: content.disk,
    clears: clearsOf(content, creates),
    workers,
  }
  return {
    server: { product: cluster.product, version: cluster.version },
    tools,
    contents,
    detail,
    ...(marker ? { marker } : {}),
  }
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

function refuseMissingNodes(run: TargetRun, facts: RondbFacts): void {
  for (const { id } of facts.topology.nodes) {
    if (run.parts.some((part) => part.path.startsWith(`rondb/${id}/`))) continue
    throw new JobError('verification', `backup ${run.backupId} has no parts of data node ${id}`, {
      hint: 'the backup is damaged: take another one, or another storage',
    })
  }
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

/** Looks at the target through every MySQL server, and at what NDB has that no MySQL server knows of. */
async function look(logins: Login[], run: TargetRun): Promise<{ content: Content; markers: Marker[] }> {
  const content: Content = { databases: new Map(), disk: { tablespaces: [], logFileGroups: [] } }
  let markers: Marker[] = []
  for (const [i, login] of logins.entries()) {
    await withMysql(
      login,
      async (session) => {
        if (i === 0) {
          await refuseWeak(session, login)
          markers = await readMarkers(session)
          await lookInNdb(session, content)
        }
        await lookInServer(session, content)
      },
      run,
    )
  }
  return { content, markers }
}

const needed = [
  'SELECT',
  'INSERT',
  'CREATE',
  'DROP',
  'CREATE VIEW',
  'CREATE ROUTINE',
  'ALTER ROUTINE',
  'TRIGGER',
  'EVENT',
  'CREATE USER',
  'SYSTEM_VARIABLES_ADMIN',
]

async function refuseWeak(session: Session, login: Login): Promise<void> {
  const rows = await session.rows<{ privilege: string }>(
    `SELECT privilege_type AS privilege FROM information_schema.user_privileges
      WHERE grantee = CONCAT("'", SUBSTRING_INDEX(CURRENT_USER(), '@', 1), "'@'", SUBSTRING_INDEX(CURRENT_USER(), '@', -1), "'")`,
  )
  const held = new Set(rows.map((row) => row.privilege))
  const missing = needed.filter((privilege) => !held.has(privilege))
  if (missing.length === 0) return
  throw new JobError('server', `account ${login.user} on MySQL server ${login.server} lacks ${missing.join(', ')}`, {
    hint: 'a restore makes databases, accounts and grants: it needs ALL PRIVILEGES WITH GRANT OPTION (docs/engines/rondb.md)',
  })
}

async function lookInNdb(session: Session, content: Content): Promise<void> {
  const rows = await session.rows<{ fq_name: string }>(
    `SELECT DISTINCT ${utf8('fq_name')} COLLATE utf8mb4_bin AS fq_name FROM ndbinfo.memory_per_fragment WHERE type NOT LIKE '%index%'`,
  )
  const disk = await session.rows<{ type: number; name: string }>(
    `SELECT type, ${utf8('fq_name')} AS name FROM ndbinfo.dict_obj_info WHERE type IN (20, 21)`,
  )
  content.disk = {
    tablespaces: disk.filter((row) => Number(row.type) === 20).map((row) => row.name),
    logFileGroups: disk.filter((row) => Number(row.type) === 21).map((row) => row.name),
  }
  for (const table of rows.map((row) => named(row.fq_name)).filter(isUserTable))
    add(content, table.database, { name: table.name, kind: 'NDB table' })
}

async function lookInServer(session: Session, content: Content): Promise<void> {
  const rows = await session.rows<{ db: string; name: string; kind: Thing['kind'] }>(
    `SELECT table_schema AS db, table_name AS name, IF(table_type = 'VIEW', 'view', IF(LOWER(engine) = 'ndbcluster', 'NDB table', 'table')) AS kind FROM information_schema.tables WHERE table_schema NOT IN (?)
     UNION ALL SELECT routine_schema, routine_name, 'routine' FROM information_schema.routines WHERE routine_schema NOT IN (?)
     UNION ALL SELECT event_schema, event_name, 'event' FROM information_schema.events WHERE event_schema NOT IN (?)`,
    [systemDatabases, systemDatabases, systemDatabases],
  )
  for (const { db, name, kind } of rows) add(content, db, { name, kind })
}

function add(content: Content, database: string, thing: Thing): void {
  if (systemDatabases.includes(database) || leftOut.includes(database)) return
  const things = content.databases.get(database) ?? []
  if (!things.some((one) => one.name === thing.name && one.kind === thing.kind))
    content.databases.set(database, [...things, thing])
}

interface Guard {
  content: Content
  creates: Creates
  unfinished: boolean
  overwrite: boolean
  markers: Marker[]
}

/**
 * Pure: what the restore may not touch but would have to. Empty target: nothing. With `overwrite`: what it replaces is allowed, the rest
 * stays untouched beside it. After a crash of this request: what its marker lists is ours, anything else in those databases is foreign.
 */
export function foreign({ content, creates, unfinished, overwrite, markers }: Guard): string[] {
  if (overwrite) return []
  const ours = (database: string, thing: Thing) =>
    unfinished &&
    (isTable(thing) ? creates.tables.includes(`${database}.${thing.name}`) : creates.objects.includes(database))
  const found: string[] = []
  for (const [database, things] of content.databases) {
    const others = things.filter((thing) => !ours(database, thing))
    if (others.length === 0) continue
    const names = others.slice(0, 3).map((thing) => thing.name)
    found.push(
      `database ${database} (${others.length} ${others.length === 1 ? 'object' : 'objects'}: ${names.join(', ')}${others.length > 3 ? ', …' : ''})`,
    )
  }
  const other = markers.find((marker) => marker.state === 'begun')
  if (found.length > 0 && other && !unfinished) found.push(`an unfinished restore of backup ${other.backupId}`)
  return found
}

function isTable({ kind }: Thing): boolean {
  return kind === 'NDB table' || kind === 'table'
}

/**
 * Pure. Whole databases go as a whole, unless tables in them are not NDB and not in the backup: nothing would bring those back, so
 * only the NDB tables go. Of databases that do not come back as a whole only the tables that do.
 */
export function clearsOf(content: Content, creates: Creates): Detail['clears'] {
  const clears: Detail['clears'] = { databases: [], tables: [], stays: [] }
  for (const [database, things] of content.databases) {
    const names = (kind: Thing['kind']) =>
      things.filter((thing) => thing.kind === kind).map((thing) => `${database}.${thing.name}`)
    const irreplaceable = names('table').filter((table) => !creates.tables.includes(table))
    const whole = creates.databases.includes(database)
    if (whole && irreplaceable.length === 0) clears.databases.push(database)
    else clears.tables.push(...names('NDB table').filter((table) => whole || creates.tables.includes(table)))
    if (whole) clears.stays.push(...irreplaceable)
  }
  return clears
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
