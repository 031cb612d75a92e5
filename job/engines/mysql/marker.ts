import type { Marker, RequestRun } from '../../engine.ts'
import { type Session, withMysql } from '../../io/mysql.ts'
import { readMarkers as markersOf, markerTable, saveMarker } from '../../io/mysql-markers.ts'
import { forgetting, refuseUnfinished as refuse } from '../../io/restores.ts'
import { loginOf } from './server.ts'
import type { Target } from './values.ts'

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const markers = await withMysql(loginOf(run.target as Target, run), readMarkers, run)
  return markers.find(({ request }) => request === run.request)
}

/** No database, no table, or no privilege to read either. */
const absent = [1049, 1142, 1146]

export function readMarkers(session: Session): Promise<Marker[]> {
  return markersOf(session, absent)
}

export function refuseUnfinished(markers: readonly Marker[], server: string): void {
  refuse(markers, server, forgetting(markerTable))
}

export async function writeMarker(session: Session, marker: Marker): Promise<void> {
  await session.execute('CREATE DATABASE IF NOT EXISTS holdfast')
  await session.execute(
    `CREATE TABLE IF NOT EXISTS ${markerTable} (
       request CHAR(64) CHARACTER SET ascii NOT NULL PRIMARY KEY, plan VARCHAR(63) NOT NULL, backup_id BIGINT UNSIGNED NOT NULL,
       state VARCHAR(10) NOT NULL, creates LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
       begun TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, finished TIMESTAMP NULL) ENGINE = InnoDB`,
  )
  await saveMarker(session, await readMarkers(session), marker)
}
