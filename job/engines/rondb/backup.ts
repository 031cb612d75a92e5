import type { BackupFacts, OtherRuns, Place, Sink, SourceRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import type { Part } from '../../manifest.ts'
import { type Checked, examine, needsRoom, refuseFull } from './check.ts'
import { databasesSql, localTablesSql, usersSql } from './dumps.ts'
import { factsOf } from './facts.ts'
import {
  abortBackup,
  epochOf,
  type Management,
  type NativeBackup,
  runningBackup,
  showCluster,
  startBackup,
} from './management.ts'
import { type Login, withMysql } from './mysql.ts'
import { checkComplete, type Survey, type Work } from './native.ts'
import { placesOf } from './places.ts'
import { type Counts, countRecords, isUserTable, keyOf, leftRecords, localTables, userDatabases } from './tables.ts'
import { leftOut, type Source } from './values.ts'

/** users.sql → databases.sql → START BACKUP → all nodes' files at once → the backup's own table list. */
export async function backup(run: SourceRun, sink: Sink): Promise<BackupFacts> {
  if (run.resumed) return upload(run, sink, run.resumed)
  const checked = await examine(run)
  const source = run.source as Source
  const login = checked.logins[0] as Login
  const dump = { login, source, signal: run.signal }
  if (source.files.access !== 'local') await reachNodes(run, sink, checked)

  await sink.write('users.sql', usersSql(dump))
  const { databases, local } = await withMysql(
    login,
    async (session) => ({ databases: await userDatabases(session), local: await localTables(session) }),
    run,
  )
  await sink.write('databases.sql', databasesSql(dump, databases))
  if (local.length > 0) await keepLocalTables({ run, sink, dump, local })

  const before = await withMysql(login, countRecords, run)
  const native = await takeNative(run)
  const after = await withMysql(login, countRecords, run)

  const facts = factsBefore({ run, checked, native, before, after, databases, local: local.map(keyOf) })
  await sink.keepFacts(facts)
  return upload(run, sink, facts)
}

/** Before anything is asked of the cluster: every node's files are within reach, and there is room for the native backup. */
async function reachNodes(run: SourceRun, sink: Sink, { started, logins }: Checked): Promise<void> {
  const places = await placesOf(
    run,
    started.map((node) => node.id),
  )
  const needs = await needsRoom(started, logins[0] as Login, run.signal)
  await Promise.all(
    [...places].map(async ([node, beside]) => {
      const order: Work = { do: 'room' }
      const room = await sink.delegate({ do: 'engine', worker: workerOf(node), beside, engine: 'rondb', order })
      if (room === null) return
      const { free } = room as { free: number }
      refuseFull([{ where: `the volume of data node ${node}`, free, bytes: needs.get(node) ?? 0 }])
    }),
  )
}

const workerOf = (node: number) => `node-${node}`

async function keepLocalTables({
  run,
  sink,
  dump,
  local,
}: {
  run: SourceRun
  sink: Sink
  dump: { login: Login; source: Source; signal: AbortSignal }
  local: { database: string; name: string }[]
}): Promise<void> {
  const names = local.map(keyOf)
  if (dump.source.localTables === 'dump') {
    await sink.write('local-tables.sql', localTablesSql(dump, local))
    return
  }
  run.warn(
    `${names.length} tables are not NDB and not in this backup: ${names.slice(0, 10).join(', ')}${names.length > 10 ? ', …' : ''}; localTables: dump takes them along`,
  )
}

/** START BACKUP with our id. Another backup that is running is waited for; aborted with the run. */
async function takeNative(run: SourceRun): Promise<NativeBackup & { nodes: number[] }> {
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
    await waitForOther(run)
    run.log.info({ backup: run.backupId, snapshot: source.snapshot }, 'native backup started')
    const before = await startedIds(management)
    const outcome = await startBackup(management, { id: run.backupId, snapshot: source.snapshot, password })
    if ('done' in outcome) {
      refuseChange(before, await startedIds(management))
      return { ...outcome.done, nodes: before }
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

async function startedIds(management: Management): Promise<number[]> {
  const { dataNodes } = await showCluster(management)
  return dataNodes.filter((node) => node.state === 'started').map((node) => node.id)
}

/** A node that joins or leaves has its rows in a folder of its own, or not at all: which ones cannot be told, so this backup is none. */
function refuseChange(before: number[], after: number[]): void {
  if (before.join() === after.join()) return
  throw new JobError(
    'busy',
    `the started data nodes changed during the backup, from ${before.join(', ')} to ${after.join(', ')}`,
    {
      hint: 'run again when the cluster is calm',
      retryable: true,
    },
  )
}

async function waitForOther(run: SourceRun): Promise<void> {
  const source = run.source as Source
  const management = { ...source, signal: run.signal }
  const until = Date.now() + milliseconds(source.waitForOther)
  for (let said = false; ; said = true) {
    const other = await runningBackup(management)
    if (other === undefined) return
    if (Date.now() > until) {
      throw new JobError(
        'busy',
        `backup ${other} has been running in the cluster for more than ${source.waitForOther}`,
        { hint: 'run again when it is done, or raise waitForOther' },
      )
    }
    if (!said) run.log.info({ other }, 'waiting for another backup of the cluster')
    await new Promise((resolve) => setTimeout(resolve, 2000))
    run.signal.throwIfAborted()
  }
}

function milliseconds(duration: string): number {
  return Number(duration.slice(0, -1)) * ({ s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[duration.at(-1) as 's'] as number)
}

interface Taken {
  run: SourceRun
  checked: Checked
  native: NativeBackup & { nodes: number[] }
  before: Counts
  after: Counts
  databases: string[]
  local: string[]
}

/** What would die with the coordinator; tables and parts are filled in from the files themselves. */
function factsBefore({ run, checked, native, before, after, databases, local }: Taken): BackupFacts {
  const source = run.source as Source
  const keys = new Set([...before.tables.keys(), ...after.tables.keys()])
  const tables = [...keys].flatMap((key) => {
    const was = before.tables.get(key)
    const is = after.tables.get(key)
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
      nodes: native.nodes.map((id) => ({
        id,
        group: checked.cluster.dataNodes.find((node) => node.id === id)?.group ?? null,
        parts: 0,
      })),
    },
    records: native.records,
    logRecords: native.logRecords,
    bytes: native.bytes + native.logBytes,
    systemRecords: [leftRecords(before), leftRecords(after)],
    encrypted: source.encryption !== undefined,
    databases,
    tables,
    localTables: { names: local, dumped: local.length > 0 && source.localTables === 'dump' },
  }
  return { server: checked.server, tools: checked.tools, facts, warnings: [...run.warnings] }
}

/** All nodes at once; then what the files say of themselves becomes the truth. */
async function upload(run: SourceRun, sink: Sink, kept: BackupFacts): Promise<BackupFacts> {
  const source = run.source as Source
  const facts = factsOf(kept)
  const nodeIds = facts.topology.nodes.map((node) => node.id)
  const places = await placesOf(run, nodeIds)
  const surveys = await Promise.all(
    nodeIds.map((node) => uploadNode({ run, sink, source, node, beside: places.get(node) as Place })),
  )
  const inBackup = new Map(surveys.flatMap((survey) => survey.tables).map((table) => [keyOf(table), table]))
  const counted = new Map(facts.tables.map((table) => [keyOf(table), table]))
  for (const key of counted.keys()) {
    if (!inBackup.has(key)) run.warn(`table ${key} was created while the backup ran: it is not in it`)
  }
  const tables = [...inBackup.values()]
    .filter((table) => !leftOut.includes(table.database))
    .map((table) => counted.get(keyOf(table)) ?? { ...table, rows: [0, 0], records: [0, 0] })
  const nodes = facts.topology.nodes.map((node, i) => ({ ...node, parts: surveys[i]?.parts ?? 0 }))
  return { ...kept, facts: { ...facts, tables, topology: { nodes } } }
}

interface Uploading {
  run: SourceRun
  sink: Sink
  source: Source
  node: number
  beside: Place
}

async function uploadNode({ run, sink, source, node, beside }: Uploading): Promise<Survey> {
  const worker = workerOf(node)
  const order = {
    do: 'survey',
    node,
    backupId: run.backupId,
    clients: source.clients,
    encryption: source.encryption,
    plan: run.plan,
  }
  const survey = (await sink.delegate({ do: 'engine', worker, beside, engine: 'rondb', order })) as Survey
  const path = `rondb/${node}`
  const resume = run.resumed !== undefined
  const parts = await sink.delegate({ do: 'upload', worker, beside, folder: `BACKUP-${run.backupId}`, path, resume })
  refuseShort({ parts, survey, path, node, backupId: run.backupId })
  return survey
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
  const { topology } = factsOf(facts)
  const places = await placesOf(
    run,
    topology.nodes.map((node) => node.id),
  )
  await Promise.all(
    [...places].map(([node, beside]) => {
      const order: Work = {
        do: 'settle',
        backupId: run.backupId,
        keep: source.keepLocal,
        plan: run.plan,
        failed: [...otherRuns.failed],
        running: [...otherRuns.running],
      }
      return sink.delegate({ do: 'engine', worker: workerOf(node), beside, engine: 'rondb', order })
    }),
  )
}
