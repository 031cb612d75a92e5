import type { Marker, TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { open, type Session } from '../../io/mysql.ts'
import { lockName, writeMarker } from './marker.ts'
import { detailOf } from './progress.ts'
import { recheck } from './target.ts'

/** The first mark takes the target's lock, which its MySQL servers free when this process is gone, and looks at the target again. */
export async function mark(run: TargetRun, marker: Omit<Marker, 'creates'>): Promise<void> {
  const sessions = locks.get(run) ?? (await lock(run))
  await writeMarker(sessions[0] as Session, { ...marker, creates: detailOf(run).creates })
}

export function unlock(run: TargetRun): void {
  for (const session of locks.get(run) ?? []) session.close()
}

const locks = new WeakMap<object, Session[]>()

/** On every MySQL server that the target names: another restore may have come by another one. */
async function lock(run: TargetRun): Promise<Session[]> {
  const sessions: Session[] = []
  locks.set(run, sessions)
  for (const login of detailOf(run).logins) {
    const session = await open(login, { signal: run.signal })
    sessions.push(session)
    // the session idles as long as the rows are restored
    await session.execute('SET SESSION wait_timeout = 2147483')
    const [row] = await session.rows<{ taken: string | null }>(`SELECT GET_LOCK('${lockName}', 0) AS taken`)
    if (Number(row?.taken) === 1) continue
    for (const one of sessions) one.close()
    throw new JobError('busy', `another restore into ${session.server} is running`, {
      hint: 'wait for it; it keeps its lock only as long as it lives',
    })
  }
  await recheck(run)
  return sessions
}
