import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Marker, Reader, RestoreStep, TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { createAccounts, grantAccounts, ourAccounts, readAccounts, setPasswords } from './accounts.ts'
import { lockName, writeMarker } from './marker.ts'
import { type Login, open, quoteName, type Session, SqlError, withMysql } from './mysql.ts'
import type { Restored, Work } from './native.ts'
import { prove } from './proof.ts'
import { createDatabases, createLocalTables, createObjects } from './schema.ts'
import { syncTables } from './sync.ts'
import { type Detail, recheck } from './target.ts'
import type { Target } from './values.ts'

/** What steps hand on to later steps of the same restore. */
interface Progress {
  detail: Detail
  restored: Restored[]
  /** Folder of the SQL parts: read once from the storage, where a prune may remove the backup meanwhile. */
  folder: string
  /** How many ndb_restore were given a slot. */
  slots: number
}

const progress = new WeakMap<object, Progress>()

/** The first mark takes the target's lock, which its MySQL servers free when this process is gone, and looks at the target again. */
export async function mark(run: TargetRun, marker: Omit<Marker, 'creates'>): Promise<void> {
  const sessions = locks.get(run) ?? (await lock(run))
  await writeMarker(sessions[0] as Session, { ...marker, creates: detailOf(run).creates })
}

/** The folder has the hashes of all passwords. What a kill leaves of it is swept by the next worker. */
export async function release(run: TargetRun): Promise<void> {
  for (const session of locks.get(run) ?? []) session.close()
  const folder = progress.get(run)?.folder
  if (folder) await rm(folder, { recursive: true, force: true }).catch(() => {})
}

const locks = new WeakMap<object, Session[]>()

/** On every MySQL server that the target names: another restore may have come by another one. */
async function lock(run: TargetRun): Promise<Session[]> {
  const sessions: Session[] = []
  locks.set(run, sessions)
  for (const login of detailOf(run).logins) {
    const session = await open(login, { signal: run.signal })
    sessions.push(session)
    // the session idles as long as the rows are restored
    await session.execute('SET SESSION wait_timeout = 2147483')
    const [row] = await session.rows<{ taken: string | null }>(`SELECT GET_LOCK('${lockName}', 0) AS taken`)
    if (Number(row?.taken) === 1) continue
    for (const one of sessions) one.close()
    throw new JobError('busy', `another restore into ${session.server} is running`, {
      hint: 'wait for it; it keeps its lock only as long as it lives',
    })
  }
  await recheck(run)
  return sessions
}

type Step = (run: TargetRun, reader: Reader, state: Progress) => Promise<Record<string, unknown>>

const steps: Record<string, Step> = {
  fetch,
  clear,
  tables,
  data,
  indexes,
  sync,
  accounts,
  local,
  objects,
  grants,
  prove: proof,
}

/** One step; the plan is always begun from its first, so every step may find what a crashed run left. */
export async function restore(run: TargetRun, step: RestoreStep, reader: Reader): Promise<Record<string, unknown>> {
  const todo = steps[step.name]
  if (!todo) throw new JobError('bug', `no step ${step.name}`)
  const state = progress.get(run) ?? { detail: detailOf(run), restored: [], slots: 0, folder: '' }
  progress.set(run, state)
  return todo(run, reader, state)
}

function detailOf(run: TargetRun): Detail {
  return run.state?.detail as Detail
}

function nodesOf({ facts }: Detail): number[] {
  return facts.topology.nodes.map((node) => node.id)
}

/** Nodes are dealt out over the workers; each takes its own in turn. */
function workerOf(node: number, { facts, workers }: Detail): string {
  return `restore-${nodesOf({ facts } as Detail).indexOf(node) % workers}`
}

/** Every file is on the workers and verified, every SQL part read to its end, before anything is written. */
async function fetch(run: TargetRun, reader: Reader, state: Progress) {
  const { detail } = state
  const parts = run.parts.filter((part) => part.path.startsWith('rondb/'))
  const bytes = run.parts.reduce((sum, part) => sum + part.size, 0)
  // named like a worker's: swept by the next one when this process is killed
  state.folder = await mkdtemp(join(run.staging, `holdfast-${process.pid}-`)).catch((cause) => {
    throw new JobError('configuration', `${run.at}.staging: the folder ${run.staging} cannot be used`, {
      hint: 'create it, or name another one there or with --tmp-dir',
      cause,
    })
  })
  const partsOf = (node: number) => parts.filter((part) => part.path.startsWith(`rondb/${node}/`))
  const room = (worker: string) =>
    nodesOf(detail)
      .filter((node) => workerOf(node, detail) === worker)
      .flatMap(partsOf)
      .reduce((sum, part) => sum + part.size, 0)
  const fetchNode = async (node: number) => {
    const worker = workerOf(node, detail)
    await reader.delegate({ do: 'download', worker, parts: partsOf(node), strip: 'rondb/', room: room(worker) })
    const { clients, decryption } = run.target as Target
    const order: Work = {
      do: 'read',
      node,
      backupId: run.backupId,
      ...(clients ? { clients } : {}),
      ...(decryption ? { decryption } : {}),
    }
    await reader.delegate({ do: 'engine', worker, engine: 'rondb', order })
  }
  await Promise.all([fetchSql(run, reader, state), ...nodesOf(detail).map(fetchNode)])
  return { bytes }
}

