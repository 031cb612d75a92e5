import type { Marker, RequestRun } from '../../engine.ts'
import { type Session, SqlError, withMysql } from '../../io/mysql.ts'
import { loginOf } from './server.ts'
import type { Target } from './values.ts'

const table = 'holdfast.restores'

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const markers = await withMysql(loginOf(run.target as Target, run), readMarkers, run)
  return markers.find(({ request }) => request === run.request)
}

async function readMarkers(session: Session): Promise<Marker[]> {
  try {
    const rows = await session.rows<Record<'request' | 'backup_id' | 'plan' | 'state' | 'creates', string>>(
      `SELECT request, backup_id, plan, state, creates FROM ${table} ORDER BY begun`,
    )
    return rows.map((row) => ({
      request: row.request,
      backupId: row.backup_id,
      plan: row.plan,
      state: row.state === 'finished' ? 'finished' : 'begun',
      creates: JSON.parse(row.creates),
    }))
  } catch (error) {
    if (error instanceof SqlError && (error.errno === 1049 || error.errno === 1146)) return []
    throw error
  }
}

/** Writing `begun` is the first change to a target. What other requests brought is not to be relied on from then on: their rows go. */
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
     ON DUPLICATE KEY UPDATE state = VALUES(state), creates = VALUES(creates), finished = VALUES(finished)`,
    [marker.request, marker.plan, marker.backupId, marker.state, JSON.stringify(marker.creates), marker.state],
  )
  if (marker.state === 'begun') await session.rows(`DELETE FROM ${table} WHERE request <> ?`, [marker.request])
}
