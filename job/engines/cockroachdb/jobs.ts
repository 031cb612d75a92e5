import { setTimeout } from 'node:timers/promises'
import type { ExternalPlace, RunContext } from '../../engine.ts'
import { JobError, textOf } from '../../errors.ts'
import type { Login } from '../../io/connection.ts'
import { type Session, withCockroach } from './connection.ts'
import { placeUrl, type Statement } from './statements.ts'
import type { Source, Target } from './values.ts'

interface Connecting {
  run: Pick<RunContext, 'warn'>
  session: Session
  /** An identifier that needs no quotes. */
  name: string
  place: ExternalPlace
  values: Source | Target
}

/**
 * Keeps the address and the keys of the bucket in the database under a name for as long as `use` runs: statements, logs and the list of
 * jobs then show the name only.
 */
export async function withConnection<T>(
  { run, session, name, place, values }: Connecting,
  use: () => Promise<T>,
): Promise<T> {
  // what a killed run of the same id left; mostly there is none, and the database has no IF EXISTS for it
  await session.rows(`DROP EXTERNAL CONNECTION ${name}`).catch(() => {})
  await session.rows(`CREATE EXTERNAL CONNECTION ${name} AS $1`, [placeUrl(place, values)])
  try {
    return await use()
  } finally {
    await session.rows(`DROP EXTERNAL CONNECTION ${name}`).catch((error) => {
      run.warn(`external connection ${name} stays in the database, drop it: ${textOf(error)}`)
    })
  }
}

interface Carrying {
  run: Pick<RunContext, 'log' | 'signal'>
  session: Session
  login: Login
  what: string
  statement: Statement
}

const everyMs = 1000
const cancelMs = 30_000

interface State {
  status: string
  fraction: number | null
  error: string | null
}

/** Starts a job of the database and waits for its end; an abort cancels it. */
export async function carryOut({ run, session, login, what, statement }: Carrying): Promise<void> {
  const [started] = await session.rows<{ job_id: unknown }>(statement.sql, statement.values)
  const id = String(started?.job_id ?? '')
  if (!/^\d+$/.test(id)) throw new JobError('server', `CockroachDB ${login.server} started no job for the ${what}`)
  run.log.info({ job: id }, `${what} begun in the database`)
  let shown = 0
  try {
    for (;;) {
      run.signal.throwIfAborted()
      const { status, fraction, error } = await stateOf(session, id)
      if (status === 'succeeded') return
      refuseEnded({ id, what, status, error })
      if (Number(fraction ?? 0) >= shown + 0.1) {
        shown = Number(fraction)
        run.log.info({ job: id, percent: Math.round(100 * shown) }, `${what} in progress`)
      }
      await setTimeout(everyMs, undefined, { signal: run.signal }).catch(() => {})
    }
  } catch (error) {
    if (!isEnded(error))
      await cancel(login, id).catch((failed) => run.log.warn({ job: id, because: textOf(failed) }, 'not cancelled'))
    throw error
  }
}

async function stateOf(session: Session, id: string): Promise<State> {
  const rows = await session.rows<State>(`SELECT status, fraction_completed AS fraction, error FROM [SHOW JOB ${id}]`)
  if (rows[0]) return rows[0]
  throw new JobError('server', `the database does not know job ${id} any more`)
}

const over = ['failed', 'canceled', 'revert-failed']

function refuseEnded({
  id,
  what,
  status,
  error,
}: {
  id: string
  what: string
  status: string
  error: string | null
}): void {
  if (over.includes(status))
    throw new JobError('server', `the ${what} of CockroachDB ${status}: ${error ?? ''} (job ${id})`, { cause: ended })
  if (status.startsWith('pause')) {
    throw new JobError('server', `somebody paused job ${id}, the ${what}`, { hint: 'it is cancelled now: run again' })
  }
}

const ended = 'the job ended by itself'

function isEnded(error: unknown): boolean {
  return error instanceof JobError && error.cause === ended
}

/** On a connection of its own, for the other may be what broke; until the job is over, so that nobody writes any more. */
async function cancel(login: Login, id: string): Promise<void> {
  await withCockroach(login, async (session) => {
    await session.rows(`CANCEL JOB ${id}`)
    for (const until = Date.now() + cancelMs; Date.now() < until; await setTimeout(everyMs)) {
      const { status } = await stateOf(session, id)
      if (over.includes(status) || status === 'succeeded') return
    }
    throw new JobError('server', `job ${id} is being cancelled still`)
  })
}