async function fetchSql(run: TargetRun, reader: Reader, { folder }: Progress): Promise<void> {
  for (const { path } of run.parts.filter((part) => !part.path.startsWith('rondb/')))
    await pipeline(await reader.read(path), createWriteStream(join(folder, path)), { signal: run.signal })
}

/** A verified SQL part from the staging folder. */
function sqlPart({ folder }: Progress, path: string): Readable {
  return createReadStream(join(folder, path))
}

/** Drops what the plan says, and nothing else. NDB's handler drops tables of a database that MySQL has not seen yet, too. */
async function clear(run: TargetRun, _: Reader, { detail }: Progress) {
  const { databases, tables } = detail.clears
  await onAll(detail.logins, run, async (session, first) => {
    await session.execute('SET SESSION sql_log_bin = 0')
    await session.execute('SET SESSION foreign_key_checks = 0')
    for (const database of databases) {
      if (first) await session.execute(`CREATE DATABASE IF NOT EXISTS ${quoteName(database)}`)
      await session.execute(`DROP DATABASE IF EXISTS ${quoteName(database)}`)
    }
    if (first) for (const table of tables) await dropTable(session, table)
  })
  run.log.info({ databases, tables }, 'replaced content dropped')
  return { dropped: databases.length + tables.length }
}

async function dropTable(session: Session, table: string): Promise<void> {
  const [database = '', ...name] = table.split('.')
  const quoted = `${quoteName(database)}.${quoteName(name.join('.'))}`
  await session.rows(`SELECT 1 FROM ${quoted} LIMIT 0`).catch((error) => {
    // opening a table that MySQL has not seen makes it known; one that is half made cannot be opened, but dropped
    if (!(error instanceof SqlError)) throw error
  })
  await session.execute(`DROP TABLE IF EXISTS ${quoted}`)
}

/** Databases with their character sets by MySQL, then the tables by ndb_restore, from the first node's files. */
async function tables(run: TargetRun, reader: Reader, state: Progress) {
  const { detail } = state
  const { selection, logins } = detail
  const databases = [...new Set([...selection.tables.map((table) => table.database), ...selection.objects])]
  const sessions = await Promise.all(logins.map((login) => openRestoring(login, run, { bytes: true })))
  try {
    await createDatabases(sqlPart(state, 'databases.sql'), sessions, databases)
  } finally {
    for (const session of sessions) session.close()
  }
  if (selection.tables.length === 0) return { tables: 0 }
  const node = nodesOf(detail)[0] as number
  await native({ run, reader, state, phase: 'tables', node, more: await diskOptions(run, detail) })
  return { tables: selection.tables.length }
}

/** ndb_restore fails on a log file group or tablespace that is there: what the target has is kept and used. */
async function diskOptions(run: TargetRun, { disk, logins }: Detail): Promise<string[]> {
  const without = ['--no-restore-disk-objects']
  if (!(run.target as Target).diskObjects) return without
  if (disk.tablespaces.length > 0) {
    run.warn(`the target has tablespace ${disk.tablespaces.join(', ')}: it is kept, tables on disk go there`)
    return without
  }
  // a crashed try of this restore may have made the log file group only
  if (!run.unfinished) return []
  for (const group of disk.logFileGroups) {
    const session = await openRestoring(logins[0] as Login, run, { bytes: false })
    await session.execute(`DROP LOGFILE GROUP ${quoteName(group)} ENGINE NDBCLUSTER`).finally(() => session.close())
  }
  return []
}

/** Every backed-up node exactly once; a worker takes its nodes in turn, all workers at once. */
async function data(run: TargetRun, reader: Reader, state: Progress) {
  const { detail } = state
  if (detail.selection.tables.length === 0) return { tuples: 0 }
  const results = await Promise.all(
    nodesOf(detail).map((node) => native({ run, reader, state, phase: 'data', node, more: [] })),
  )
  state.restored = results
  return { tuples: sum(results, 'tuples'), logEntries: sum(results, 'logEntries') }
}

async function indexes(run: TargetRun, reader: Reader, state: Progress) {
  const { detail } = state
  const { restoreEpoch } = run.target as Target
  if (detail.selection.tables.length === 0) return {}
  await native({
    run,
    reader,
    state,
    phase: 'indexes',
    node: nodesOf(detail)[0] as number,
    more: restoreEpoch ? ['--restore-epoch'] : [],
  })
  return { epoch: restoreEpoch ? detail.facts.consistency.epoch : null }
}

interface Native {
  run: TargetRun
  reader: Reader
  state: Progress
  phase: 'tables' | 'data' | 'indexes'
  node: number
  more: string[]
}

