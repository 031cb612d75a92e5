import { quoteName, type Session } from '../../io/mysql.ts'
import type { Server } from './server.ts'
import type { Table } from './tables.ts'

/** The rows of one part: of whole tables of one database, or a range of one table. */
export interface Batch {
  tables: [Table, ...Table[]]
  /** Condition on the rows of its one table, and which piece of how many it is. */
  piece?: { where: string; number: number; of: number }
}

export interface Cut {
  table: Table
  pieces: number
}

const mebibyte = 1024 * 1024
/** Below this a table is not worth cutting, and small tables share a part: thousands of them are not thousands of objects. */
const smallest = 64 * mebibyte
/** More would be lost when its part is damaged, and a connection that takes it last would be waited for. */
const largest = 1024 * mebibyte
/** So that connections which are done early find more to do. */
const piecesEach = 4
const most = 256

/** Pure: which tables to cut, into how many pieces, so that `parallel` connections have about the same to do, now and when it is restored. */
export function cuts(tables: readonly Table[], parallel: number): Cut[] {
  const total = tables.reduce((sum, table) => sum + table.bytes, 0)
  const size = Math.max(smallest, Math.min(largest, total / (parallel * piecesEach)))
  return tables.flatMap((table) => {
    const pieces = Math.min(most, Math.round(table.bytes / size))
    return pieces < 2 ? [] : [{ table, pieces }]
  })
}

/** Pure: whole tables, the small ones of a database together. */
export function grouped(tables: readonly Table[]): Batch[] {
  return [...Map.groupBy(tables, (table) => table.database).values()].flatMap((group) => {
    const batches: { tables: Table[]; bytes: number }[] = []
    for (const table of group) {
      const last = batches.at(-1)
      if (!last || last.bytes + table.bytes > smallest) batches.push({ tables: [table], bytes: table.bytes })
      else {
        last.tables.push(table)
        last.bytes += table.bytes
      }
    }
    return batches.map(({ tables }) => ({ tables: tables as Batch['tables'] }))
  })
}

function bytesOf({ tables, piece }: Batch): number {
  return tables.reduce((sum, table) => sum + table.bytes, 0) / (piece?.of ?? 1)
}

interface Batching {
  tables: readonly Table[]
  parallel: number
  server: Server
}

/** The parts of a backup, the largest first. Asks the server for the keys that cut large tables into even pieces. */
export async function batchesOf(session: Session, { tables, parallel, server }: Batching): Promise<Batch[]> {
  const pieces: Batch[] = []
  const whole = new Set(tables)
  for (const { table, pieces: count } of cuts(tables, parallel)) {
    const wheres = await ranges(session, { table, count, server })
    if (wheres.length < 2) continue
    whole.delete(table)
    for (const [i, where] of wheres.entries())
      pieces.push({ tables: [table], piece: { where, number: i + 1, of: wheres.length } })
  }
  return [...pieces, ...grouped([...whole])].sort((a, b) => bytesOf(b) - bytesOf(a))
}

const integers = ['tinyint', 'smallint', 'mediumint', 'int', 'bigint']

interface Ranging {
  table: Table
  count: number
  server: Server
}

/** Conditions that each hold for about as many rows, and for each row one of them; none when the table cannot be cut. */
async function ranges(session: Session, { table, count, server }: Ranging): Promise<string[]> {
  const column = await firstOfKey(session, table)
  // rows of a key that are history have the same key
  if (!column || table.versioned) return []
  const name = `${quoteName(table.database)}.${quoteName(table.name)}`
  const key = quoteName(column)
  const [ends] = await session.rows<{ low: string | null; high: string | null }>(
    `SELECT CAST(MIN(${key}) AS CHAR) AS low, CAST(MAX(${key}) AS CHAR) AS high FROM ${name}`,
  )
  if (ends?.low == null || ends.high == null) return []
  // newer MySQL shows a tree unless told
  const explain = server.product === 'MySQL' ? 'EXPLAIN FORMAT=TRADITIONAL' : 'EXPLAIN'
  const rows = async (from: bigint, to: bigint) =>
    estimate(
      session,
      `${explain} SELECT 1 FROM ${name} FORCE INDEX (PRIMARY) WHERE ${key} >= ${from} AND ${key} < ${to}`,
    )
  const bounds = await boundaries({ low: BigInt(ends.low), high: BigInt(ends.high), count, rows })
  return bounds.length === 0 ? [] : conditions(key, bounds)
}

