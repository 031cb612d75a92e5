import { z } from 'zod'
import type { Marker, RequestRun } from '../../engine.ts'
import { loginOf } from '../../io/connection.ts'
import { changedBy, forgetting, type MarkerRow, markerOf, refuseUnfinished as refuse } from '../../io/restores.ts'
import { type Session, withCockroach } from './connection.ts'
import type { Target } from './values.ts'

const table = 'holdfast.public.restores'

export const Creates = z.array(z.string()).catch([])

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const login = loginOf(run.target as Target, run, run.at)
  const markers = await withCockroach(login, readMarkers)
  return markers.find(({ request }) => request === run.request)
}

export async function readMarkers(session: Session): Promise<Marker[]> {
  const there = await session.rows(`SELECT database_name FROM [SHOW DATABASES] WHERE database_name = 'holdfast'`)
  if (there.length === 0) return []
  const rows = await session
    .rows<MarkerRow>(`SELECT request, backup_id, plan, state, creates FROM ${table}`)
    .catch((error) => {
      // a crash came between the database and its table
      if ((error as { code?: unknown }).code === '42P01') return []
      throw error
    })
  return rows.map(markerOf)
}

async function makeTable(session: Session): Promise<void> {
  await session.rows(
    `CREATE TABLE IF NOT EXISTS ${table} (
       request STRING PRIMARY KEY, backup_id STRING NOT NULL, plan STRING NOT NULL, state STRING NOT NULL, creates STRING NOT NULL,
       changed TIMESTAMPTZ NOT NULL DEFAULT now())`,
  )
}

export function refuseUnfinished(markers: Marker[], server: string): void {
  refuse(markers, server, forgetting(table))
}

export async function writeMarker(session: Session, marker: Marker): Promise<void> {
  await session.rows('CREATE DATABASE IF NOT EXISTS holdfast')
  await makeTable(session)
  for (const { request, backupId, plan, state, creates } of changedBy(await readMarkers(session), marker))
    await session.rows(`UPSERT INTO ${table} (request, backup_id, plan, state, creates) VALUES ($1, $2, $3, $4, $5)`, [
      request,
      backupId,
      plan,
      state,
      JSON.stringify(creates),
    ])
}
