import { Readable } from 'node:stream'
import type { BackupFacts, Sink, SourceRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import type { ReadingSession, Session } from '../../io/mysql.ts'
import { globalPrivileges, holds } from '../../io/mysql.ts'
import { together } from '../../io/parallel.ts'
import { refuseRestored } from '../../io/restores.ts'
import { dumpAccounts } from './accounts.ts'
import { type Batch, batchesOf, folders } from './batches.ts'
import { type Checked, connect, examine, isTransactional } from './check.ts'
import { agreed, type Count, count } from './counts.ts'
import { type Dump, hasHistory, programsDump, structureDump, wholeDump } from './dumps.ts'
import type { MysqlFacts, Stored } from './facts.ts'
import { readMarkers } from './marker.ts'
import { keepsHistory, makePatient, prepare, RowReader } from './rows.ts'
import { cut, type Section } from './sections.ts'
import { isOlder } from './server.ts'
import { openSnapshot, position } from './snapshot.ts'
import { changed, columnsOf, holdsRows, keyOf, list, type Table } from './tables.ts'
import type { Source } from './values.ts'

/** What a backup works with. */
interface Work {
  run: SourceRun
  source: Source
  sink: Sink
  checked: Checked
  dump: Dump
  session: Session
  parts: Stored[]
}

/** Whatever fails first ends everything else that was started. */
export async function backup(run: SourceRun, sink: Sink): Promise<BackupFacts> {
  const stop = new AbortController()
  const signal = AbortSignal.any([run.signal, stop.signal])
  const source = run.source as Source
  const checked = (run.checked?.detail as Checked | undefined) ?? (await examine(run))
  const { login, server, tools } = checked
  const session = await connect(login, signal)
  const work: Work = { run, source, sink, checked, session, parts: [], dump: { login, server, source, signal } }
  try {
    const found = await (source.method === 'parallel' ? inParallel(work, stop) : inOneStream(work, stop))
    refuseChanged(work, (await list(session, server)).tables)
    refuseRestored(checked.markers, await readMarkers(session), `server ${login.server}`)
    return { server, tools, facts: factsOf(work, found) }
  } catch (error) {
    stop.abort(error)
    throw error
  } finally {
    session.close()
  }
}

interface Found {
  consistency: MysqlFacts['consistency']
  counts: Map<string, Count>
}

async function inParallel(work: Work, stop: AbortController): Promise<Found> {
  const { run, source, session, checked, dump } = work
  const { listing, server, chosen } = checked
  const tables = chosen.tables.filter(holdsRows)
  const batches = await batchesOf(session, { tables, parallel: source.parallel, server })
  const sessions = await openReaders(work, Math.min(source.parallel, batches.length))
  await makePatient(session, server)
  const readers = await readersOf(work, tables, sessions)
  const consistency = await openSnapshot({ run, server, session, readers: sessions })
  run.log.info({ connections: sessions.length, parts: batches.length, ...consistency }, 'snapshot begun')
  const first = firstFailure(stop)
  const queue = storedOf(work, batches)
  const [counts] = await together([
    first(countInSnapshot(work)),
    first(rest(work)),
    ...readers.map((reader) => first(writeRows(work, reader, queue))),
  ])
  refuseMissing(tables, counts as Map<string, Count>, readers)
  return { consistency, counts: counts as Map<string, Count> }

  /** What has no rows: one after the other, beside the readers. */
  async function rest(work: Work): Promise<void> {
    await writeAccounts(work)
    if (chosen.databases.length > 0) await writeStructure(work, structureDump(dump, listing, chosen))
    if (chosen.objects.some((database) => listing.objects.has(database)))
      await writePrograms(work, programsDump(dump, listing, chosen))
  }
}

/** Lets go of the tables at once: who alters one would wait for this session, and readers for them. */
async function countInSnapshot({ source, session, checked: { chosen } }: Work): Promise<Map<string, Count>> {
  const counts = await count(session, chosen.tables, { checksums: source.proof === 'checksums' })
  await session.execute('COMMIT')
  return counts
}

/** The first failure is the one that is told: others follow from it. */
function firstFailure(stop: AbortController) {
  return async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      stop.abort(error)
      throw stop.signal.reason
    }
  }
}

