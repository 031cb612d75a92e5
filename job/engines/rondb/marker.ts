import type { Marker, RequestRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { globalPrivileges, holds, type Login, type Session, withMysql } from '../../io/mysql.ts'
import { readMarkers as markersOf, markerTable, saveMarker } from '../../io/mysql-markers.ts'
import { forgetting, isUnfinished, statesOf } from '../../io/restores.ts'
import { loginsOf } from './mysql.ts'
import type { Target } from './values.ts'

/** Taken on every MySQL server of a target for as long as its restore lives. */
export const lockName = 'holdfast.restore'

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const [login] = loginsOf((run.target as Target).mysql, run, run.at) as [Login]
  return withMysql(
    login,
    async (session) => {
      await refuseWeak(session, login)
      return (await readMarkers(session)).find((marker) => marker.request === run.request)
    },
    run,
  )
}

const needed = [
  'SELECT',
  'INSERT',
  'CREATE',
  'DROP',
  'CREATE VIEW',
  'CREATE ROUTINE',
  'ALTER ROUTINE',
  'TRIGGER',
  'EVENT',
  'CREATE USER',
  'SYSTEM_VARIABLES_ADMIN',
]

async function refuseWeak(session: Session, login: Login): Promise<void> {
  const held = await globalPrivileges(session)
  const missing = needed.filter((privilege) => !holds(held, privilege))
  if (missing.length === 0) return
  throw new JobError('server', `account ${login.user} on MySQL server ${login.server} lacks ${missing.join(', ')}`, {
    hint: 'a restore makes databases, accounts and grants: it needs ALL PRIVILEGES WITH GRANT OPTION (docs/engines/rondb.md)',
  })
}

/**
 * What restores left in a cluster that is backed up, as text to compare with another time. Half a restore is no backup: rejects with
 * `busy` while one is at work, or when one did not end.
 */
export async function restoresIn(session: Session): Promise<string> {
  const markers = await readMarkers(session)
  const [lock] = await session.rows<{ holder: string | null }>(`SELECT IS_USED_LOCK('${lockName}') AS holder`)
  const begun = markers.find(isUnfinished)
  if (!begun && lock?.holder == null) return statesOf(markers)
  const which = begun ? `backup ${begun.backupId} of plan ${begun.plan}` : 'a backup'
  if (lock?.holder == null) {
    throw new JobError('busy', `the restore of ${which} into this cluster is unfinished`, {
      hint: `run the same restore again, which completes it; or, to keep what is there, ${forgetting(markerTable)}`,
    })
  }
  throw new JobError('busy', `${which} is being restored into this cluster`, { hint: 'run again when that is done' })
}

/** No database, no table. */
const absent = [1049, 1146]

export function readMarkers(session: Session): Promise<Marker[]> {
  return markersOf(session, absent)
}

/** Into an NDB table, so that every MySQL server of the target sees it. */
export async function writeMarker(session: Session, marker: Marker): Promise<void> {
  await session.execute('SET SESSION sql_log_bin = 0')
  await session.execute('CREATE DATABASE IF NOT EXISTS holdfast')
  await session.execute(
    `CREATE TABLE IF NOT EXISTS ${markerTable} (
       request CHAR(64) CHARACTER SET ascii NOT NULL PRIMARY KEY, plan VARCHAR(63) NOT NULL, backup_id BIGINT UNSIGNED NOT NULL,
       state VARCHAR(10) NOT NULL, creates MEDIUMTEXT NOT NULL,
       begun TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, finished TIMESTAMP NULL) ENGINE = NDBCLUSTER`,
  )
  await saveMarker(session, await readMarkers(session), marker)
}
