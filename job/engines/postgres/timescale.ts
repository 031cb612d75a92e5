import { JobError } from '../../errors.ts'
import type { ExtensionRow } from './catalog.ts'
import type { DatabaseFacts } from './facts.ts'
import { quoteName, quoteText, type Session } from './server.ts'

/** TimescaleDB keeps its own catalog in tables of an extension: what a restore has to do for it, in its words. */

export const timescaledb = 'timescaledb'

/** What it holds at this moment; null when the database does without. */
export async function timescaleOf(session: Session, extensions: ExtensionRow[]): Promise<DatabaseFacts['timescaledb']> {
  const extension = extensions.find((one) => one.name === timescaledb)
  if (!extension) return null
  const [row] = await session.rows<{ hypertables: number; chunks: number }>(
    `SELECT (SELECT count(*) FROM timescaledb_information.hypertables)::int AS hypertables,
            (SELECT count(*) FROM timescaledb_information.chunks)::int AS chunks`,
  )
  return { version: extension.version, ...(row as { hypertables: number; chunks: number }) }
}

/** In the first session of a database: the library of another version must not have been loaded. */
export async function createExtension(session: Session, { version, schema }: ExtensionRow): Promise<void> {
  await session.execute(
    `CREATE EXTENSION ${timescaledb} WITH SCHEMA ${quoteName(schema)} VERSION ${quoteText(version)} CASCADE`,
  )
}

/** From now on it neither runs jobs nor minds what is done to its tables. */
export async function preRestore(session: Session): Promise<void> {
  await session.rows(`SELECT ${await schemaOf(session)}.timescaledb_pre_restore()`)
}

export async function postRestore(session: Session): Promise<void> {
  await session.rows(`SELECT ${await schemaOf(session)}.timescaledb_post_restore()`)
}

async function schemaOf(session: Session): Promise<string> {
  const [row] = await session.rows<{ schema: string }>(
    `SELECT quote_ident(n.nspname) AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = '${timescaledb}'`,
  )
  if (row) return row.schema
  throw new JobError('server', 'the database has no extension timescaledb any more')
}
