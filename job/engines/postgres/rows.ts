import { JobError } from '../../errors.ts'
import type { Rows } from './archive.ts'
import type { Copying, Session } from './server.ts'
import { type Entry, encodingOf, tableIn } from './toc.ts'

/**
 * The rows of an archive through sessions of the job's own. pg_restore reads an uncompressed archive row by row and sends each as a message of
 * its own; here they go to the server in the pieces that they come in.
 */

/** What pg_restore sets, beside what every session of ours has. */
const settings = 'SET row_security = off; SET xmloption = content'

/** From so many rows on a table is worth some statements of its own. */
export const manyRows = 100_000

/** Each takes three locks until the end of its part, and a server has some thousands for all. */
const mostEmptied = 200

/** Entries that say how the session is set. */
const ofSession = new Set(['ENCODING', 'STDSTRINGS', 'SEARCHPATH'])
const ofSequences = new Set(['SEQUENCE SET'])
const saidOfDatabases = new Set(['ACL', 'COMMENT', 'SECURITY LABEL'])

/**
 * Pure: the archive has rows of these tables and the stands of sequences, and nothing else, in the encoding that our sessions speak.
 * `rows`: by the id of a `TABLE DATA` entry. Those that are not among them belong to extensions or to other servers.
 */
export function isPlain(entries: readonly Entry[], rows: ReadonlyMap<number, number>): boolean {
  const isOfRows = (entry: Entry) =>
    entry.kind === 'TABLE DATA'
      ? rows.has(entry.id) && tableIn(entry) !== undefined
      : ofSequences.has(entry.kind) || ofSession.has(entry.kind)
  return encodingOf(entries) === 'UTF8' && entries.every((entry) => isOfRows(entry) || isOfDatabase(entry))
}

/** Every archive has what makes its database. pg_restore passes over it, too. */
function isOfDatabase({ kind, name }: Entry): boolean {
  return kind.startsWith('DATABASE') || (saidOfDatabases.has(kind) && name.startsWith('DATABASE '))
}

interface Bringing {
  /** Of the archive, for errors. */
  name: string
  /** Those of its entries that are wanted. */
  entries: readonly Entry[]
  /** All that it has. */
  from: AsyncIterable<Rows>
  /** Rows by the id of a `TABLE DATA` entry, of those that are wanted. */
  rows: ReadonlyMap<number, number>
  signal: AbortSignal
}

/** Brings all of it or, when it fails, nothing. The server must say of each table that it took as many rows as were backed up. */
export async function bringRows(session: Session, bringing: Bringing): Promise<void> {
  const execute = async (kinds: ReadonlySet<string>) => {
    for (const { kind, sql, name } of bringing.entries)
      if (kinds.has(kind)) await session.execute(sql, `${kind} ${name}`)
  }
  await session.execute(settings)
  await execute(ofSession)
  await session.execute('BEGIN')
  await copyRows(session, bringing)
  await execute(ofSequences)
  await session.execute('COMMIT')
}

async function copyRows(session: Session, bringing: Bringing): Promise<void> {
  const { name, from, rows, signal } = bringing
  const left = new Map(rows)
  const plain = await plainTables(session, bringing)
  let copying: Copying | undefined
  for await (const { entry, bytes, last } of from) {
    signal.throwIfAborted()
    session.lost.throwIfAborted()
    if (!left.has(entry.id)) continue
    copying ??= await beginCopy(session, entry, plain)
    await copying.write(bytes)
    if (!last) continue
    refuseOthers(entry, await copying.end(), left.get(entry.id))
    left.delete(entry.id)
    copying = undefined
  }
  if (left.size > 0) throw differs(`${name} lacks the rows of ${left.size} tables`)
}

function refuseOthers({ schema, name }: Entry, taken: number, expected: number | undefined): void {
  if (taken !== expected) throw differs(`the server took ${taken} rows of ${schema}.${name} instead of ${expected}`)
}

function differs(how: string): JobError {
  return new JobError('verification', how, { hint: 'run the restore again, from another backup if it repeats' })
}

/** The largest tables, as their COPY names them, without partitioned ones: somebody else may have brought rows into those. */
async function plainTables(session: Session, { entries, rows }: Bringing): Promise<Set<string>> {
  const size = ({ id }: Entry) => rows.get(id) ?? 0
  const large = entries
    .filter((entry) => size(entry) >= manyRows)
    .sort((a, b) => size(b) - size(a))
    .slice(0, mostEmptied)
  const found = await session.rows<{ name: string }>(
    "SELECT name FROM unnest($1::text[]) AS name JOIN pg_class c ON c.oid = to_regclass(name) WHERE c.relkind = 'r'",
    [large.map(tableIn)],
  )
  return new Set(found.map((one) => one.name))
}

/** Rows of a table that was emptied in the same transaction can be written as VACUUM would leave them: it need not come for them later. */
async function beginCopy(session: Session, entry: Entry, plain: ReadonlySet<string>): Promise<Copying> {
  const table = tableIn(entry)
  if (table === undefined || !plain.has(table)) return session.copyIn(entry.copy)
  await session.execute(`TRUNCATE ONLY ${table}`)
  return session.copyIn(entry.copy.replace(/;\s*$/, ' WITH (FREEZE)'))
}
