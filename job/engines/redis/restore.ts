import type { Marker, Reader, RestoreStep, TargetRun } from '../../engine.ts'
import { JobError, textOf } from '../../errors.ts'
import { together } from '../../io/parallel.ts'
import { makeUsers, usersIn } from './accounts.ts'
import { chosenKeys, contentTexts, look } from './content.ts'
import { accountsPart } from './facts.ts'
import { infoOf, replicasOf } from './info.ts'
import { type Restored, restoreKeys } from './keys.ts'
import { restoreFunctions } from './libraries.ts'
import { writeMarker } from './marker.ts'
import { openAll, wireOf } from './masters.ts'
import { persist } from './persist.ts'
import { prove } from './proof.ts'
import { encode, isRefusal, type Reply } from './protocol.ts'
import { markerKey } from './selection.ts'
import type { Detail } from './target.ts'
import { RefusedError, type Wire, withWire } from './wire.ts'

/** What steps hand on to later steps of the same restore. */
export interface Progress {
  detail: Detail
  /** To the masters, in their order. */
  wires: Wire[]
  restored: Restored | undefined
}

const progress = new WeakMap<TargetRun, Progress>()

/** The first mark takes the target's lock, which is gone with this process, and looks at the target again. */
export async function mark(run: TargetRun, marker: Omit<Marker, 'creates'>): Promise<void> {
  const { detail, wires } = progress.get(run) ?? (await begin(run))
  await writeMarker(wireOf(markerKey, detail.masters, wires), { ...marker, creates: detail.creates })
}

/** The name of our connections: the server's list of clients is the lock. */
const lockName = 'holdfast-restore'

async function begin(run: TargetRun): Promise<Progress> {
  const detail = run.state?.detail as Detail
  const wires = await openAll(detail.masters, detail.login, run.signal)
  const state = { detail, wires, restored: undefined }
  progress.set(run, state)
  await together(wires.map((wire) => lock(wire)))
  await recheck(run, state)
  return state
}

/** Named first, then looked: two that begin at once may both give way, but never both go on. */
async function lock(wire: Wire): Promise<void> {
  await wire.ask('CLIENT', 'SETNAME', lockName)
  const clients = String(await wire.ask('CLIENT', 'LIST')).split('\n')
  if (clients.filter((line) => line.includes(` name=${lockName} `)).length <= 1) return
  throw new JobError('busy', `another restore into ${wire.server} is running`, {
    hint: 'wait for it; it holds the target only as long as it is connected',
  })
}

/** What came into the target since it was looked at is nobody's to remove. */
async function recheck(run: TargetRun, { detail, wires }: Progress): Promise<void> {
  const content = await look(wires, detail.selection)
  const came = new Map([...content].filter(([database]) => !detail.content.has(database)))
  if (run.overwrite || came.size === 0) return
  throw new JobError('target-not-empty', `the target is not empty any more: ${contentTexts(came).join('; ')}`, {
    hint: 'nothing was changed; stop what writes there, and run the restore again',
  })
}

export async function release(run: TargetRun): Promise<void> {
  for (const wire of progress.get(run)?.wires ?? []) wire.close()
}

type Step = (run: TargetRun, reader: Reader, state: Progress) => Promise<Record<string, unknown>>

const steps: Record<string, Step> = {
  clear,
  keys,
  functions: restoreFunctions,
  accounts,
  persist: persistAll,
  prove,
}

export async function restore(run: TargetRun, { name }: RestoreStep, reader: Reader): Promise<Record<string, unknown>> {
  const step = steps[name]
  const state = progress.get(run)
  if (!step || !state) throw new JobError('bug', `step ${name} of a Redis restore without a beginning`)
  return step(run, reader, state)
}

async function clear(run: TargetRun, _: Reader, { detail, wires }: Progress): Promise<Record<string, unknown>> {
  const { creates, selection } = detail
  let removed = 0
  for (const wire of wires) {
    for (const database of creates.databases) removed += await clearDatabase(wire, { database, selection, run })
  }
  return { removed }
}

