import type { Reader, TargetRun } from '../../engine.ts'
import { type Login, quoteName, type Session, SqlError, withMysql } from '../../io/mysql.ts'
import { createAccounts, grantAccounts, ourAccounts, readAccounts, setPasswords } from './accounts.ts'
import { sqlPart } from './fetch.ts'
import { mark } from './lock.ts'
import type { Progress } from './progress.ts'
import { onAll, openRestoring } from './restoring.ts'
import { createLocalTables, createObjects } from './schema.ts'
import { syncTables } from './sync.ts'
import type { Target } from './values.ts'

/** Drops what the plan says, and nothing else. NDB's handler drops tables of a database that MySQL has not seen yet, too. */
export async function clear(run: TargetRun, _: Reader, { detail }: Progress) {
  const { databases, tables } = detail.clears
  await onAll(detail.logins, run, async (session, first) => {
    await session.execute('SET SESSION sql_log_bin = 0')
    await session.execute('SET SESSION foreign_key_checks = 0')
    for (const database of databases) {
      if (first) await session.execute(`CREATE DATABASE IF NOT EXISTS ${quoteName(database)}`)
      await session.execute(`DROP DATABASE IF EXISTS ${quoteName(database)}`)
    }
    if (first) for (const table of tables) await dropTable(session, table)
  })
  run.log.info({ databases, tables }, 'replaced content dropped')
  return { dropped: databases.length + tables.length }
}

async function dropTable(session: Session, table: string): Promise<void> {
  const [database = '', ...name] = table.split('.')
  const quoted = `${quoteName(database)}.${quoteName(name.join('.'))}`
  await session.rows(`SELECT 1 FROM ${quoted} LIMIT 0`).catch((error) => {
    // opening a table that MySQL has not seen makes it known; one that is half made cannot be opened, but dropped
    if (!(error instanceof SqlError)) throw error
  })
  await session.execute(`DROP TABLE IF EXISTS ${quoted}`)
}

export async function sync(run: TargetRun, _: Reader, { detail }: Progress) {
  for (const login of detail.logins)
    await withMysql(login, (session) => syncTables(session, detail.selection.tables, run), run)
  return { servers: detail.logins.length }
}

/** The marker learns which accounts are ours before the first is made, so that a second run gives them their grants. */
export async function accounts(run: TargetRun, _: Reader, state: Progress) {
  const { detail } = state
  const plan = await readAccounts(sqlPart(state, 'users.sql'))
  for (const login of detail.logins) {
    const earlier = detail.creates.accounts[login.server] ?? []
    detail.creates.accounts[login.server] = await withMysql(
      login,
      (session) => ourAccounts({ plan, session, overwrite: run.overwrite, earlier }),
      run,
    )
  }
  await mark(run, { request: run.request, backupId: run.backupId, plan: run.plan, state: 'begun' })
  await onAll(detail.logins, run, async (session) => {
    const bytes = await openRestoring(detail.logins.find((login) => login.server === session.server) as Login, run, {
      bytes: true,
    })
    try {
      await createAccounts({ plan, session, bytes, run, ours: detail.creates.accounts[session.server] ?? [] })
    } finally {
      bytes.close()
    }
  })
  let overridden = 0
  for (const login of detail.logins)
    overridden = await withMysql(
      login,
      (session) => overridePasswords(session, { plan, passwords: detail.passwords }),
      run,
    )
  const made = detail.creates.accounts[detail.logins[0]?.server ?? '']?.length ?? 0
  return { accounts: plan.creates.length, made, passwords: overridden }
}

async function overridePasswords(
  session: Session,
  { plan, passwords }: { plan: Awaited<ReturnType<typeof readAccounts>>; passwords: Record<string, string> },
): Promise<number> {
  await session.execute('SET SESSION sql_log_bin = 0')
  return setPasswords({ plan, session, passwords })
}

/** Tables that are not NDB live in one MySQL server: the first. */
export async function local(run: TargetRun, _: Reader, state: Progress) {
  const { detail } = state
  const session = await openRestoring(detail.logins[0] as Login, run, { bytes: true })
  try {
    return {
      localTables: await createLocalTables({
        dump: sqlPart(state, 'local-tables.sql'),
        session,
        selection: detail.selection,
        run,
      }),
    }
  } finally {
    session.close()
  }
}

export async function objects(run: TargetRun, _: Reader, state: Progress) {
  const { detail } = state
  const { include, exclude } = run.target as Target
  const { localTables } = detail.facts
  const gaps = include !== undefined || exclude !== undefined || (localTables.names.length > 0 && !localTables.dumped)
  let counts: Record<string, number> = {}
  for (const login of detail.logins) {
    const session = await openRestoring(login, run, { bytes: true })
    try {
      const dump = sqlPart(state, 'databases.sql')
      counts = await createObjects({ dump, session, selection: detail.selection, gaps, run })
    } finally {
      session.close()
    }
  }
  return { objects: counts, servers: detail.logins.map((login) => login.server) }
}

export async function grants(run: TargetRun, _: Reader, state: Progress) {
  const { detail } = state
  const plan = await readAccounts(sqlPart(state, 'users.sql'))
  for (const login of detail.logins) {
    const bytes = await openRestoring(login, run, { bytes: true })
    try {
      await grantAccounts({ plan, bytes, run, ours: detail.creates.accounts[login.server] ?? [] })
    } finally {
      bytes.close()
    }
  }
  return {}
}
