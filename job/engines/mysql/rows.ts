import type { Readable } from 'node:stream'
import { JobError } from '../../errors.ts'
import { lending } from '../../io/lending.ts'
import { quoteName, type ReadingSession, type Session } from '../../io/mysql.ts'
import type { Batch } from './batches.ts'
import { hasHistory } from './dumps.ts'
import { Inserts } from './inserts.ts'
import { completion } from './sections.ts'
import type { Server } from './server.ts'
import { type Column, keyOf, type Table } from './tables.ts'

/** How the rows of one table are read and written. */
interface Shape {
  columns: string[]
  /** What is asked for each of them. */
  values: string[]
  /** Says when a row of a system-versioned table ended, where those that it had before come along. */
  end?: string
}

/** The least that makes rows mean on another server what they mean on this one. */
const settings = [
  ['NAMES utf8mb4'],
  ["SESSION time_zone = '+00:00'", "sql_mode = 'NO_AUTO_VALUE_ON_ZERO'", 'foreign_key_checks = 0', 'unique_checks = 0'],
].map((group) => `SET ${group.join(', ')};\n`)

/** A year: storages may pause for longer than the server's patience. */
const patience = 31_536_000

/** What the server would otherwise end, cut short, or show as it was at another time. */
const own = {
  MySQL: ['max_execution_time = 0'],
  MariaDB: [
    ...['max_statement_time = 0', 'idle_transaction_timeout = 0', 'idle_readonly_transaction_timeout = 0'],
    'system_versioning_asof = DEFAULT',
  ],
}

/** Makes a session one that sees everything, however long it takes. */
export async function makePatient(session: Session, { product }: Server): Promise<void> {
  const common = [
    ...[`net_write_timeout = ${patience}`, `wait_timeout = ${patience}`],
    ...['sql_select_limit = 18446744073709551615', 'sql_big_selects = 1'],
  ]
  await session.execute(`SET SESSION ${[...common, ...own[product]].join(', ')}`)
}

/** Makes it one that always says the same bytes of the same rows, too. */
export async function prepare(session: Session, server: Server): Promise<void> {
  await makePatient(session, server)
  await session.execute("SET SESSION time_zone = '+00:00', sql_mode = ''")
}

/**
 * One reader of a snapshot: it turns what its session reads into statements, without a client program between. Keeps count of the rows of
 * each table.
 */
export class RowReader {
  readonly rows = new Map<string, number>()
  /** Bytes of the longest statement of the last part. */
  longest = 0
  private readonly inserts = new Inserts()
  private readonly session: ReadingSession
  private readonly server: Server
  private readonly columns: ReadonlyMap<string, Column[]>

  constructor(session: ReadingSession, server: Server, columns: ReadonlyMap<string, Column[]>) {
    this.session = session
    this.server = server
    this.columns = columns
  }

  /** A part that any client restores by itself. Its session has begun the snapshot. */
  part(batch: Batch): Readable {
    return lending(this.statements(batch))
  }

  close(): void {
    this.session.close()
  }

  private async *statements({ tables, piece }: Batch): AsyncGenerator<Buffer> {
    const [{ database }] = tables
    this.longest = 0
    const shapes = tables.map((table) => shapeOf(table, this.columns.get(keyOf(table)) ?? [], this.server))
    yield Buffer.from(`-- Rows of ${this.server.product} ${this.server.version}\n\n${settings.join('')}\n`)
    yield Buffer.from(`USE ${quoteName(database)};\n`)
    await this.session.execute('SAVEPOINT holdfast')
    for (const [i, table] of tables.entries()) {
      const name = quoteName(table.name)
      // who looks for the table finds it by this (sections.ts)
      yield Buffer.from(`\n--\n-- Dumping data for table ${name}\n--\n\n`)
      const shape = shapes[i] as Shape
      const around = keysAround(table, piece !== undefined)
      if (shape.end) yield keepHistory
      if (around) yield Buffer.from(`ALTER TABLE ${name} DISABLE KEYS;\n`)
      if (shape.end) yield* this.historyOf(table, shape, shape.end)
      yield* this.rowsOf(table, shape, piece && ` FORCE INDEX (PRIMARY) WHERE ${piece.where}`)
      this.rows.set(keyOf(table), (this.rows.get(keyOf(table)) ?? 0) + this.inserts.rows)
      if (around) yield Buffer.from(`ALTER TABLE ${name} ENABLE KEYS;\n`)
      // MySQL lets go of the table now, MariaDB when the session ends
      await this.session.execute('ROLLBACK TO SAVEPOINT holdfast')
    }
    yield Buffer.from(completion)
  }