interface Clearing {
  database: number
  selection: Detail['selection']
  run: TargetRun
}

/** The marker in database 0 stays: while it says `begun`, the databases are the restore's. */
async function clearDatabase(wire: Wire, { database, selection, run }: Clearing): Promise<number> {
  if (selection.whole) return flush(wire, database)
  let removed = 0
  for await (const keys of chosenKeys(wire, { database, selection })) {
    run.signal.throwIfAborted()
    // a node of a cluster takes the keys of one slot at a time
    const commands = keys.map((key) => encode(['UNLINK', key]))
    removed += await inDatabase(wire, database, async () => {
      const replies = await wire.send(commands, commands.length)
      return replies.filter((reply) => reply === 1).length
    })
  }
  return removed
}

/** Both or nothing: a kill between must not leave half of a restore without its marker. */
async function flush(wire: Wire, database: number): Promise<number> {
  return inDatabase(wire, database, async () => {
    const keys = Number(await wire.ask('DBSIZE'))
    const marker = database === 0 ? await ownMarker(wire) : null
    await wire.ask('MULTI')
    await wire.ask('FLUSHDB', 'ASYNC')
    if (marker !== null) await wire.ask('SET', markerKey, marker)
    const done = (await wire.ask('EXEC')) as Reply[]
    const refusal = done.find(isRefusal)
    if (refusal) throw new RefusedError(wire.server, 'FLUSHDB', refusal.error)
    return marker === null ? keys : keys - 1
  })
}

/** Null on a node of a cluster that does not have its slot. */
async function ownMarker(wire: Wire): Promise<string | null> {
  const [reply = null] = await wire.send([encode(['GET', markerKey])], 1)
  return typeof reply === 'string' ? reply : null
}

async function inDatabase<T>(wire: Wire, database: number, use: () => Promise<T>): Promise<T> {
  if (database !== 0) await wire.ask('SELECT', database)
  const result = await use()
  if (database !== 0) await wire.ask('SELECT', 0)
  return result
}

async function keys(run: TargetRun, reader: Reader, state: Progress): Promise<Record<string, unknown>> {
  state.restored = await restoreKeys({ run, reader, detail: state.detail, wires: state.wires })
  const { keys: brought, expired } = state.restored
  return { keys: brought, expired }
}

/** Users are no data: every server has its own, replicas too. */
async function accounts(run: TargetRun, reader: Reader, { detail, wires }: Progress): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = []
  for await (const chunk of await reader.read(accountsPart)) chunks.push(chunk)
  const making = { users: usersIn(Buffer.concat(chunks).toString('latin1')), overwrite: run.overwrite }
  const made = []
  for (const wire of wires) {
    made.push(await makeUsers(wire, making))
    await saveUsers(wire, run)
    for (const replica of replicasOf(await infoOf(wire))) {
      await withWire(replica, { login: detail.login, signal: run.signal }, async (other) => {
        await makeUsers(other, making)
        await saveUsers(other, run)
      }).catch((error) => {
        if (run.signal.aborted || !(error instanceof JobError)) throw error
        run.warn(`ACL users are not on a replica of ${wire.server}: ${textOf(error)}`)
      })
    }
  }
  return made[0] ?? {}
}

async function saveUsers(wire: Wire, run: TargetRun): Promise<void> {
  await wire.ask('ACL', 'SAVE').catch((error) => {
    if (run.signal.aborted || !(error instanceof JobError)) throw error
    run.warn(
      `${wire.server} has no ACL file: write the restored users into its configuration, or they are gone when it restarts`,
    )
  })
}

async function persistAll(run: TargetRun, _: Reader, { wires }: Progress): Promise<Record<string, unknown>> {
  const kept = await together(wires.map((wire) => persist(wire, run)))
  return { kept: [...new Set(kept)].join(', ') }
}
