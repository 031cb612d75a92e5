import { z } from 'zod'
import type { Marker, RequestRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Login, loginOf, type Session, SqlError, withSession } from './server.ts'
import { ownSchema, type Target } from './values.ts'

/** The marker is a row in the database that the values name for logging in: it is there before, and stays when others are dropped. */
const table = `${ownSchema}.restores`

/** What a restore is going to make: after a crash only this may be dropped. */
export const Creates = z.object({
  /** In place: the database was there before, and is emptied instead of dropped. */
  databases: z.array(z.object({ name: z.string(), inPlace: z.boolean() })),
})
export type Creates = z.infer<typeof Creates>

/** A finished restore whose databases are gone is none. */
export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const target = run.target as Target
  return withSession(
    loginOf(target, run, run.at),
    target.database,
    async (session) => {
      const marker = (await readMarkers(session)).find(({ request }) => request === run.request)
      if (marker?.state !== 'finished') return marker
      const rows = await session.rows<{ name: string }>('SELECT datname AS name FROM pg_database')
      const there = new Set(rows.map((row) => row.name))
      return Creates.parse(marker.creates).databases.every(({ name }) => there.has(name)) ? marker : undefined
    },
    run,
  )
}

/** Half of a restore must not become a good backup. */
export async function refuseRestoring(session: Session, databases: string[], { server }: Login): Promise<void> {
  const begun = (await readMarkers(session)).find(
    ({ state, creates }) =>
      state === 'begun' && Creates.parse(creates).databases.some(({ name }) => databases.includes(name)),
  )
  if (!begun) return
  throw new JobError(
    'busy',
    `a restore into ${server} is at work or did not end, of backup ${begun.backupId} of plan ${begun.plan}`,
    {
      hint: `wait for it, or run it again; if what it left is as it should be: DELETE FROM ${table}`,
    },
  )
}

export async function readMarkers(session: Session): Promise<Marker[]> {
  try {
    const rows = await session.rows<{
      request: string
      backup_id: string
      plan: string
      state: string
      creates: unknown
    }>(`SELECT request, backup_id::text AS backup_id, plan, state, creates FROM ${table} ORDER BY begun`)
    return rows.map((row) => ({
      request: row.request,
      backupId: row.backup_id,
      plan: row.plan,
      state: row.state === 'finished' ? 'finished' : 'begun',
      creates: row.creates,
    }))
  } catch (error) {
    if (error instanceof SqlError && ['42P01', '3F000', '42501'].includes(error.code)) return []
    throw error
  }
}

/** Writing `begun` is the first change to a target. What other requests brought is not to be relied on from then on: their rows go. */
export async function writeMarker(session: Session, marker: Marker): Promise<void> {
  await session.execute(`CREATE SCHEMA IF NOT EXISTS ${ownSchema}`)
  await session.execute(
    `CREATE TABLE IF NOT EXISTS ${table} (
       request text PRIMARY KEY, plan text NOT NULL, backup_id bigint NOT NULL, state text NOT NULL, creates jsonb NOT NULL,
       begun timestamptz NOT NULL DEFAULT now(), finished timestamptz)`,
  )
  await session.rows(
    `INSERT INTO ${table} (request, plan, backup_id, state, creates, finished)
     VALUES ($1, $2, $3, $4, $5, CASE WHEN $4 = 'finished' THEN now() END)
     ON CONFLICT (request) DO UPDATE SET backup_id = excluded.backup_id, state = excluded.state, creates = excluded.creates,
       finished = excluded.finished`,
    [marker.request, marker.plan, marker.backupId, marker.state, JSON.stringify(marker.creates)],
  )
  if (marker.state === 'begun') await session.rows(`DELETE FROM ${table} WHERE request <> $1`, [marker.request])
}
