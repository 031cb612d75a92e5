import type { Marker, RequestRun } from '../../engine.ts'
import { type Session, SqlError, withMysql } from '../../io/mysql.ts'
import { type MarkerRow, markerOf, refuseUnfinished as refuse } from '../../io/restores.ts'
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
  refuse(markers, server, `empty ${table}`)
}

export async function writeMarker(session: Session, marker: Marker): Promise<void> {
  await session.execute('CREATE DATABASE IF NOT EXISTS holdfast')
  await session.execute(
    `CREATE TABLE IF NOT EXISTS ${table} (
       request CHAR(64) CHARACTER SET ascii NOT NULL PRIMARY KEY, plan VARCHAR(63) NOT NULL, backup_id BIGINT UNSIGNED NOT NULL,
       state VARCHAR(10) NOT NULL, creates LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
       begun TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, finished TIMESTAMP NULL) ENGINE = InnoDB`,
  )
  await session.rows(
    `INSERT INTO ${table} (request, plan, backup_id, state, creates, finished) VALUES (?, ?, ?, ?, ?, IF(? = 'finished', CURRENT_TIMESTAMP, NULL))
     ON DUPLICATE KEY UPDATE begun = IF(backup_id = VALUES(backup_id), begun, CURRENT_TIMESTAMP), backup_id = VALUES(backup_id),
       state = VALUES(state), creates = VALUES(creates), finished = VALUES(finished)`,
    [marker.request, marker.plan, marker.backupId, marker.state, JSON.stringify(marker.creates), marker.state],
  )
  if (marker.state !== 'begun') return
  await session.rows(`DELETE FROM ${table} WHERE request <> ? AND state = 'begun'`, [marker.request])
  await session.rows(`UPDATE ${table} SET state = 'replaced' WHERE request <> ?`, [marker.request])
}