/** Each closes when its rows are written, or with the signal. */
async function openReaders({ checked, dump }: Work, connections: number): Promise<ReadingSession[]> {
  const open = async () => {
    const session = await connect(checked.login, dump.signal)
    await prepare(session, checked.server)
    return session
  }
  return await together(Array.from({ length: connections }, open))
}

async function readersOf(
  { run, checked, session }: Work,
  tables: readonly Table[],
  sessions: readonly ReadingSession[],
) {
  const { server, chosen } = checked
  const columns = await columnsOf(session, chosen.databases)
  const without = tables.filter(
    (table) => hasHistory(server, [table]) && !keepsHistory(table, columns.get(keyOf(table)) ?? [], server),
  )
  if (without.length > 0)
    run.warn(`the history of ${without.map(keyOf).join(', ')} is not in the backup: it is kept by transactions`)
  return sessions.map((one) => new RowReader(one, server, columns))
}

interface Queued {
  batch: Batch
  part: Stored
}

/** All parts of rows, in the order of the restore too. */
function storedOf({ checked, parts }: Work, batches: readonly Batch[]): Queued[] {
  const files = filesOf(checked.chosen)
  const queue = batches.map((batch): Queued => {
    const [first] = batch.tables
    const { number, of } = batch.piece ?? {}
    const piece = number === undefined ? '' : `.${number}-of-${of}`
    const path = `${files.get(keyOf(first))}${piece}.sql`
    return { batch, part: { path, kind: 'data', database: first.database, tables: batch.tables.map(keyOf) } }
  })
  parts.push(...queue.map(({ part }) => part))
  return queue
}

/** One connection takes one part after the other, as long as there are some. */
async function writeRows({ sink, dump }: Work, reader: RowReader, queue: Queued[]): Promise<void> {
  for (let next = queue.shift(); next; next = queue.shift()) {
    dump.signal.throwIfAborted()
    await sink.write(next.part.path, reader.part(next.batch))
    next.part.longest = reader.longest
  }
  // nobody waits for its tables any more
  reader.close()
}

/** The server counted by itself, in the same snapshot. What no snapshot covers may have changed. */
function refuseMissing(tables: readonly Table[], counts: ReadonlyMap<string, Count>, readers: readonly RowReader[]) {
  for (const table of tables.filter(isTransactional)) {
    const key = keyOf(table)
    const read = readers.reduce((sum, { rows }) => sum + (rows.get(key) ?? 0), 0)
    const there = counts.get(key)?.rows
    if (read !== there) throw new JobError('server', `${read} rows of ${key} were read, and the server counts ${there}`)
  }
}

async function writeAccounts({ source, checked, sink, parts, dump }: Work): Promise<void> {
  if (!source.accounts) return
  const own = await connect(checked.login, dump.signal)
  try {
    parts.push({ path: 'accounts.sql', kind: 'accounts' })
    await sink.write('accounts.sql', Readable.from(dumpAccounts(own, checked.server), { objectMode: false }))
  } finally {
    own.close()
  }
}

/** `<database>/tables.sql`, with placeholders of its views, and `<database>/views.sql`. */
async function writeStructure(work: Work, stream: Readable): Promise<void> {
  await writeByDatabase(work, stream, (kind, database, begun) => {
    // before its views a dump names the database again
    if (kind === 'database') return begun.has(database) ? undefined : 'tables'
    if (kind === 'structure' || kind === 'placeholder') return 'tables'
    return kind === 'view' ? 'views' : undefined
  })
}

/** Triggers, events and routines of each database that has some. */
async function writePrograms(work: Work, stream: Readable): Promise<void> {
  const { objects } = work.checked.listing
  await writeByDatabase(work, stream, (kind, database) => {
    // no comment comes before the triggers
    const what = kind === 'database' ? 'triggers' : kind
    return (what === 'triggers' || what === 'events' || what === 'routines') && objects.get(database)?.[what]
      ? what
      : undefined
  })
}

type KindOf = (kind: Section['kind'], database: string, begun: ReadonlySet<string>) => Stored['kind'] | undefined

async function writeByDatabase({ checked, sink, parts }: Work, stream: Readable, kindOf: KindOf): Promise<void> {
  const folder = folders(checked.chosen.databases)
  const begun = new Set<string>()
  await cut(stream, {
    partOf: (section, { database, path: current }) => {
      const kind = kindOf(section.kind, database, begun)
      if (!kind) return undefined
      begun.add(database)
      const path = `${folder.get(database)}/${kind}.sql`
      if (path !== current) parts.push({ path, kind, database })
      return path
    },
    write: (path, data) => sink.write(path, data),
  })
}

