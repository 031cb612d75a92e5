import type { Readable } from 'node:stream'
import type { RunContext } from '../../engine.ts'
import { quoteName, type Session, SqlError } from '../../io/mysql.ts'
import type { Selection } from './selection.ts'
import { bare, statements } from './statements.ts'

/** What a statement of databases.sql makes. */
export type Kind =
  | 'database'
  | 'alter'
  | 'use'
  | 'table'
  | 'view'
  | 'trigger'
  | 'routine'
  | 'event'
  | 'session'
  | 'data'
  | 'server'

export interface Statement {
  kind: Kind
  name: string
  /** The table of a trigger. */
  table?: string
  /** FUNCTION or PROCEDURE. */
  routine?: string
}

const identifier = '`(?:[^`]|``)+`|"(?:[^"]|"")+"'
const name = `(?<name>${identifier})`
const definer = `(?:DEFINER\\s*=\\s*(?:${identifier}|\\S+)@(?:${identifier}|\\S+) )?`
const shapes: [Kind, RegExp][] = [
  ['database', shape(`CREATE DATABASE (?:IF NOT EXISTS )?${name}`)],
  ['alter', shape(`ALTER DATABASE ${name}`)],
  ['use', shape(`USE ${name}`)],
  ['table', shape(`(?:CREATE|DROP) TABLE (?:IF (?:NOT )?EXISTS )?${name}`)],
  ['trigger', shape(`CREATE ${definer}TRIGGER (?:IF NOT EXISTS )?${name}[\\s\\S]*? ON (?<table>${identifier})`)],
  ['routine', shape(`CREATE ${definer}(?<routine>FUNCTION|PROCEDURE) (?:IF NOT EXISTS )?${name}`)],
  ['event', shape(`CREATE ${definer}EVENT (?:IF NOT EXISTS )?${name}`)],
  [
    'view',
    shape(
      `(?:CREATE|DROP) (?:OR REPLACE )?(?:ALGORITHM\\s*=\\s*\\w+ )?${definer}(?:SQL SECURITY \\w+ )?VIEW (?:IF EXISTS )?${name}`,
    ),
  ],
  ['data', shape(`(?:INSERT|REPLACE|LOCK TABLES|UNLOCK TABLES|ALTER TABLE)\\b(?: (?:IGNORE )?(?:INTO )?${name})?`)],
  ['server', shape('(?:SET @@GLOBAL\\.|(?:CREATE|ALTER) (?:UNDO )?(?:TABLESPACE|LOGFILE GROUP))')],
]

/** A space stands for any white space; names keep theirs. */
function shape(text: string): RegExp {
  return new RegExp(`^${text.replaceAll(' ', '\\s+')}`, 'i')
}

/** Pure: what a statement is about. What is none of the shapes sets something up in the session. */
export function classify(statement: string): Statement {
  const text = bare(statement)
  for (const [kind, shape] of shapes) {
    const found = shape.exec(text)
    if (!found) continue
    const { name = '', table, routine } = found.groups ?? {}
    return {
      kind,
      name: unquote(name),
      ...(table === undefined ? {} : { table: unquote(table) }),
      ...(routine === undefined ? {} : { routine: routine.toUpperCase() }),
    }
  }
  return { kind: 'session', name: '' }
}

function unquote(name: string): string {
  const quote = name.charAt(0)
  return name.slice(1, -1).replaceAll(quote + quote, quote)
}

/** Makes the databases of the selection, with their character sets, before NDB's tables make them without. */
export async function createDatabases(dump: Readable, sessions: Session[], chosen: string[]): Promise<void> {
  const made = new Set<string>()
  for await (const statement of statements(dump)) {
    const { kind, name } = classify(statement)
    const database = decode(name)
    if (kind !== 'database' || !chosen.includes(database)) continue
    made.add(database)
    for (const session of sessions) await session.execute(statement, `CREATE DATABASE ${database}`)
  }
  // one that was made between the dump and the native backup
  for (const database of chosen.filter((one) => !made.has(one))) {
    for (const session of sessions)
      await session.execute(encode(`CREATE DATABASE IF NOT EXISTS ${quoteName(database)}`))
  }
}

