import type { BackupFacts, OtherRuns, Place, Sink, SourceRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Login, withMysql } from '../../io/mysql.ts'
import { together } from '../../io/parallel.ts'
import type { Part } from '../../manifest.ts'
import { type Checked, examine, refuseFull } from './check.ts'
import { type Dump, databasesSql, localTablesSql, usersSql } from './dumps.ts'
import { factsOf, type RondbFacts } from './facts.ts'
import { type Look, look, lookAgain, waitForOther } from './look.ts'
import { abortBackup, epochOf, type NativeBackup, startBackup } from './management.ts'
import { checkComplete, type Survey, type Work } from './native.ts'
import { placesOf } from './places.ts'
import { rangeText, recordsIn } from './proof.ts'
import { countRecords, isUserTable, keyOf, leftRecords, localTables, type TableFacts, userDatabases } from './tables.ts'
import { leftOut, type Source } from './values.ts'

/** users.sql and databases.sql → START BACKUP → all nodes' files at once → the backup's own table list. */
export async function backup(run: SourceRun, sink: Sink): Promise<BackupFacts> {
  if (run.resumed) return upload({ run, sink, kept: run.resumed, nodes: await survey(run, sink, nodesIn(run.resumed)) })
  const checked = (run.checked?.detail as Checked | undefined) ?? (await examine(run))
  const login = checked.logins[0] as Login
  // elsewhere a worker may find no place: that is known first; a process of this machine can start while NDB writes
  const elsewhere = (run.source as Source).files.access !== 'local'
  const [counts, { databases, local }, waited] = await together([
    withMysql(login, countRecords, run),
    dump(run, sink, login),
    waitForOther(run),
    elsewhere ? reachNodes(run, sink, checked) : undefined,
  ])
  // what restores left is that of the time before the dumps
  const { restores } = checked
  const before = waited
    ? { ...(await look(run, login)), restores }
    : { nodes: checked.started.map((node) => node.id), counts, restores }
  const [native] = await together([takeNative(run), elsewhere ? undefined : callWorkers(run, sink, before.nodes)])
  const [after, nodes] = await together([lookAgain(run, login, before), survey(run, sink, before.nodes)])

  const facts = factsBefore({ run, checked, native, before, after, databases, local: local.map(keyOf) })
  await sink.keepFacts(facts)
  return upload({ run, sink, kept: facts, nodes })
}

/** Every node's files are within reach, and there is room for the native backup. */
async function reachNodes(run: SourceRun, sink: Sink, { started, needs }: Checked): Promise<void> {
  const ids = started.map((node) => node.id)
  for (const { id, room } of await callWorkers(run, sink, ids)) {
    if (room) refuseFull([{ where: `the volume of data node ${id}`, free: room.free, bytes: needs.get(id) ?? 0 }])
  }
}

/** Resolves when there is a worker beside each node, to the room that it sees; null where it cannot be known. */
async function callWorkers(run: SourceRun, sink: Sink, ids: number[]) {
  return Promise.all(
    [...(await placesOf(run, ids))].map(async ([id, beside]) => {
      const order: Work = { do: 'room' }
      const room = await sink.delegate({ do: 'engine', worker: workerOf(id), beside, engine: 'rondb', order })
      return { id, room: room as { free: number } | null }
    }),
  )
}

const workerOf = (node: number) => `node-${node}`

/** What only MySQL knows; the native backup has the rows. */
async function dump(run: SourceRun, sink: Sink, login: Login) {
  const dumping = { login, source: run.source as Source, signal: run.signal }
  const { databases, local } = await withMysql(
    login,
    async (session) => ({ databases: await userDatabases(session), local: await localTables(session) }),
    run,
  )
  await together([
    sink.write('users.sql', usersSql(dumping), { plain: true }),
    sink.write('databases.sql', databasesSql(dumping, databases), { plain: true }),
  ])
  if (local.length > 0) await keepLocalTables({ run, sink, dumping, local })
  return { databases, local }
}

