import type { BackupFacts, InspectRun, Reader } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { factsOf, missingParts, type RondbFacts } from './facts.ts'
import { epochOf } from './management.ts'
import type { Inspected, Work } from './native.ts'
import { classify } from './schema.ts'
import { statements } from './statements.ts'
import { type Counts, keyOf, leftRecords, tally } from './tables.ts'
import { leftOut } from './values.ts'

/** Reads every native file to its end, and compares the records in them with what START BACKUP said. */
export async function inspect(run: InspectRun, reader: Reader): Promise<void> {
  const facts = factsOf(run.source)
  const missing = missingParts(facts, run.parts)
  if (missing.length > 0) throw new JobError('verification', `the backup has no ${missing.join(', ')}`)
  const found = await inspectNodes(run, reader)
  const records = [...found.values()].flatMap((node) => node.counts).reduce((sum, one) => sum + Number(one.records), 0)
  if (facts.records !== null && records !== facts.records) {
    throw new JobError('verification', `the files hold ${records} records, START BACKUP counted ${facts.records}`)
  }
}

async function inspectNodes(run: InspectRun, reader: Reader): Promise<Map<number, Inspected>> {
  const ids = new Set(run.parts.map((part) => /^rondb\/(\d+)\//.exec(part.path)?.[1]).filter((id) => id !== undefined))
  if (ids.size === 0) throw new JobError('verification', `backup ${run.backupId} has no folder rondb/<node id>`)
  const bytes = run.parts.reduce((sum, part) => sum + part.size, 0)
  const found = new Map<number, Inspected>()
  for (const node of [...ids].map(Number)) {
    const worker = 'inspect'
    const parts = run.parts.filter((part) => part.path.startsWith(`rondb/${node}/`))
    await reader.delegate({ do: 'download', worker, parts, strip: 'rondb/', room: bytes })
    const order: Work = {
      do: 'inspect',
      node,
      backupId: run.backupId,
      ...(run.decryption ? { encryption: run.decryption } : {}),
      ...(run.clients ? { clients: run.clients } : {}),
    }
    found.set(node, (await reader.delegate({ do: 'engine', worker, engine: 'rondb', order })) as Inspected)
  }
  return found
}

/** The facts of a folder that rondb-helm wrote. What START BACKUP said is gone: records are counted in the files. */
export async function adopt(run: InspectRun, reader: Reader): Promise<BackupFacts> {
  for (const path of ['users.sql', 'databases.sql']) {
    if (!run.parts.some((part) => part.path === path)) throw new JobError('verification', `the folder has no ${path}`)
  }
  const found = await inspectNodes(run, reader)
  const nodes = [...found.values()]
  const first = nodes[0] as Inspected
  refuseMixed(found, first)
  const counts = tally(added(nodes))
  const left = leftRecords(counts)
  const facts: RondbFacts = {
    consistency: {
      snapshot: 'end',
      startGcp: null,
      stopGcp: first.stopGcp,
      epoch: first.stopGcp === null ? null : epochOf(first.stopGcp),
    },
    topology: { nodes: [...found].map(([id, node]) => ({ id, group: null, parts: node.parts })) },
    records: nodes.flatMap((node) => node.counts).reduce((sum, one) => sum + Number(one.records), 0),
    logRecords: null,
    bytes: run.parts.filter((part) => part.path.startsWith('rondb/')).reduce((total, part) => total + part.size, 0),
    systemRecords: [left, left],
    encrypted: run.decryption !== undefined,
    databases: (await databasesIn(reader)).filter((database) => !leftOut.includes(database)),
    tables: first.tables.filter((table) => !leftOut.includes(table.database)).map((table) => withCounts(table, counts)),
    localTables: { names: [], dumped: false },
  }
  return { server: { product: first.product, version: first.version }, tools: {}, facts }
}

function refuseMixed(found: Map<number, Inspected>, first: Inspected): void {
  const key = (node: Inspected) => `${node.stopGcp} ${node.tables.map(keyOf).join()}`
  for (const [id, node] of found) {
    if (key(node) !== key(first))
      throw new JobError(
        'verification',
        `node ${id} has another stop GCP or other tables than the first: the files are not of one backup`,
      )
  }
}

/** Fragments of a table lie on all nodes: the counts of one table are added up. */
function added(nodes: Inspected[]): Inspected['counts'] {
  const sums = new Map<number, Inspected['counts'][number]>()
  for (const one of nodes.flatMap((node) => node.counts)) {
    const sum = sums.get(one.table_id)
    sums.set(one.table_id, { ...one, records: String(Number(one.records) + Number(sum?.records ?? 0)) })
  }
  return [...sums.values()]
}

async function databasesIn(reader: Reader): Promise<string[]> {
  const databases: string[] = []
  for await (const statement of statements(await reader.read('databases.sql'))) {
    const { kind, name } = classify(statement)
    if (kind === 'database') databases.push(Buffer.from(name, 'latin1').toString('utf8'))
  }
  return databases
}

function withCounts(table: { database: string; name: string }, counts: Counts) {
  const { rows = 0, records = 0 } = counts.tables.get(keyOf(table)) ?? {}
  return { ...table, rows: [rows, rows] as [number, number], records: [records, records] as [number, number] }
}
