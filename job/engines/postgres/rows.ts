import type { Readable } from 'node:stream'
import { JobError } from '../../errors.ts'
import { rowsIn } from './archive.ts'
import { notOfExtension } from './catalog.ts'
import { type Entry, encodingOf, qualified } from './contents.ts'
import type { Copying, Session } from './server.ts'

/**
 * The rows of an archive through sessions of the job's own. pg_restore reads an uncompressed archive row by row and sends each as a message of
 * its own; here they go to the server in pieces of a megabyte.
 */

/** What pg_restore sets, beside what every session of ours has. */
const settings = 'SET row_security = off; SET xmloption = content'

/** From PostgreSQL 17 on there is another limit of time. */
const noLimit = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'"

/** From so many rows on a table is worth some statements of its own. */
export const manyRows = 100_000

/** Entries that say how the session is set. */
const ofSession = new Set(['ENCODING', 'STDSTRINGS', 'SEARCHPATH'])

/** Pure: the archive has tables' rows and the stands of sequences, and nothing else, in the encoding that our sessions speak. */
export function isPlain(entries: readonly Entry[]): boolean {
  return encodingOf(entries) === 'UTF8' && entries.every((entry) => isOfRows(entry) || isOfDatabase(entry))
}

function isOfRows({ kind, copy }: Entry): boolean {
  return kind === 'TABLE DATA' ? copy !== '' : kind === 'SEQUENCE SET' || ofSession.has(kind)
}

const saidOfDatabases = new Set(['ACL', 'COMMENT', 'SECURITY LABEL'])

/** Every archive has what makes its database. pg_restore passes over it, too. */
function isOfDatabase({ kind, name }: Entry): boolean {
  return kind.startsWith('DATABASE') || (saidOfDatabases.has(kind) && name.startsWith('DATABASE '))
}

interface Bringing {
  archive: Readable
  name: string
  /** The entries of the archive that are wanted. */
  entries: readonly Entry[]
  /** Rows by the id of a `TABLE DATA` entry. */
  rows: ReadonlyMap<number, number>
}

/** Brings all of it or, when it fails, nothing. The server must say of each table that it took as many rows as were backed up. */
export async function bringRows(session: Session, bringing: Bringing): Promise<void> {
  const run = async (kinds: ReadonlySet<string>) => {
    for (const { kind, sql, name } of bringing.entries)
      if (kinds.has(kind)) await session.execute(sql, `${kind} ${name}`)
  }
  await session.execute(settings)
  await session.rows(noLimit)
  await run(ofSession)
  await session.execute('BEGIN')
  await copyRows(session, bringing)
  await run(new Set(['SEQUENCE SET']))
  await session.execute('COMMIT')
}

async function copyRows(session: Session, bringing: Bringing): Promise<void> {
  const { archive, name, entries, rows } = bringing
  const wanted = new Set(entries.map(({ id }) => id))
  const fresh = await freshTables(session, bringing)
  let copying: Copying | undefined
  for await (const { entry, bytes, last } of rowsIn(archive, name)) {
    if (!wanted.has(entry.id)) continue
    copying ??= await beginCopy(session, entry, fresh)
    await copying.write(bytes)
    if (!last) continue
    const [taken, expected] = [await copying.end(), rows.get(entry.id)]
    if (taken !== expected)
      throw new JobError(
        'verification',
        `the server took ${taken} rows of ${entry.schema}.${entry.name} instead of ${expected}`,
        { hint: 'run the restore again, from another backup if it repeats' },
      )
    copying = undefined
  }
}

/**
 * Large tables that nobody else has brought rows into, as their COPY names them: neither those of extensions nor partitioned ones. The others
 * are not worth the three locks that TRUNCATE takes: a server has no more than some thousands.
 */
async function freshTables(session: Session, { entries, rows }: Bringing): Promise<Set<string>> {
  const large = entries.filter(({ id }) => (rows.get(id) ?? 0) >= manyRows).map(tableIn)
  const found = await session.rows<{ name: string }>(
    `SELECT name FROM unnest($1::text[]) AS name JOIN pg_class c ON c.oid = to_regclass(name)
      WHERE c.relkind = 'r' AND ${notOfExtension('c.oid', 'pg_class')}`,
    [large],
  )
  return new Set(found.map((one) => one.name))
}

/** Rows of a table that was emptied in the same transaction can be written as VACUUM would leave them: it need not come for them later. */
async function beginCopy(session: Session, entry: Entry, fresh: ReadonlySet<string>): Promise<Copying> {
  const table = tableIn(entry)
  if (!fresh.has(table)) return session.copyIn(entry.copy)
  await session.execute(`TRUNCATE ONLY ${table}`)
  return session.copyIn(entry.copy.replace(/;\s*$/, ' WITH (FREEZE)'))
}

/** `COPY shop.orders (id, customer) FROM stdin;` */
function tableIn({ copy }: Entry): string {
  return copyInto.exec(copy)?.[1] ?? ''
}

const copyInto = new RegExp(`^COPY (${qualified}) `)
