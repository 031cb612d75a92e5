import { createReadStream, createWriteStream } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Marker, Reader, RestoreStep, TargetRun } from '../../engine.ts'
import { JobError, textOf } from '../../errors.ts'
import { inParallel } from '../../io/parallel.ts'
import { checkParts, stepOf } from '../../io/restores.ts'
import { scratchFolder } from '../../io/scratch.ts'
import { readContents } from './archive.ts'
import { drop, empty } from './content.ts'
import { restoreRows } from './data.ts'
import { databaseSql, openDatabase } from './database.ts'
import { globalsPart, type TableFacts } from './facts.ts'
import { createGlobals, type Global, readGlobals } from './globals.ts'
import { indexParts } from './indexes.ts'
import { writeMarker } from './marker.ts'
import { restoreTables } from './parts.ts'
import { prove } from './proof.ts'
import { open, quoteName, type Session, SqlError, withSession } from './server.ts'
import { type Detail, type Place, partsToCheck, recheck } from './target.ts'
import { createExtension, postRestore, preRestore, timescaledb } from './timescale.ts'
import type { Entry } from './toc.ts'
import type { Target } from './values.ts'

/** What steps hand on to later steps of the same restore. */
export interface Progress {
  run: TargetRun
  reader: Reader
  target: Target
  detail: Detail
  /** Holds what was fetched and verified: structure, no rows. */
  folder: string
  globals: Global[]
  /** Tables of contents by place. */
  contents: Map<Place, Entry[]>
  /** Of these, what was made before the step that makes all the others. */
  made: Set<Entry>
  /** Tables of which the server said how many rows it took. */
  counted: Set<TableFacts>
  /** Where TimescaleDB was told that a restore is going on, and not yet that it is over. */
  restoring: Set<Place>
}

const progress = new WeakMap<object, Progress>()
const locks = new WeakMap<object, Session>()

/** The first mark takes the target's lock, which the server frees when this process is gone, and looks at the target again. */
export async function mark(run: TargetRun, marker: Omit<Marker, 'creates'>): Promise<void> {
  const session = locks.get(run) ?? (await lock(run))
  await writeMarker(session, { ...marker, creates: detailOf(run).creates })
}

async function lock(run: TargetRun): Promise<Session> {
  const { login } = detailOf(run)
  const session = await open(login, (run.target as Target).database, run)
  locks.set(run, session)
  const [row] = await session.rows<{ taken: boolean }>(
    "SELECT pg_try_advisory_lock(hashtext('holdfast.restore')) AS taken",
  )
  if (!row?.taken)
    throw new JobError('busy', `another restore into ${login.server} is running`, {
      hint: 'wait for it; it keeps its lock only as long as it lives',
    })
  await recheck(run)
  return session
}

/** A database that is left in TimescaleDB's restoring mode would run none of its jobs: that is ended whatever happened. */
export async function release(run: TargetRun): Promise<void> {
  const state = progress.get(run)
  for (const place of state?.restoring ?? []) {
    const ended = withSession(detailOf(run).login, place.name, postRestore)
    await ended.catch((error) => run.log.warn(`timescaledb_post_restore() in ${place.name} failed: ${textOf(error)}`))
  }
  await locks.get(run)?.close()
  if (state?.folder) await rm(state.folder, { recursive: true, force: true }).catch(() => {})
}

type Step = (state: Progress) => Promise<Record<string, unknown>>

const steps: Record<string, Step> = {
  verify,
  fetch,
  globals,
  clear,
  create,
  tables: restoreTables,
  data: restoreRows,
  indexes: indexParts,
  prove,
  open: openDatabases,
  analyze,
}

/** One step; the plan is always begun from its first, so every step may find what a crashed run left. */
export async function restore(run: TargetRun, step: RestoreStep, reader: Reader): Promise<Record<string, unknown>> {
  const todo = stepOf(steps, step)
  const known = progress.get(run)
  const state = known ?? {
    run,
    reader,
    target: run.target as Target,
    detail: detailOf(run),
    folder: '',
    globals: [],
    contents: new Map(),
    made: new Set(),
    counted: new Set(),
    restoring: new Set(),
  }
  progress.set(run, state)
  return todo(state)
}

function detailOf(run: TargetRun): Detail {
  return run.state?.detail as Detail
}

/** The file of a place's structure, once it was fetched. */
export function schemaFile({ folder, detail }: Progress, place: Place): string {
  return join(folder, `${detail.places.indexOf(place)}.dump`)
}

async function verify({ reader, target, detail }: Progress) {
  return checkParts(reader, partsToCheck(target, detail), target.parallel)
}

