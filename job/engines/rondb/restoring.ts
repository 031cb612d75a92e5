import type { TargetRun } from '../../engine.ts'
import { type Login, open, type Session } from '../../io/mysql.ts'

/** Nothing of a restore goes into the target's binary log: it must not flow on to other clusters. */
export async function openRestoring(login: Login, run: TargetRun, options: { bytes: boolean }): Promise<Session> {
  const session = await open(login, { ...options, signal: run.signal })
  // bytes of a dump are UTF-8 until the dump says otherwise
  await session.execute('SET NAMES utf8mb4')
  await session.execute('SET SESSION sql_log_bin = 0')
  await session.execute('SET SESSION foreign_key_checks = 0')
  return session
}

export async function onAll(
  logins: Login[],
  run: TargetRun,
  use: (session: Session, first: boolean) => Promise<void>,
): Promise<void> {
  for (const [i, login] of logins.entries()) {
    const session = await openRestoring(login, run, { bytes: false })
    try {
      await use(session, i === 0)
    } finally {
      session.close()
    }
  }
}
