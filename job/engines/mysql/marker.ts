import type { Marker, RequestRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Session, SqlError, withMysql } from '../../io/mysql.ts'
import { loginOf } from './server.ts'
import type { Target } from './values.ts'

const table = 'holdfast.restores'

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const markers = await withMysql(loginOf(run.target as Target, run), readMarkers, run)
  return markers.find(({ request }) => request === run.request)
}

export async function readMarkers(session: Session): Promise<Marker[]> {
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
    if (error instanceof SqlError && (error.errno === 1049 || error.errno === 1142 || error.errno === 1146)) return []
    throw error
  }
}

/** Half of a restore is no state to keep. Rejects with `busy`. */
export function refuseUnfinished(markers: readonly Marker[], server: string): void {
  const begun = markers.find(({ state }) => state === 'begun')
  if (!begun) return
  throw new JobError(
    'busy',
    `a restore into ${server} is at work or did not end, of backup ${begun.backupId} of plan ${begun.plan}`,
    { hint: `wait for it, or run it again; if what it left is as it should be, empty ${table}` },
  )
}

/** What came of a restore while `before` was backed up is half in it. Rejects with `busy`. */
export function refuseRestored(before: readonly Marker[], now: readonly Marker[], server: string): void {
  if (JSON.stringify(before) === JSON.stringify(now)) return
  throw new JobError('busy', `something was restored into ${server} during the backup`, {
    hint: 'run again when the restore is done',
    retryable: true,
  })
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
