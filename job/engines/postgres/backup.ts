import type { BackupFacts, Sink, SourceRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { inParallel } from '../../io/parallel.ts'
import { output } from '../../io/process.ts'
import { type Archive, watch } from './archive.ts'
import { type DatabaseRow, extensionsOf, largeObjectsOf, type TableRow } from './catalog.ts'
import { type Checked, examine, serverFacts } from './check.ts'
import { type DatabaseFacts, folderOf, globalsPart, type PostgresFacts, tableKey } from './facts.ts'
import { chooseTables } from './selection.ts'
import { libpq } from './server.ts'
import { openSnapshot, type Snapshot } from './snapshot.ts'
import { patternOf, spread } from './spread.ts'
import { timescaleOf } from './timescale.ts'
import { ownSchema, type Source } from './values.ts'

/** What every step of a backup needs. `stop` ends all that was started when one of it fails. */
interface Backing {
  run: SourceRun
  source: Source
  sink: Sink
  checked: Checked
  stop: AbortController
  signal: AbortSignal
}

/** Roles and tablespaces, then one database after the other, each as it was at one point in time. */
export async function backup(run: SourceRun, sink: Sink): Promise<BackupFacts> {
  const checked = (run.checked?.detail as Checked | undefined) ?? (await examine(run))
  const stop = new AbortController()
  const signal = AbortSignal.any([run.signal, stop.signal])
  const source = run.source as Source
  const backing: Backing = { run, source, sink, checked, stop, signal }
  try {
    if (source.globals) await writeGlobals(backing)
    const databases: DatabaseFacts[] = []
    for (const database of checked.databases) databases.push(await backUp(backing, database))
    const facts: PostgresFacts = {
      consistency: 'per-database',
      method: source.method,
      globals: source.globals ? { passwords: source.rolePasswords } : null,
      databases,
    }
    return { ...serverFacts(checked), facts }
  } catch (error) {
    stop.abort(error)
    throw error
  }
}

/** What pg_dumpall says at its end, before or after the end of its fence for psql. */
const complete = /-- PostgreSQL database cluster dump complete\n--\s*(\\unrestrict \w+\s*)?$/

async function writeGlobals({ source, sink, checked, signal }: Backing): Promise<void> {
  const { env, files } = libpq(checked.login, source.database)
  const args = ['--globals-only', '--no-password', `--database=${source.database}`]
  if (!source.rolePasswords) args.push('--no-role-passwords')
  const file = checked.clients.path('pg_dumpall')
  await sink.write(globalsPart, output({ file, args, env, files, signal }, complete))
}

/** One pg_dump, and what became of it. */
interface Dump {
  path: string
  options: string[]
}

async function backUp(backing: Backing, database: DatabaseRow): Promise<DatabaseFacts> {
  const { run, source, checked, stop, signal } = backing
  const lockTimeout = milliseconds(source.lockTimeout)
  const snapshot = await openSnapshot(checked.login, { database: database.name, lockTimeout, signal })
  const lost = () => stop.abort(snapshot.session.lost.reason)
  snapshot.session.lost.addEventListener('abort', lost)
  try {
    const wanted = chooseTables(database.name, snapshot.tables, { ...source, at: run.at })
    const dumps = dumpsOf({ database: database.name, source, wanted, tables: snapshot.tables })
    const { id, lsn, time } = snapshot
    run.log.info({ database: database.name, tables: wanted.length, lsn, snapshot: time }, 'snapshot taken')
    const facts = await contents(snapshot, database)
    const archives = await inParallel(dumps, source.parallel, async (dump) => {
      try {
        return { path: dump.path, archive: await write({ backing, database: database.name, snapshot: id, dump }) }
      } catch (error) {
        stop.abort(error)
        throw error
      }
    })
    const found = tally({ database: database.name, wanted, tables: snapshot.tables, archives, source })
    refuseLostObjects({ database: database.name, there: facts.largeObjects, found: found.largeObjects, source })
    return { ...facts, ...found, parts: partsInOrder(dumps) }
  } finally {
    snapshot.session.lost.removeEventListener('abort', lost)
    await snapshot.close()
  }
}

function milliseconds(duration: string): number {
  return Number(duration.slice(0, -1)) * ({ s: 1e3, m: 6e4, h: 36e5 }[duration.at(-1) as 's'] as number)
}

/** What the snapshot itself tells of a database. */
async function contents({ id, lsn, time, session }: Snapshot, database: DatabaseRow) {
  const { connectable: _, template: __, ...facts } = database
  const extensions = await extensionsOf(session)
  return {
    ...facts,
    snapshot: { id, lsn, time },
    extensions,
    timescaledb: await timescaleOf(session, extensions),
    largeObjects: await largeObjectsOf(session),
  }
}

interface Dumping {
  database: string
  source: Source
  wanted: TableRow[]
  tables: TableRow[]
}

/** The structure, the large tables in groups, and the rest: everything that no group names. In the order that they begin in. */
function dumpsOf({ database, source, wanted, tables }: Dumping): Dump[] {
  const folder = folderOf(database)
  const left = tables.filter((table) => !wanted.includes(table))
  const without = (rows: TableRow[]) => rows.map((table) => `--exclude-table-data=${patternOf(table)}`)
  if (source.method === 'single') return [{ path: `${folder}/database.dump`, options: without(left) }]
  const { groups } = spread(wanted, source.parallel)
  return [
    { path: `${folder}/schema.dump`, options: ['--section=pre-data', '--section=post-data'] },
    ...groups.map((group, i) => ({
      path: `${folder}/data-${i + 1}.dump`,
      options: ['--section=data', ...group.map((table) => `--table=${patternOf(table)}`)],
    })),
    { path: `${folder}/data-0.dump`, options: ['--section=data', ...without([...left, ...groups.flat()])] },
  ]
}

/** Configuration of extensions is in the rest: it comes back before other rows. */
function partsInOrder(dumps: Dump[]): string[] {
  const [first, ...others] = dumps.map((dump) => dump.path)
  return [first as string, ...others.slice(-1), ...others.slice(0, -1)]
}

interface Writing {
  backing: Backing
  database: string
  snapshot: string
  dump: Dump
}

async function write({ backing, database, snapshot, dump }: Writing): Promise<Archive> {
  const { source, sink, checked, signal } = backing
  const { dbname, env, files } = libpq(checked.login, database)
  const args = [
    dbname,
    '--format=custom',
    '--compress=0',
    '--no-password',
    `--snapshot=${snapshot}`,
    `--lock-wait-timeout=${milliseconds(source.lockTimeout)}`,
    ...(dump.options.some((option) => option.startsWith('--table=')) ? [] : [`--exclude-schema=${ownSchema}`]),
    ...dump.options,
    ...source.extraOptions,
  ]
  const file = checked.clients.path('pg_dump')
  const { stream, archive } = watch(output({ file, args, env, files, signal }), dump.path)
  await sink.write(dump.path, stream).catch((error) => {
    throw understood(error)
  })
  return archive
}

/** Somebody asked for a lock that nobody else may hold: pg_dump would wait for him, and he for our snapshot. */
function understood(error: unknown): unknown {
  if (!(error instanceof JobError) || !/lock timeout/.test(error.message)) return error
  return new JobError('busy', `somebody wants to change the structure of a table: ${error.message}`, {
    hint: 'run again when that is done, or raise lockTimeout',
    retryable: true,
    cause: error,
  })
}

interface Tallying {
  database: string
  wanted: TableRow[]
  tables: TableRow[]
  archives: { path: string; archive: Archive }[]
  source: Source
}

/** What the archives hold: every table whose rows are wanted is in exactly one of them. */
function tally({ database, wanted, tables, archives, source }: Tallying) {
  const entries = archives.flatMap(({ path, archive }) => archive.entries.map((entry) => ({ path, archive, entry })))
  const places = new Map(
    entries.filter(({ entry }) => entry.kind === 'TABLE DATA').map((place) => [place.entry.oid, place]),
  )
  const mayLack = source.extraOptions.some((option) => /^--(exclude-|no-unlogged)/.test(option))
  const facts: DatabaseFacts['tables'] = []
  for (const table of tables) {
    const { schema, name } = table
    const place = places.get(table.oid)
    if (place) {
      const { path, archive, entry } = place
      facts.push({ schema, name, rows: archive.rows.get(entry.id) ?? 0, part: path, entry: entry.id })
    } else if (mayLack || !wanted.includes(table)) facts.push({ schema, name, rows: 0, part: null, entry: null })
    else throw new JobError('server', `pg_dump left out the rows of table ${tableKey(database, table)}`)
  }
  return {
    tables: facts,
    sequences: entries.filter(({ entry }) => entry.kind === 'SEQUENCE SET').map(({ entry }) => standOf(entry)),
    largeObjects: archives.reduce((sum, { archive }) => sum + archive.largeObjects, 0),
  }
}

/** `SELECT pg_catalog.setval('public.orders_id_seq', 42, true);` */
function standOf({ schema, name, sql }: { schema: string; name: string; sql: string }) {
  const [, value, called] = /, (-?\d+), (true|false)\);\s*$/.exec(sql) ?? []
  return { schema, name, value: called === 'true' ? (value as string) : null }
}

function refuseLostObjects({
  database,
  there,
  found,
  source,
}: {
  database: string
  there: number
  found: number
  source: Source
}): void {
  if (there === found || source.extraOptions.some((option) => /^--no-(blobs|large)/.test(option))) return
  throw new JobError('server', `database ${database} has ${there} large objects, pg_dump wrote ${found}`)
}