/** Pure. */
export function conditions(key: string, bounds: readonly bigint[]): string[] {
  const first = `${key} < ${bounds[0]}`
  const last = `${key} >= ${bounds.at(-1)}`
  return [first, ...bounds.slice(1).map((bound, i) => `${key} >= ${bounds[i]} AND ${key} < ${bound}`), last]
}

interface Bounds {
  low: bigint
  high: bigint
  count: number
  /** About how many rows have a key of `from` or more and less than `to`. */
  rows(from: bigint, to: bigint): Promise<number>
}

interface Slice {
  from: bigint
  to: bigint
  rows: number
}

/** How much finer than a piece the keys are looked at; of many pieces less, since each slice is a question to the server. */
const finer = 8
const mostSlices = 512

/**
 * Keys that cut the rows into about `count` even pieces. The server estimates slices of the keys, and those that hold much are sliced
 * again: keys may lie far apart, a scan for the exact ones would read the table, and only estimates of small ranges are good.
 */
export async function boundaries({ low, high, count, rows }: Bounds): Promise<bigint[]> {
  const slice = async (from: bigint, to: bigint, into: bigint): Promise<Slice[]> => {
    const width = (to - from + into - 1n) / into
    const slices: Slice[] = []
    for (let at = from; at < to; at += width) {
      const end = at + width < to ? at + width : to
      slices.push({ from: at, to: end, rows: await rows(at, end) })
    }
    return slices
  }
  const fine = BigInt(Math.max(2 * count, Math.min(finer * count, mostSlices)))
  let slices = await slice(low, high + 1n, 2n * fine)
  for (let rounds = 0; rounds < 8; rounds++) {
    const most = sum(slices) / Number(fine)
    const isCoarse = ({ from, to, rows }: Slice) => rows > most && to - from > 1n
    if (!slices.some(isCoarse)) break
    slices = (await inTurn(slices, async (one) => (isCoarse(one) ? slice(one.from, one.to, 16n) : [one]))).flat()
  }
  return evenly(slices, count)
}

async function inTurn<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  for (const item of items) results.push(await work(item))
  return results
}

function evenly(slices: readonly Slice[], count: number): bigint[] {
  const total = sum(slices)
  const bounds: bigint[] = []
  let before = 0
  for (const { from, rows } of slices) {
    if (before > 0 && bounds.length < count - 1 && before >= (total * (bounds.length + 1)) / count) bounds.push(from)
    before += rows
  }
  return bounds
}

const sum = (slices: readonly Slice[]) => slices.reduce((total, { rows }) => total + rows, 0)

async function firstOfKey(session: Session, table: Table): Promise<string | undefined> {
  const rows = await session.rows<{ name: string; type: string }>(
    `SELECT c.column_name AS name, c.data_type AS type
       FROM information_schema.statistics s JOIN information_schema.columns c USING (table_schema, table_name, column_name)
      WHERE s.table_schema = ? AND s.table_name = ? AND s.index_name = 'PRIMARY' AND s.seq_in_index = 1`,
    [table.database, table.name],
  )
  return rows.find(({ type }) => integers.includes(type.toLowerCase()))?.name
}

async function estimate(session: Session, query: string): Promise<number> {
  const rows = await session.rows<{ rows: string | null }>(query)
  return Math.max(0, ...rows.map((row) => Number(row.rows ?? 0)))
}

/** A name as a part of a path, for people; two names may give the same. */
export function slug(name: string): string {
  return name.replaceAll(/[^\w$-]+/g, '_').slice(0, 80)
}

/** Pure: folders of databases in the backup, each of its own. */
export function folders(databases: readonly string[]): Map<string, string> {
  const used = new Set<string>()
  return new Map(
    databases.map((database) => {
      let folder = slug(database)
      for (let i = 2; used.has(folder.toLowerCase()); i++) folder = `${slug(database)}.${i}`
      used.add(folder.toLowerCase())
      return [database, folder]
    }),
  )
}