  /**
   * Rows of now have no end in the backup: the servers' idea of never has changed, and what ends at that of an older one would be history.
   * A clock that was set back may have ended rows after now.
   */
  private async *historyOf(table: Table, { columns, values }: Shape, end: string): AsyncGenerator<Buffer> {
    const shape = { columns: [...columns, end], values: [...values, end] }
    yield* this.rowsOf(table, shape, ` FOR SYSTEM_TIME ALL WHERE ${end} <= NOW(6) + INTERVAL 1 DAY`)
  }

  private async *rowsOf(table: Table, { columns, values }: Shape, which = ''): AsyncGenerator<Buffer> {
    const from = `${quoteName(table.database)}.${quoteName(table.name)}${which}`
    const sql = `SELECT /*!40001 SQL_NO_CACHE */ ${values.join(',')} FROM ${from}`
    const head = Buffer.from(`INSERT INTO ${quoteName(table.name)} (${columns.join(',')}) VALUES `)
    const what = `rows of ${keyOf(table)}`
    const answer = this.session.answer({ sql, what, ended: () => this.inserts.ended })
    yield* this.inserts.of(answer, { head, what: `MySQL server ${this.session.server}: ${what}` })
    this.longest = Math.max(this.longest, this.inserts.longest)
    refuseEndless(table, this.longest)
  }
}

/** More can be told to no server, whatever it is set to. */
const longestPacket = 1024 ** 3

/** Whether a server that has `max_allowed_packet` takes it: with the byte that says what it is, it must be shorter. */
export function fits(statement: number, maxAllowedPacket: number): boolean {
  return statement + 1 < maxAllowedPacket
}

function refuseEndless(table: Table, statement: number): void {
  if (fits(statement, longestPacket)) return
  throw new JobError(
    'server',
    `a row of ${keyOf(table)} is a statement of ${statement} bytes, and no server takes more than ${longestPacket}`,
    { hint: 'exclude the table: what could not be restored is no backup' },
  )
}

const keepHistory = Buffer.from('/*M!101100 SET SESSION system_versioning_insert_history = 1 */;\n')

/** Of these engines, an index that is made at the end is made faster. */
function keysAround({ engine }: Table, isPiece: boolean): boolean {
  return !isPiece && ['myisam', 'aria'].includes(engine.toLowerCase())
}

/** MariaDB takes history back where it is by time and not by transactions. */
export function keepsHistory(table: Table, columns: readonly Column[], server: Server): boolean {
  const byTime = columns.every(({ type, expression }) => !isPeriod(expression) || type.startsWith('timestamp'))
  return byTime && hasHistory(server, [table])
}

function isPeriod(expression: string): boolean {
  return expression === starts || expression === ends
}

const starts = 'ROW START'
const ends = 'ROW END'

/** Names stand in comments, and line ends are what parts are told apart by. */
function refuseLineBreaks(table: Table, columns: readonly Column[]): void {
  const broken = [table.database, table.name, ...columns.map(({ name }) => name)].find((name) => /[\r\n]/.test(name))
  if (broken !== undefined)
    throw new JobError(
      'server',
      `table ${JSON.stringify(keyOf(table))}: there is a line end in the name ${JSON.stringify(broken)}`,
      {
        hint: 'rename it, or exclude the table',
      },
    )
}

function shapeOf(table: Table, all: readonly Column[], server: Server): Shape {
  const history = keepsHistory(table, all, server)
  // where nobody named them, they have these names and are listed nowhere
  const named = (expression: string, hidden: string) =>
    quoteName(all.find((column) => column.expression === expression)?.name ?? hidden)
  const stored = all.filter(({ expression }) => expression === '')
  refuseLineBreaks(table, all)
  if (stored.length === 0)
    throw new JobError('server', `table ${keyOf(table)} has no column that is not computed`, {
      hint: 'it has nothing to keep: exclude it, or choose method: mysqldump',
    })
  const columns = stored.map(({ name }) => quoteName(name))
  // the server says six digits of a FLOAT, and all of a DOUBLE
  const values = columns.map((column, i) => (stored[i]?.type.startsWith('float') ? `${column} + 0E0` : column))
  if (!history) return { columns, values }
  const start = named(starts, 'row_start')
  return { columns: [...columns, start], values: [...values, start], end: named(ends, 'row_end') }
}