async function native({ run, reader, state, phase, node, more }: Native): Promise<Restored> {
  const target = run.target as Target
  const { detail } = state
  // NDB keeps a slot closed for some seconds after its last user: each ndb_restore gets a fresh one as long as there are
  const { freeSlots } = detail.cluster
  const slot = freeSlots[state.slots++ % freeSlots.length] as number
  const order: Work = {
    do: 'restore',
    phase,
    node,
    slot,
    backupId: run.backupId,
    managementServers: target.managementServers,
    ...(target.clients ? { clients: target.clients } : {}),
    ...(target.decryption ? { decryption: target.decryption } : {}),
    options: [...detail.selection.options, ...more],
  }
  return (await reader.delegate({ do: 'engine', worker: workerOf(node, detail), engine: 'rondb', order })) as Restored
}

function sum(results: Restored[], key: keyof Restored): number {
  return results.reduce((total, one) => total + one[key], 0)
}

async function sync(run: TargetRun, _: Reader, { detail }: Progress) {
  for (const login of detail.logins)
    await withMysql(login, (session) => syncTables(session, detail.selection.tables, run), run)
  return { servers: detail.logins.length }
}

/** The marker learns which accounts are ours before the first is made, so that a second run gives them their grants. */
async function accounts(run: TargetRun, _: Reader, state: Progress) {
  const { detail } = state
  const plan = await readAccounts(sqlPart(state, 'users.sql'))
  for (const login of detail.logins) {
    const earlier = detail.creates.accounts[login.server] ?? []
    detail.creates.accounts[login.server] = await withMysql(
      login,
      (session) => ourAccounts({ plan, session, overwrite: run.overwrite, earlier }),
      run,
    )
  }
  await mark(run, { request: run.request, backupId: run.backupId, plan: run.plan, state: 'begun' })
  await onAll(detail.logins, run, async (session) => {
    const bytes = await openRestoring(detail.logins.find((login) => login.server === session.server) as Login, run, {
      bytes: true,
    })
    try {
      await createAccounts({ plan, session, bytes, run, ours: detail.creates.accounts[session.server] ?? [] })
    } finally {
      bytes.close()
    }
  })
  let overridden = 0
  for (const login of detail.logins)
    overridden = await withMysql(
      login,
      (session) => overridePasswords(session, { plan, passwords: detail.passwords }),
      run,
    )
  const made = detail.creates.accounts[detail.logins[0]?.server ?? '']?.length ?? 0
  return { accounts: plan.creates.length, made, passwords: overridden }
}

async function overridePasswords(
  session: Session,
  { plan, passwords }: { plan: Awaited<ReturnType<typeof readAccounts>>; passwords: Record<string, string> },
): Promise<number> {
  await session.execute('SET SESSION sql_log_bin = 0')
  return setPasswords({ plan, session, passwords })
}

/** Tables that are not NDB live in one MySQL server: the first. */
async function local(run: TargetRun, _: Reader, state: Progress) {
  const { detail } = state
  const session = await openRestoring(detail.logins[0] as Login, run, { bytes: true })
  try {
    return {
      localTables: await createLocalTables({
        dump: sqlPart(state, 'local-tables.sql'),
        session,
        selection: detail.selection,
        run,
      }),
    }
  } finally {
    session.close()
  }
}

async function objects(run: TargetRun, _: Reader, state: Progress) {
  const { detail } = state
  const { include, exclude } = run.target as Target
  const { localTables } = detail.facts
  const gaps = include !== undefined || exclude !== undefined || (localTables.names.length > 0 && !localTables.dumped)
  let counts: Record<string, number> = {}
  for (const login of detail.logins) {
    const session = await openRestoring(login, run, { bytes: true })
    try {
      const dump = sqlPart(state, 'databases.sql')
      counts = await createObjects({ dump, session, selection: detail.selection, gaps, run })
    } finally {
      session.close()
    }
  }
  return { objects: counts, servers: detail.logins.map((login) => login.server) }
}

async function grants(run: TargetRun, _: Reader, state: Progress) {
  const { detail } = state
  const plan = await readAccounts(sqlPart(state, 'users.sql'))
  for (const login of detail.logins) {
    const bytes = await openRestoring(login, run, { bytes: true })
    try {
      await grantAccounts({ plan, bytes, run, ours: detail.creates.accounts[login.server] ?? [] })
    } finally {
      bytes.close()
    }
  }
  return {}
}

async function proof(run: TargetRun, _: Reader, { detail, restored }: Progress) {
  return prove({ run, detail, restored })
}

/** Nothing of a restore goes into the target's binary log: it must not flow on to other clusters. */
async function openRestoring(login: Login, run: TargetRun, options: { bytes: boolean }): Promise<Session> {
  const session = await open(login, { ...options, signal: run.signal })
  // bytes of a dump are UTF-8 until the dump says otherwise
  await session.execute('SET NAMES utf8mb4')
  await session.execute('SET SESSION sql_log_bin = 0')
  await session.execute('SET SESSION foreign_key_checks = 0')
  return session
}

async function onAll(
  logins: Login[],
  run: TargetRun,
  use: (session: Session, first: boolean) => Promise<void>,
): Promise<void> {
  for (const [i, login] of logins.entries()) {
    const session = await openRestoring(login, run, { bytes: false })
    try {
      await use(session, i === 0)
    } finally {
      session.close()
    }
  }
}
