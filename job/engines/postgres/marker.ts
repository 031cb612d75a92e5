import { z } from 'zod'
import type { Marker } from '../../engine.ts'
import { type Session, SqlError } from './server.ts'
import { ownSchema } from './values.ts'

/** The marker is a row in the database that the values name for logging in: it is there before, and stays when others are dropped. */
const table = `${ownSchema}.restores`

/** What a restore is going to make: after a crash only this may be dropped. */
export const Creates = z.object({
  /** In place: the database was there before, and is emptied instead of dropped. */
  databases: z.array(z.object({ name: z.string(), inPlace: z.boolean() })),
})
export type Creates = z.infer<typeof Creates>

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
    if (error instanceof SqlError && (error.code === '42P01' || error.code === '3F000')) return []
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
     ON CONFLICT (request) DO UPDATE SET state = excluded.state, creates = excluded.creates, finished = excluded.finished`,
    [marker.request, marker.plan, marker.backupId, marker.state, JSON.stringify(marker.creates)],
  )
  if (marker.state === 'begun') await session.rows(`DELETE FROM ${table} WHERE request <> $1`, [marker.request])
}