async function keepLocalTables({
  run,
  sink,
  dumping,
  local,
}: {
  run: SourceRun
  sink: Sink
  dumping: Dump
  local: { database: string; name: string }[]
}): Promise<void> {
  const names = local.map(keyOf)
  if (dumping.source.localTables === 'dump') {
    await sink.write('local-tables.sql', localTablesSql(dumping, local), { plain: true })
    return
  }
  run.warn(
    `${names.length} tables are not NDB and not in this backup: ${names.slice(0, 10).join(', ')}${names.length > 10 ? ', …' : ''}; localTables: dump takes them along`,
  )
}

/** START BACKUP with our id; aborted with the run. */
async function takeNative(run: SourceRun): Promise<NativeBackup> {
  const source = run.source as Source
  const management = { ...source, signal: run.signal }
  const password = source.encryption && run.secret(source.encryption, source.encryption.key, `${run.at}.encryption`)
  // the run's own signal would kill ndb_mgm before it could be asked to abort
  let aborting: Promise<void> | undefined
  const abort = () => {
    aborting = abortBackup({ ...source, signal: AbortSignal.timeout(20_000) }, run.backupId).catch(() => {})
  }
  run.signal.addEventListener('abort', abort, { once: true })
  try {
    run.log.info({ backup: run.backupId, snapshot: source.snapshot }, 'native backup started')
    const outcome = await startBackup(management, { id: run.backupId, snapshot: source.snapshot, password })
    if ('done' in outcome) {
      const { bytes, logBytes } = outcome.done
      run.log.info({ backup: run.backupId, bytes: bytes + logBytes }, 'native backup done')
      return outcome.done
    }
    const what =
      outcome.refused === 'id-taken'
        ? `NDB has seen backup id ${run.backupId} before`
        : 'another backup of the cluster is running'
    // retryable: the flow takes a fresh id
    throw new JobError('busy', `${what}: ${outcome.text}`, {
      hint: 'run again when the other backup is done',
      retryable: true,
    })
  } finally {
    run.signal.removeEventListener('abort', abort)
    await aborting
  }
}

interface Taken {
  run: SourceRun
  checked: Checked
  native: NativeBackup
  before: Look
  after: Look
  databases: string[]
  local: string[]
}

/** What would die with the coordinator; tables and parts are filled in from the files themselves. */
function factsBefore({ run, checked, native, before, after, databases, local }: Taken): BackupFacts {
  const source = run.source as Source
  const keys = new Set([...before.counts.tables.keys(), ...after.counts.tables.keys()])
  const tables = [...keys].flatMap((key) => {
    const was = before.counts.tables.get(key)
    const is = after.counts.tables.get(key)
    const { database, name } = (is ?? was) as { database: string; name: string }
    if (!isUserTable({ database, name }) || leftOut.includes(database)) return []
    return [{ database, name, rows: [was?.rows ?? 0, is?.rows ?? 0], records: [was?.records ?? 0, is?.records ?? 0] }]
  })
  const facts = {
    consistency: {
      snapshot: source.snapshot,
      startGcp: native.startGcp,
      stopGcp: native.stopGcp,
      epoch: epochOf(native.stopGcp),
    },
    topology: {
      nodes: before.nodes.map((id) => ({
        id,
        group: checked.cluster.dataNodes.find((node) => node.id === id)?.group ?? null,
        parts: 0,
      })),
    },
    records: native.records,
    logRecords: native.logRecords,
    bytes: native.bytes + native.logBytes,
    systemRecords: [leftRecords(before.counts), leftRecords(after.counts)],
    encrypted: source.encryption !== undefined,
    databases,
    tables,
    localTables: { names: local, dumped: local.length > 0 && source.localTables === 'dump' },
  }
  return { server: checked.server, tools: checked.tools, facts, warnings: [...run.warnings] }
}

/** A data node whose files were looked at, by the worker beside them. */
interface Surveyed {
  id: number
  beside: Place
  survey: Survey
}

