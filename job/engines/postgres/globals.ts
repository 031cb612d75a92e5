import type { TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { roleNames, tablespaceNames } from './catalog.ts'
import { type Session, SqlError } from './server.ts'
import { nameAt, statementsIn } from './statements.ts'

/** One statement of globals.sql, and the roles or the tablespace that it is about. */
export interface Global {
  kind: 'role' | 'membership' | 'parameter' | 'tablespace'
  /** A membership names two: the role that is given, and who gets it. */
  names: string[]
  sql: string
}

const kinds: [RegExp, Global['kind']][] = [
  [/^(?:CREATE|ALTER|COMMENT ON) ROLE /, 'role'],
  [/^SECURITY LABEL FOR \S+ ON ROLE /, 'role'],
  [/^(?:GRANT|REVOKE) .+? ON PARAMETER \S+ (?:TO|FROM) /s, 'parameter'],
  [/^(?:CREATE|ALTER|COMMENT ON) TABLESPACE /, 'tablespace'],
  [/^SECURITY LABEL FOR \S+ ON TABLESPACE /, 'tablespace'],
  [/^(?:GRANT|REVOKE) .+? ON TABLESPACE /s, 'tablespace'],
  [/^GRANT /, 'membership'],
]

/** Pure. Throws `verification` for anything that pg_dumpall does not write. */
export function readGlobals(sql: string): Global[] {
  return statementsIn(sql, 'globals.sql')
    .filter(
      (statement) =>
        !/^SET (default_transaction_read_only|client_encoding|standard_conforming_strings) = /.test(statement),
    )
    .map(classify)
}

function classify(sql: string): Global {
  for (const [pattern, kind] of kinds) {
    const about = pattern.exec(sql)?.[0]
    if (about === undefined) continue
    const first = nameAt(sql.slice(about.length))
    if (!first) break
    if (kind !== 'membership') return { kind, names: [first.name], sql }
    const second = /^\s+TO\s/.test(first.rest) ? nameAt(first.rest.replace(/^\s+TO\s/, '')) : undefined
    if (second) return { kind, names: [first.name, second.name], sql }
    break
  }
  throw new JobError('verification', `globals.sql holds a statement that is not pg_dumpall's: ${sql.slice(0, 30)}…`, {
    hint: 'do not trust this backup: somebody changed it',
  })
}

/** Makes what is missing; what is there stays as it is. Roles all at once or not at all: a crash leaves none without its password. */
export async function createGlobals(
  session: Session,
  globals: Global[],
  { run, tablespaces }: { run: TargetRun; tablespaces: boolean },
): Promise<Record<string, unknown>> {
  const roles = await roleNames(session)
  const isNew = (name: string) => !roles.has(name)
  const ofRoles = globals.filter(({ kind, names }) => kind !== 'tablespace' && names.some(isNew))
  await session.execute('BEGIN')
  for (const { names, sql } of ofRoles) await session.execute(sql, `role ${names.join(' to ')}`)
  await session.execute('COMMIT')
  const made = ofRoles.filter(({ sql }) => sql.startsWith('CREATE ROLE'))
  const stayed = globals.filter(
    ({ kind, names, sql }) => kind === 'role' && sql.startsWith('CREATE') && !isNew(names[0] ?? ''),
  )
  const closed = made.filter(({ names }) => isClosed(globals, names[0] ?? '')).map(({ names }) => names[0])
  if (closed.length > 0)
    run.warn(`the backup has no password of ${closed.join(', ')}: whoever logs in by one cannot before it is set`)
  run.log.info({ made: made.length, stayed: stayed.length }, 'roles made')
  return {
    roles: made.length,
    stayed: stayed.length,
    tablespaces: tablespaces ? await createTablespaces(session, globals) : 0,
  }
}

/** It may log in, and nothing says with which password. */
function isClosed(globals: readonly Global[], role: string): boolean {
  const said = globals.filter(({ kind, names }) => kind === 'role' && names[0] === role).map(({ sql }) => sql)
  return said.some((sql) => / LOGIN\b/.test(sql)) && !said.some((sql) => / PASSWORD '/.test(sql))
}

async function createTablespaces(session: Session, globals: Global[]): Promise<number> {
  const there = await tablespaceNames(session)
  const missing = globals.filter(({ kind, names }) => kind === 'tablespace' && !there.has(names[0] ?? ''))
  for (const { names, sql } of missing) {
    await session.execute(sql, `tablespace ${names[0]}`).catch((error) => {
      if (!(error instanceof SqlError)) throw error
      throw new JobError('server', error.message, {
        hint: "create the folder of the tablespace for the server's user, or make the tablespace by hand elsewhere, or extraOptions: [--no-tablespaces]",
      })
    })
  }
  return missing.filter(({ sql }) => sql.startsWith('CREATE')).length
}
