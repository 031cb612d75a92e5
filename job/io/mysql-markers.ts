import type { Marker } from '../engine.ts'
import { type Session, SqlError } from './mysql.ts'
import { changedBy, type MarkerRow, markerOf } from './restores.ts'

/** The markers of a target are rows of a table that its engine makes, with the columns that are named here. */
export const markerTable = 'holdfast.restores'

/** All of them, oldest first: that of another request may say that its restore is unfinished. `absent`: numbers of errors that mean none. */
export async function readMarkers(session: Session, absent: readonly number[]): Promise<Marker[]> {
  try {
    const rows = await session.rows<MarkerRow>(
      `SELECT request, CAST(backup_id AS CHAR) AS backup_id, plan, state, creates FROM ${markerTable} ORDER BY begun`,
    )
    return rows.map(markerOf)
  } catch (error) {
    if (error instanceof SqlError && absent.includes(error.errno)) return []
    throw error
  }
}

/** The table is there. */
export async function saveMarker(session: Session, markers: readonly Marker[], marker: Marker): Promise<void> {
  for (const one of changedBy(markers, marker)) {
    await session.rows(
      `INSERT INTO ${markerTable} (request, plan, backup_id, state, creates, finished) VALUES (?, ?, ?, ?, ?, IF(? = 'finished', CURRENT_TIMESTAMP, NULL))
       ON DUPLICATE KEY UPDATE begun = IF(backup_id = VALUES(backup_id), begun, CURRENT_TIMESTAMP), backup_id = VALUES(backup_id),
         state = VALUES(state), creates = VALUES(creates), finished = VALUES(finished)`,
      [one.request, one.plan, one.backupId, one.state, JSON.stringify(one.creates), one.state],
    )
  }
}