async function fetch(state: Progress) {
  const { run, reader, target, detail } = state
  state.folder = await scratchFolder(run.staging).catch((cause) => {
    throw new JobError('configuration', `no folder for temporary files can be made in ${run.staging}`, {
      hint: 'name another one with --tmp-dir',
      cause,
    })
  })
  const save = async (path: string, file: string) =>
    pipeline(await reader.read(path), createWriteStream(file, { mode: 0o600 }), { signal: run.signal })
  if (target.globals && detail.facts.globals) {
    const file = join(state.folder, globalsPart)
    await save(globalsPart, file)
    state.globals = readGlobals(await readFile(file, 'utf8'))
  }
  for (const place of detail.places) {
    const [first] = place.facts.parts as [string]
    const kept = detail.facts.method === 'parallel' ? schemaFile(state, place) : undefined
    if (kept) await save(first, kept)
    // a single archive is not kept: its rows are in it
    state.contents.set(place, await readContents(kept ? createReadStream(kept) : await reader.read(first), first))
  }
  return {}
}

async function globals({ run, target, detail, globals }: Progress) {
  const tablespaces = !target.extraOptions.includes('--no-tablespaces')
  return withSession(
    detail.login,
    target.database,
    (session) => createGlobals(session, globals, { run, tablespaces }),
    run,
  )
}

/** Drops or empties what the plan says, and nothing else. */
async function clear({ run, target, detail }: Progress) {
  for (const { name, inPlace } of detail.clears) {
    if (inPlace) await withSession(detail.login, name, (session) => empty(session, name), run)
    else await drop({ login: detail.login, from: target.database, name, run })
  }
  run.log.info({ databases: detail.clears.map((one) => one.name) }, 'replaced content dropped')
  return { databases: detail.clears.length }
}

/** Nobody but superusers and the account of the restore gets into a database before it is complete. */
async function create(state: Progress) {
  const { run, target, detail } = state
  for (const place of detail.places) {
    if (!place.inPlace) {
      await withSession(
        detail.login,
        target.database,
        async (session) => {
          await session.execute(databaseSql(state, place), `making database ${place.name}`)
          await session.execute(`REVOKE ALL ON DATABASE ${quoteName(place.name)} FROM PUBLIC`)
        },
        run,
      )
    }
    if (place.facts.timescaledb) await prepareTimescale(state, place)
  }
  return { databases: detail.places.length }
}

async function prepareTimescale({ run, detail, restoring }: Progress, place: Place): Promise<void> {
  const extension = place.facts.extensions.find((one) => one.name === timescaledb)
  const there = async (session: Session) =>
    (await session.rows(`SELECT 1 FROM pg_extension WHERE extname = '${timescaledb}'`)).length > 0
  await withSession(
    detail.login,
    place.name,
    async (session) => {
      if (extension && !(await there(session))) await createExtension(session, extension)
    },
    run,
  )
  restoring.add(place)
  await withSession(detail.login, place.name, preRestore, run)
}

async function openDatabases(state: Progress) {
  for (const place of state.detail.places) {
    if (state.restoring.has(place)) await withSession(state.detail.login, place.name, postRestore, state.run)
    state.restoring.delete(place)
    await openDatabase(state, place)
  }
  return {}
}

async function analyze({ run, target, detail }: Progress) {
  let tables = 0
  for (const { name } of detail.places) {
    const inDatabase = <T>(work: (session: Session) => Promise<T>) => withSession(detail.login, name, work, run)
    const all = await inDatabase((session) => session.rows<{ name: string }>(analysable))
    const rest = all.values()
    const lanes = Array.from({ length: Math.min(target.parallel, all.length) })
    await inParallel(lanes, lanes.length, () =>
      inDatabase(async (session) => {
        for (const table of rest) await session.execute(`ANALYZE ${table.name}`).catch(unlessGone)
      }),
    )
    tables += all.length
  }
  return { tables }
}

/** What `ANALYZE` of a whole database looks at, the largest first. A partitioned table takes its partitions along. */
const analysable = `SELECT oid::regclass::text AS name FROM pg_class
  WHERE relkind IN ('r', 'm', 'p') AND NOT relispartition AND relpersistence <> 't'
  ORDER BY relkind = 'p' DESC, pg_relation_size(oid) DESC`

/** The database is open again: what lists its tables may be older than they are. */
function unlessGone(error: unknown): void {
  if (!(error instanceof SqlError && error.code === undefinedTable)) throw error
}

const undefinedTable = '42P01'