async function survey(run: SourceRun, sink: Sink, ids: number[]): Promise<Surveyed[]> {
  const { clients, encryption } = run.source as Source
  const places = await placesOf(run, ids)
  return Promise.all(
    ids.map(async (id) => {
      const beside = places.get(id) as Place
      const order = { do: 'survey', node: id, backupId: run.backupId, clients, encryption }
      const found = await sink.delegate({ do: 'engine', worker: workerOf(id), beside, engine: 'rondb', order })
      return { id, beside, survey: found as Survey }
    }),
  )
}

function nodesIn(kept: BackupFacts): number[] {
  return factsOf(kept).topology.nodes.map((node) => node.id)
}

interface Uploading {
  run: SourceRun
  sink: Sink
  kept: BackupFacts
  nodes: Surveyed[]
}

/** All nodes at once; then what the files say of themselves becomes the truth. */
async function upload({ run, sink, kept, nodes }: Uploading): Promise<BackupFacts> {
  const facts = factsOf(kept)
  await Promise.all(nodes.map((node) => uploadNode(run, sink, node)))
  const inBackup = new Map(nodes.flatMap(({ survey }) => survey.tables).map((table) => [keyOf(table), table]))
  const counted = new Map(facts.tables.map((table) => [keyOf(table), table]))
  for (const key of counted.keys()) {
    if (!inBackup.has(key)) run.warn(`table ${key} was created while the backup ran: it is not in it`)
  }
  const tables = [...inBackup.values()]
    .filter((table) => !leftOut.includes(table.database))
    .map((table): TableFacts => counted.get(keyOf(table)) ?? { ...table, rows: [0, 0], records: [0, 0] })
  const topology = { nodes: facts.topology.nodes.map((node, i) => ({ ...node, parts: nodes[i]?.survey.parts ?? 0 })) }
  const complete = { ...facts, tables, topology }
  tellRecords(run, complete)
  return { ...kept, facts: complete }
}

/** In the words and the numbers that a restore of all of it proves itself with. */
function tellRecords(run: SourceRun, facts: RondbFacts): void {
  const range = recordsIn(facts, new Set(facts.tables.map(keyOf)))
  if (range) run.log.info({ tables: facts.tables.length, records: rangeText(range) }, 'records of all tables counted')
}

async function uploadNode(run: SourceRun, sink: Sink, { id, beside, survey }: Surveyed): Promise<void> {
  const path = `rondb/${id}`
  const folder = `BACKUP-${run.backupId}`
  const resume = run.resumed !== undefined
  const parts = await sink.delegate({ do: 'upload', worker: workerOf(id), beside, folder, path, resume })
  refuseShort({ parts, survey, path, node: id, backupId: run.backupId })
}

/** What was stored is what was surveyed: somebody may have tidied the folder up in between. */
function refuseShort({
  parts,
  survey,
  path,
  node,
  backupId,
}: {
  parts: Part[]
  survey: Survey
  path: string
  node: number
  backupId: string
}): void {
  const paths = parts.map((part) => part.path.slice(part.path.indexOf(`${path}/`) + path.length + 1))
  checkComplete(paths, backupId, node)
  const bytes = parts.reduce((sum, part) => sum + part.size, 0)
  if (bytes === survey.bytes) return
  throw new JobError(
    'verification',
    `the files of node ${node} changed while they were uploaded: ${survey.bytes} bytes became ${bytes}`,
  )
}

/** The local copies have done their work once the manifest is there. */
export async function afterCommit(
  run: SourceRun,
  { facts, sink, otherRuns }: { facts: BackupFacts; sink: Sink; otherRuns: OtherRuns },
): Promise<void> {
  const source = run.source as Source
  const places = await placesOf(run, nodesIn(facts))
  await Promise.all(
    [...places].map(([node, beside]) => {
      const order: Work = {
        do: 'settle',
        backupId: run.backupId,
        keep: source.keepLocal,
        failed: [...otherRuns.failed],
        running: [...otherRuns.running],
      }
      return sink.delegate({ do: 'engine', worker: workerOf(node), beside, engine: 'rondb', order })
    }),
  )
}
