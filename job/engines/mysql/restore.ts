import type { Marker, Reader, RestoreStep, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { quoteName, type Session } from '../../io/mysql.ts'
import { inParallel } from '../../io/parallel.ts'
import { checkParts, stepOf } from '../../io/restores.ts'
import { createAccounts, grantAccounts, ourAccounts, readAccounts } from './accounts.ts'
import { connect } from './check.ts'
import type { Stored } from './facts.ts'
import { load } from './load.ts'
import { writeMarker } from './marker.ts'
import { allKinds, partsOf } from './parts.ts'
import { compareObjects, compareRows, type Proved } from './proof.ts'
import type { Section } from './sections.ts'
import { keyOf } from './tables.ts'
import { type Detail, recheck } from './target.ts'
import type { Target } from './values.ts'

/** What steps hand on to later steps of the same restore. */
interface Progress {
  /** Holds the lock of the target. */
  session?: Session
  ours: string[]
  proved: Proved
}

const progress = new WeakMap<object, Progress>()

function progressOf(run: TargetRun): Progress {
  const state = progress.get(run) ?? { ours: [], proved: { tables: 0, rows: 0, checksums: 0 } }
  progress.set(run, state)
  return state
}

export function detailOf(run: TargetRun): Detail {
  return (run.state as TargetState).detail as Detail
}

/** The first mark takes the target's lock, which the server frees when this process is gone, and looks at the target again. */
export async function mark(run: TargetRun, marker: Omit<Marker, 'creates'>): Promise<void> {
  const state = progressOf(run)
  state.session ??= await lock(run)
  await writeMarker(state.session, { ...marker, creates: detailOf(run).creates })
}

export async function release(run: TargetRun): Promise<void> {
  progress.get(run)?.session?.close()
}

async function lock(run: TargetRun): Promise<Session> {
  const session = await restoring(run)
  try {
    // the session idles as long as the rows are loaded
    await session.execute('SET SESSION wait_timeout = 2147483')
    const [row] = await session.rows<{ taken: string | null }>("SELECT GET_LOCK('holdfast.restore', 0) AS taken")
    if (Number(row?.taken) !== 1) {
      throw new JobError('busy', `another restore into ${session.server} is running`, {
        hint: 'wait for it; it keeps its lock only as long as it lives',
      })
    }
    await recheck(run, session)
    return session
  } catch (error) {
    session.close()
    throw error
  }
}

async function restoring(run: TargetRun): Promise<Session> {
  const session = await connect(detailOf(run).login, run.signal)
  if ((run.target as Target).skipBinlog) await session.execute('SET SESSION sql_log_bin = 0')
  return session
}

type Step = (run: TargetRun, reader: Reader) => Promise<Record<string, unknown>>

const steps: Record<string, Step> = { verify, clear, accounts, tables, data, objects, grants, events, prove }

/** One step; the plan is always begun from its first, so every step may find what a crashed run left. */
export async function restore(run: TargetRun, step: RestoreStep, reader: Reader): Promise<Record<string, unknown>> {
  return stepOf(steps, step)(run, reader)
}

async function verify(run: TargetRun, reader: Reader) {
  const paths = partsOf(detailOf(run), ...allKinds).map(({ path }) => path)
  return checkParts(reader, paths, (run.target as Target).parallel)
}

/** Drops what the plan says, and nothing else. */
async function clear(run: TargetRun) {
  const { databases, things } = detailOf(run).clears
  const session = progressOf(run).session as Session
  await session.execute('SET SESSION foreign_key_checks = 0')
  for (const database of databases) await session.execute(`DROP DATABASE IF EXISTS ${quoteName(database)}`)
  for (const { kind, database, name } of things) {
    const quoted = `${quoteName(database)}.${quoteName(name)}`
    const whats = kind === 'routine' ? ['PROCEDURE', 'FUNCTION'] : [kind.toUpperCase()]
    for (const what of whats) await session.execute(`DROP ${what} IF EXISTS ${quoted}`)
  }
  run.log.info({ databases, things: things.length }, 'replaced content dropped')
  return { dropped: databases.length + things.length }
}

/** The marker learns which accounts are ours before the first is made, so that a second run makes them again. */
async function accounts(run: TargetRun, reader: Reader) {
  const state = progressOf(run)
  const session = state.session as Session
  const { creates } = detailOf(run)
  const statements = await readAccounts(await reader.read('accounts.sql'))
  state.ours = await ourAccounts({ statements, session, overwrite: run.overwrite, earlier: creates.accounts })
  creates.accounts = state.ours
  await writeMarker(session, {
    request: run.request,
    backupId: run.backupId,
    plan: run.plan,
    state: 'begun',
    creates,
  })
  await createAccounts({ statements, session, ours: state.ours, run })
  const all = statements.filter(({ kind }) => kind === 'create').length
  return { accounts: state.ours.length, stayed: all - state.ours.length }
}

async function grants(run: TargetRun, reader: Reader) {
  const { session, ours } = progressOf(run)
  const statements = await readAccounts(await reader.read('accounts.sql'))
  await grantAccounts({ statements, session: session as Session, ours, run })
  await session?.execute('FLUSH PRIVILEGES')
  return { accounts: ours.length }
}

async function tables(run: TargetRun, reader: Reader) {
  const parts = partsOf(detailOf(run), 'tables')
  const wanted = wantedOf(run)
  await inParallel(parts, (run.target as Target).parallel, (part) => load({ run, reader, part, wanted }))
  return { databases: parts.length }
}

/** The largest parts first: the last one to end is a small one. Rows are compared before events can change them. */
async function data(run: TargetRun, reader: Reader) {
  const { parallel } = run.target as Target
  const size = new Map(run.parts.map((part) => [part.path, part.size]))
  const sizeOf = ({ path }: Stored) => size.get(path) ?? size.get(`${path}.zst`) ?? 0
  const parts = partsOf(detailOf(run), 'data', 'dump').sort((a, b) => sizeOf(b) - sizeOf(a))
  const wanted = wantedOf(run)
  const leftOut = new Set([...leftOutOf(run).values()].flat())
  await inParallel(parts, parallel, (part) =>
    load({ run, reader, part, wanted, ...(part.kind === 'dump' ? { leftOut } : {}) }),
  )
  const { proved } = progressOf(run)
  Object.assign(proved, await compareRows(run, detailOf(run)))
  return { parts: parts.length, rows: proved.rows }
}

/** Triggers, routines, then views, which may call them. Of databases that tables are left out of, what needs those is left out. */
async function objects(run: TargetRun, reader: Reader) {
  const parts = (['triggers', 'routines', 'views'] as const).flatMap((kind) => partsOf(detailOf(run), kind))
  const [wanted, left] = [wantedOf(run), leftOutOf(run)]
  for (const part of parts) await load({ run, reader, part, wanted, leftOut: new Set(left.get(part.database ?? '')) })
  return { parts: parts.length }
}

async function events(run: TargetRun, reader: Reader) {
  const { selection } = detailOf(run)
  const wanted = ({ kind }: Section, database: string) =>
    (kind === 'events' || kind === 'database') && selection.objects.includes(database)
  const parts = [...partsOf(detailOf(run), 'events'), ...partsOf(detailOf(run), 'dump')]
  for (const part of parts) await load({ run, reader, part, wanted })
  return { parts: parts.length }
}

async function prove(run: TargetRun) {
  const state = progressOf(run)
  const session = state.session as Session
  await compareObjects(session, detailOf(run), run)
  if ((run.target as Target).flushLogs) await session.execute('FLUSH BINARY LOGS')
  return { ...state.proved }
}

/** Tables that the plan or this request leaves out, by the databases whose views and triggers come all the same. */
function leftOutOf(run: TargetRun): Map<string, string[]> {
  const { facts, selection } = detailOf(run)
  const comes = new Set(selection.tables.map(keyOf))
  const never = facts.objects.flatMap(({ database, without }) => without.map((name) => ({ database, name })))
  const some = new Set(selection.objects).difference(new Set(selection.whole))
  const lacking = [...facts.tables, ...never].filter((table) => some.has(table.database) && !comes.has(keyOf(table)))
  return new Map([...Map.groupBy(lacking, ({ database }) => database)].map(([name, all]) => [name, all.map(keyOf)]))
}

/** Pure: what of a part this request brings. Events come later, by themselves. */
function wantedOf(run: TargetRun): (section: Section, database: string) => boolean {
  const { selection } = detailOf(run)
  const keys = new Set(selection.tables.map(keyOf))
  const databases = new Set([...selection.objects, ...selection.tables.map((table) => table.database)])
  return ({ kind, name }, database) => {
    if (kind === 'structure' || kind === 'data') return keys.has(keyOf({ database, name }))
    if (kind === 'database') return databases.has(database)
    return kind !== 'events' && selection.objects.includes(database)
  }
}
