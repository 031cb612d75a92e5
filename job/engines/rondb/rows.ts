import type { Reader, TargetRun } from '../../engine.ts'
import { type Login, quoteName } from '../../io/mysql.ts'
import { sqlPart } from './fetch.ts'
import type { Restored, Work } from './native.ts'
import { nodesOf, type Progress, workerOf } from './progress.ts'
import { openRestoring } from './restoring.ts'
import { createDatabases } from './schema.ts'
import type { Detail } from './target.ts'
import type { Target } from './values.ts'

/** Databases with their character sets by MySQL, then the tables by ndb_restore, from the first node's files. */
export async function tables(run: TargetRun, reader: Reader, state: Progress) {
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
export async function data(run: TargetRun, reader: Reader, state: Progress) {
  const { detail } = state
  if (detail.selection.tables.length === 0) return { tuples: 0 }
  const results = await Promise.all(
    nodesOf(detail).map((node) => native({ run, reader, state, phase: 'data', node, more: [] })),
  )
  state.restored = results
  return { tuples: sum(results, 'tuples'), logEntries: sum(results, 'logEntries') }
}

export async function indexes(run: TargetRun, reader: Reader, state: Progress) {
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
