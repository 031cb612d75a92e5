import type { Marker, RequestRun } from '../../engine.ts'
import { type Session, SqlError, withMysql } from '../../io/mysql.ts'
import { changedBy, forgetting, type MarkerRow, markerOf, refuseUnfinished as refuse } from '../../io/restores.ts'
import { loginOf } from './server.ts'
import type { Target } from './values.ts'

const table = 'holdfast.restores'

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const markers = await withMysql(loginOf(run.target as Target, run), readMarkers, run)
  return markers.find(({ request }) => request === run.request)
}

export async function readMarkers(session: Session): Promise<Marker[]> {
  try {
    const rows = await session.rows<MarkerRow>(
      `SELECT request, CAST(backup_id AS CHAR) AS backup_id, plan, state, creates FROM ${table} ORDER BY begun`,
    )
    return rows.map(markerOf)
  } catch (error) {
    if (error instanceof SqlError && (error.errno === 1049 || error.errno === 1142 || error.errno === 1146)) return []
    throw error
  }
}

export function refuseUnfinished(markers: readonly Marker[], server: string): void {
  refuse(markers, server, forgetting(table))
}

export async function writeMarker(session: Session, marker: Marker): Promise<void> {
  await session.execute('CREATE DATABASE IF NOT EXISTS holdfast')
  await session.execute(
    `CREATE TABLE IF NOT EXISTS ${table} (
       request CHAR(64) CHARACTER SET ascii NOT NULL PRIMARY KEY, plan VARCHAR(63) NOT NULL, backup_id BIGINT UNSIGNED NOT NULL,
       state VARCHAR(10) NOT NULL, creates LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
       begun TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, finished TIMESTAMP NULL) ENGINE = InnoDB`,
  )
  for (const one of changedBy(await readMarkers(session), marker)) {
    await session.rows(
      `INSERT INTO ${table} (request, plan, backup_id, state, creates, finished) VALUES (?, ?, ?, ?, ?, IF(? = 'finished', CURRENT_TIMESTAMP, NULL))
       ON DUPLICATE KEY UPDATE begun = IF(backup_id = VALUES(backup_id), begun, CURRENT_TIMESTAMP), backup_id = VALUES(backup_id),
         state = VALUES(state), creates = VALUES(creates), finished = VALUES(finished)`,
      [one.request, one.plan, one.backupId, one.state, JSON.stringify(one.creates), one.state],
    )
  }
}