interface Apply {
  dump: Readable
  session: Session
  selection: Selection
  /** True when tables that objects may use are not in the backup, or not chosen: then such an object is left out with a warning. */
  gaps: boolean
  run: Pick<RunContext, 'signal' | 'warn'>
}

/** Views, routines, triggers and events of the selection, on one MySQL server. Tables are there already. */
export async function createObjects({ dump, session, selection, gaps, run }: Apply): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  let database = ''
  for await (const statement of statements(dump)) {
    run.signal.throwIfAborted()
    const what = classify(statement)
    if (what.kind === 'use') database = decode(what.name)
    if (!wanted(what, database, selection)) continue
    await dropFormer(session, what)
    try {
      await session.execute(statement, `${what.kind} ${database}.${decode(what.name)}`)
    } catch (error) {
      if (!(gaps && isAbsence(error, what))) throw error
      run.warn(`${what.kind} ${database}.${decode(what.name)} was left out: ${(error as Error).message}`)
      continue
    }
    // a view comes twice: first as a placeholder for other views
    if (isObject(what.kind) && !/^CREATE VIEW/.test(bare(statement)) && !/^DROP/i.test(bare(statement)))
      counts[what.kind] = (counts[what.kind] ?? 0) + 1
  }
  return counts
}

function wanted(what: Statement, database: string, { tables, objects }: Selection): boolean {
  if (what.kind === 'database' || what.kind === 'table' || what.kind === 'data' || what.kind === 'server') return false
  if (what.kind === 'use' || what.kind === 'alter')
    return tables.some((table) => table.database === database) || objects.includes(database)
  if (what.kind === 'session') return true
  if (what.kind === 'trigger') {
    const table = decode(what.table ?? '')
    return tables.some((one) => one.database === database && one.name === table)
  }
  return objects.includes(database)
}

function isObject(kind: Kind): boolean {
  return kind === 'view' || kind === 'trigger' || kind === 'routine' || kind === 'event'
}

/** The target may hold one from before: a restore that is run again must not stop at it. */
async function dropFormer(session: Session, { kind, name, routine }: Statement): Promise<void> {
  const sort = { routine, trigger: 'TRIGGER', event: 'EVENT', view: 'VIEW' }[kind as string]
  if (sort) await session.execute(`DROP ${sort} IF EXISTS \`${name.replaceAll('`', '``')}\``)
}

const absent = new Set([1109, 1146, 1305, 1356, 1360])

/** A view or a routine may use a table that the request leaves out. */
function isAbsence(error: unknown, what: Statement): boolean {
  return error instanceof SqlError && absent.has(error.errno) && isObject(what.kind)
}

/** Names stand in the dump as UTF-8 bytes read as latin1. */
function encode(sql: string): string {
  return Buffer.from(sql, 'utf8').toString('latin1')
}

function decode(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8')
}

/** Replays the dump of tables that are not NDB, as far as the selection has their databases. */
export async function createLocalTables({ dump, session, selection, run }: Omit<Apply, 'gaps'>): Promise<number> {
  let database = ''
  let count = 0
  for await (const statement of statements(dump)) {
    run.signal.throwIfAborted()
    const what = classify(statement)
    if (what.kind === 'use') database = decode(what.name)
    if (what.kind === 'database' || what.kind === 'server') continue
    if (what.kind !== 'session' && !selection.objects.includes(database)) continue
    await dropFormer(session, what)
    await session.execute(statement, `${what.kind} ${database}.${decode(what.name)} of local-tables.sql`)
    if (what.kind === 'table' && /^CREATE/i.test(bare(statement))) count++
  }
  return count
}
