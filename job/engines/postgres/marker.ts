import { z } from 'zod'
import type { Marker, RequestRun } from '../../engine.ts'
import { type Login, loginOf } from '../../io/connection.ts'
import { changedBy, forgetting, isUnfinished, type MarkerRow, markerOf, refuseUnfinished } from '../../io/restores.ts'
import { type Session, SqlError, withSession } from './server.ts'
import { ownSchema, type Target } from './values.ts'

/** The marker is a row in the database that the values name for logging in: it is there before, and stays when others are dropped. */
const table = `${ownSchema}.restores`

/** What a restore is going to make: after a crash only this may be dropped. */
export const Creates = z.object({
  /** In place: the database was there before, and is emptied instead of dropped. */
  databases: z.array(z.object({ name: z.string(), inPlace: z.boolean() })),
})
export type Creates = z.infer<typeof Creates>

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const target = run.target as Target
  const markers = await withSession(loginOf(target, run, run.at), target.database, readMarkers, run)
  return markers.find(({ request }) => request === run.request)
}

/** Only what restores into the databases that are backed up left is looked at. */
export async function refuseRestoring(session: Session, databases: string[], { server }: Login): Promise<void> {
  const touching = (await readMarkers(session)).filter(
    (marker) =>
      isUnfinished(marker) && Creates.parse(marker.creates).databases.some(({ name }) => databases.includes(name)),
  )
  refuseUnfinished(touching, server, forgetting(table))
}

export async function readMarkers(session: Session): Promise<Marker[]> {
  try {
    const rows = await session.rows<MarkerRow>(
      `SELECT request, backup_id::text AS backup_id, plan, state, creates FROM ${table} ORDER BY begun`,
    )
    return rows.map(markerOf)
  } catch (error) {
    if (error instanceof SqlError && ['42P01', '3F000', '42501'].includes(error.code)) return []
    throw error
  }
}

export async function writeMarker(session: Session, marker: Marker): Promise<void> {
  await session.execute(`CREATE SCHEMA IF NOT EXISTS ${ownSchema}`)
  await session.execute(
    `CREATE TABLE IF NOT EXISTS ${table} (
       request text PRIMARY KEY, plan text NOT NULL, backup_id bigint NOT NULL, state text NOT NULL, creates jsonb NOT NULL,
       begun timestamptz NOT NULL DEFAULT now(), finished timestamptz)`,
  )
  for (const one of changedBy(await readMarkers(session), marker)) {
    await session.rows(
      `INSERT INTO ${table} (request, plan, backup_id, state, creates, finished)
       VALUES ($1, $2, $3, $4, $5, CASE WHEN $4 = 'finished' THEN now() END)
       ON CONFLICT (request) DO UPDATE SET backup_id = excluded.backup_id, state = excluded.state, creates = excluded.creates,
         finished = excluded.finished`,
      [one.request, one.plan, one.backupId, one.state, JSON.stringify(one.creates)],
    )
  }
}
