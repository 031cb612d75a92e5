import { Readable } from 'node:stream'
import type { BackupFacts, Sink, SourceRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { inParallel } from '../../io/parallel.ts'
import { refuseRestored } from '../../io/restores.ts'
import { type Checked, examine } from './check.ts'
import { type Counted, dumpOf } from './dump.ts'
import { accountsPart, type RedisFacts } from './facts.ts'
import { markersAt, markersIn, refuseUnfinished } from './marker.ts'
import { openGiver } from './replica.ts'
import { select } from './selection.ts'
import { requestSnapshot } from './snapshot.ts'
import { type Master, mastersOf, slotsText } from './topology.ts'
import type { Source } from './values.ts'
import { withWire } from './wire.ts'

interface Taken {
  snapshot: RedisFacts['snapshots'][number]
  counted: Counted
}

interface Taking {
  run: SourceRun
  checked: Checked
  sink: Sink
  signal: AbortSignal
}

/** The accounts, and a snapshot of every master. */
export async function backup(run: SourceRun, sink: Sink): Promise<BackupFacts> {
  const checked = (run.checked?.detail as Checked | undefined) ?? (await examine(run))
  const { parallel, accounts, include, exclude } = run.source as Source
  const stop = new AbortController()
  const taking = { run, checked, sink, signal: AbortSignal.any([run.signal, stop.signal]) }
  const users = accounts ? await writeAccounts(taking) : null
  const taken = await inParallel(checked.masters, parallel, async (master) => {
    try {
      return await takeSnapshot(master, taking)
    } catch (error) {
      // the others must not go on for nothing
      stop.abort(error)
      throw run.signal.aborted ? run.signal.reason : error
    }
  })
  await refuseMoved(taking)
  const { masters, login, markers = [] } = checked
  refuseRestored(markers, (await markersAt(masters, login, run.signal)) ?? markers, 'the server')
  const facts: RedisFacts = {
    ...summed(taken, checked),
    accounts: users,
    ...(include ? { include } : {}),
    ...(exclude ? { exclude } : {}),
  }
  if (facts.moduleData)
    run.warn(
      'modules keep data beside the keys, such as indexes: it is in the backup, but only a server that loads the file as its own brings it back',
    )
  return { server: checked.server, tools: checked.tools, facts }
}

/** What an ACL file has: one line a user, with hashes of the passwords. */
async function writeAccounts({ checked, sink, signal }: Taking): Promise<string[]> {
  const [first] = checked.masters as [Master]
  const said = await withWire(first.address, { login: checked.login, signal }, (wire) => wire.ask('ACL', 'LIST'))
  const lines = (said as string[]).map((line) => Buffer.from(`${line}\n`, 'latin1'))
  await sink.write(accountsPart, Readable.from([Buffer.concat(lines)], { objectMode: false }))
  return lines.map((line) => line.toString('utf8').split(' ')[1] ?? '')
}

async function takeSnapshot(master: Master, { run, checked, sink, signal }: Taking): Promise<Taken> {
  const { preferReplica, cluster, ...source } = run.source as Source
  const { wire, role } = await openGiver(master.address, {
    login: checked.login,
    signal,
    preferReplica,
    warn: run.warn,
  })
  try {
    const asked = await requestSnapshot(wire)
    const { replicationId, offset } = asked
    run.log.info({ server: wire.server, role, replicationId, offset }, 'snapshot begun')
    const { stream, counted } = dumpOf(asked, { selection: select(source), server: wire.server })
    const part = cluster ? `dump-${checked.masters.indexOf(master) + 1}.rdb` : 'dump.rdb'
    await sink.write(part, stream)
    if (counted.markers) refuseUnfinished(markersIn(counted.markers, wire.server), wire.server)
    const keys = Object.values(counted.databases).reduce((sum, one) => sum + one.keys, 0)
    const slots = cluster ? slotsText(master) : null
    const { version: rdbVersion } = counted
    const snapshot = { part, server: wire.server, role, slots, replicationId, offset, rdbVersion, keys }
    return { snapshot, counted }
  } finally {
    wire.close()
  }
}

/** A slot that moved meanwhile is in two snapshots, or in none. */
async function refuseMoved({ run, checked, signal }: Taking): Promise<void> {
  const source = run.source as Source
  if (!source.cluster) return
  const now = await mastersOf(source, { ...run, signal, login: checked.login })
  const slots = (masters: Master[]) => masters.map(slotsText).join('; ')
  if (slots(now) === slots(checked.masters)) return
  throw new JobError('server', 'slots of the cluster moved while its masters were backed up', {
    hint: 'take the backup again when the cluster is at rest',
  })
}

function summed(taken: Taken[], { modules }: Checked): Omit<RedisFacts, 'accounts'> {
  const databases: RedisFacts['databases'] = {}
  const types: RedisFacts['types'] = {}
  for (const { counted } of taken) {
    for (const [database, { keys, expires }] of Object.entries(counted.databases)) {
      const sum = databases[database] ?? { keys: 0, expires: 0 }
      databases[database] = { keys: sum.keys + keys, expires: sum.expires + expires }
    }
    for (const [type, keys] of Object.entries(counted.types)) types[type] = (types[type] ?? 0) + keys
  }
  const moduleData = taken.some(({ counted }) => counted.moduleData)
  return {
    snapshots: taken.map(({ snapshot }) => snapshot),
    databases,
    types,
    largestValue: Math.max(...taken.map(({ counted }) => counted.largest)),
    functions: [...new Set(taken.flatMap(({ counted }) => counted.functions))],
    modules: moduleData || types.module ? modules : [],
    moduleData,
  }
}