/** `mysqldump`: one connection, whose own start is the point in time. */
async function inOneStream(work: Work, stop: AbortController): Promise<Found> {
  const { source, session, checked, dump, parts, sink } = work
  const { server, chosen, listing } = checked
  const first = firstFailure(stop)
  const checksums = source.proof === 'checksums'
  await first(writeAccounts(work))
  const before = await first(count(session, chosen.tables, { checksums }))
  let head = ''
  let gtid: string | null = null
  const stream = wholeDump(dump, { listing, chosen, point: await pointOptions(work) })
  parts.push({ path: 'dump.sql', kind: 'dump' })
  await first(sink.write('dump.sql', Readable.from(hearing(stream), { objectMode: false })))
  const counts = agreed(before, await first(count(session, chosen.tables, { checksums })))
  const kind = source.singleTransaction ? 'snapshot' : 'per-database'
  const by = source.singleTransaction ? 'single-connection' : 'table-locks'
  return { consistency: { kind, by, binlog: binlogIn(head), gtid }, counts }

  /** The position stands in the first lines; the set of transactions is known when nothing was committed since. */
  async function* hearing(dumped: Readable): AsyncGenerator<Buffer> {
    for await (const chunk of dumped) {
      if (head === '') {
        head = chunk.toString('utf8')
        const now = await position(session, server)
        if (JSON.stringify(now.binlog) === JSON.stringify(binlogIn(head))) gtid = now.gtid
      }
      yield chunk
    }
  }
}

function binlogIn(head: string): MysqlFacts['consistency']['binlog'] {
  const [, file, at] = /(?:MASTER|SOURCE)_LOG_FILE='([^']+)', (?:MASTER|SOURCE)_LOG_POS=(\d+)/.exec(head) ?? []
  return file === undefined ? null : { file, position: Number(at) }
}

/** The dump says its position as a comment, when the account may know it and there is one. */
async function pointOptions({ source, session, checked }: Work): Promise<string[]> {
  const held = await globalPrivileges(session)
  const { binlog } = await position(session, checked.server)
  if (!source.singleTransaction || binlog === null || !holds(held, 'RELOAD', 'FLUSH_TABLES')) return []
  const { product, version } = checked.server
  return [product === 'MySQL' && !isOlder(version, '8.2') ? '--source-data=2' : '--master-data=2']
}

/** Folders and file names of the rows of each table. */
function filesOf({ databases, tables }: Checked['chosen']): Map<string, string> {
  const folder = folders(databases)
  const files = new Map<string, string>()
  for (const [database, group] of Map.groupBy(tables, (table) => table.database)) {
    for (const [name, file] of folders(group.map((table) => table.name)))
      files.set(keyOf({ database, name }), `${folder.get(database)}/data/${file}`)
  }
  return files
}

/** A table that was altered has rows of one shape in the backup, and may have the other one in its definition. */
function refuseChanged({ checked }: Work, now: Table[]): void {
  const found = changed(checked.chosen.tables, now)
  if (found.length === 0) return
  throw new JobError('server', `tables changed while they were dumped: ${found.slice(0, 5).join(', ')}`, {
    hint: ddlHint,
  })
}

const ddlHint =
  'back up again when no ALTER, DROP, RENAME or TRUNCATE runs; exclude tables that are made and dropped all the time'

function factsOf({ source, checked, parts }: Work, { consistency, counts }: Found): MysqlFacts {
  const { chosen, listing } = checked
  const here = new Set(chosen.tables.map(keyOf))
  const leftOut = Map.groupBy(
    listing.tables.filter((table) => !here.has(keyOf(table))),
    (table) => table.database,
  )
  return {
    method: source.method,
    consistency,
    databases: chosen.databases,
    tables: chosen.tables.map(({ database, name, kind, engine }) => {
      const { rows, checksum } = counts.get(keyOf({ database, name })) ?? { rows: null, checksum: null }
      return { database, name, kind, engine, rows, checksum }
    }),
    objects: chosen.objects.map((database) => ({
      database,
      ...(listing.objects.get(database) ?? { views: [], routines: 0, triggers: 0, events: 0 }),
      without: (leftOut.get(database) ?? []).map(({ name }) => name),
    })),
    parts,
  }
}
