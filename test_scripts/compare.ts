// Compares what two MySQL servers of NDB clusters hold, or one with what another held: rows of every table and
// the sum of their hashes, the definitions of tables, views, routines, triggers and events, accounts and grants. Exit 1 on a difference.
//
//   node test_scripts/compare.ts save FILE SERVER         keeps what the server holds
//   node test_scripts/compare.ts FILE|SERVER FILE|SERVER  before and after
//
// SERVER is the path of a socket (root without password), or mysql://user@host:port with --password-file F.
// Accounts that are no part of the data can be left out: --except-account 'backup@%'.

import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Pool, RowDataPacket } from 'mysql2/promise'
import { connect } from './mysql.ts'

interface Holding {
  tables: Record<string, { rows: string; checksum: string }>
  /** Definitions by what they define: `view shop.totals`. */
  definitions: Record<string, string>
}

interface Options {
  'password-file'?: string | undefined
  'except-account'?: string[] | undefined
}

/** Holdfast's own marker is no data, and system schemas are the server's. */
const otherSchemas = "('mysql', 'sys', 'information_schema', 'performance_schema', 'ndbinfo', 'holdfast')"
const systemAccounts = "('mysql.sys', 'mysql.session', 'mysql.infoschema', 'root')"

async function main(args: string[], options: Options) {
  if (args[0] === 'save' && args[1] && args[2]) {
    const holding = await holdingOf(args[2], options)
    writeFileSync(args[1], JSON.stringify(holding))
    return
  }
  if (!args[0] || !args[1]) throw new Error('usage: compare.ts save FILE SERVER | compare.ts FILE|SERVER FILE|SERVER')
  const [before, after] = [await holdingOf(args[0], options), await holdingOf(args[1], options)]
  const unequal = printTables(before, after) + printDefinitions(before, after)
  if (Object.keys(before.tables).length === 0) throw new Error('there is nothing to compare')
  process.exitCode = unequal === 0 ? 0 : 1
}

function printTables(before: Holding, after: Holding): number {
  const names = union(before.tables, after.tables)
  const lines = names.map((name) => {
    const [a, b] = [before.tables[name], after.tables[name]]
    const equal = a !== undefined && a.rows === b?.rows && a.checksum === b.checksum
    return [name, a?.rows ?? 'none', b?.rows ?? 'none', a?.checksum ?? 'none', b?.checksum ?? 'none', verdict(equal)]
  })
  print([['table', 'rows before', 'rows after', 'checksum before', 'checksum after', ''], ...lines])
  const unequal = lines.filter((line) => line.at(-1) !== 'equal').length
  console.log(`${names.length} tables, ${unequal} of them different\n`)
  return unequal
}

function printDefinitions(before: Holding, after: Holding): number {
  const names = union(before.definitions, after.definitions)
  const different = names.filter((name) => before.definitions[name] !== after.definitions[name])
  for (const kind of new Set(names.map(kindOf))) {
    const ofKind = names.filter((name) => kindOf(name) === kind)
    const wrong = ofKind.filter((name) => different.includes(name)).length
    print([[`${kind}s`, String(ofKind.length), wrong ? `${wrong} DIFFERENT` : 'equal']])
  }
  for (const name of different) {
    console.log(
      `\n${name}\n  before: ${before.definitions[name] ?? 'none'}\n  after:  ${after.definitions[name] ?? 'none'}`,
    )
  }
  return different.length
}

async function holdingOf(place: string, options: Options): Promise<Holding> {
  const pool = openServer(place, options)
  if (!pool) return JSON.parse(readFileSync(place, 'utf8')) as Holding
  try {
    const names = await rows(
      pool,
      `SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ${otherSchemas}`,
    )
    const tables: Holding['tables'] = {}
    const definitions: Holding['definitions'] = {}
    for (const [schema, table, type] of names) {
      const name = `${schema}.${table}`
      const kind = type === 'VIEW' ? 'view' : 'table'
      definitions[`${kind} ${name}`] = await definitionOf(pool, kind, name)
      if (kind === 'table') tables[name] = await tableOf(pool, name)
    }
    Object.assign(definitions, await programsOf(pool), await accountsOf(pool, options['except-account'] ?? []))
    return { tables, definitions }
  } finally {
    await pool.end()
  }
}

/** Undefined when the place is a file saved earlier. */
function openServer(place: string, options: Options): Pool | undefined {
  if (place.startsWith('mysql://')) {
    const { hostname, port, username } = new URL(place)
    return connect({ host: hostname, port, user: username, 'password-file': options['password-file'] })
  }
  return statSync(place).isSocket() ? connect({ socket: place }) : undefined
}

/**
 * The rows and the sum of their hashes: the same in whatever order and on however many nodes the rows lie.
 * Not CHECKSUM TABLE: it takes in what the buffer holds where a column is NULL, and on NDB that differs from run to run.
 */
async function tableOf(pool: Pool, name: string) {
  const columns = await rows(pool, `SHOW COLUMNS FROM ${quoted(name)}`)
  const hashes = columns.map(([column = '']) => `IFNULL(SHA2(\`${column.replaceAll('`', '``')}\`, 256), 'NULL')`)
  const sum = `SUM(CAST(CONV(LEFT(SHA2(CONCAT_WS(' ', ${hashes.join(', ')}), 256), 15), 16, 10) AS UNSIGNED)) MOD ${2n ** 60n}`
  const [figures] = await rows(pool, `SELECT COUNT(*), IFNULL(${sum}, 0) FROM ${quoted(name)}`)
  return {
    rows: figures?.[0] ?? '',
    checksum: BigInt(figures?.[1]?.split('.')[0] ?? 0)
      .toString(16)
      .padStart(15, '0'),
  }
}

async function programsOf(pool: Pool): Promise<Record<string, string>> {
  const names = await rows(
    pool,
    `SELECT LOWER(ROUTINE_TYPE), ROUTINE_SCHEMA, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA NOT IN ${otherSchemas}
     UNION ALL SELECT 'trigger', TRIGGER_SCHEMA, TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA NOT IN ${otherSchemas}
     UNION ALL SELECT 'event', EVENT_SCHEMA, EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA NOT IN ${otherSchemas}`,
  )
  const found: Record<string, string> = {}
  for (const [kind = '', schema, name] of names) {
    found[`${kind} ${schema}.${name}`] = await definitionOf(pool, kind, `${schema}.${name}`)
  }
  return found
}

/** All that SHOW CREATE says, but for what is a fact of the moment. */
async function definitionOf(pool: Pool, kind: string, name: string): Promise<string> {
  const [answers] = await pool.query<RowDataPacket[]>(`SHOW CREATE ${kind} ${quoted(name)}`)
  return Object.entries(answers[0] ?? {})
    .filter(([column]) => column !== 'Created')
    .map(([, value]) => value)
    .join(' | ')
    .replace(/ AUTO_INCREMENT=\d+/, '')
}

async function accountsOf(pool: Pool, except: string[]): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  const connection = await pool.getConnection()
  try {
    // As bytes the hash would not survive JSON.
    await connection.query('SET print_identified_with_as_hex = ON')
    const names = await rows(connection, `SELECT user, host FROM mysql.user WHERE user NOT IN ${systemAccounts}`)
    for (const [user, host] of names) {
      if (except.includes(`${user}@${host}`)) continue
      const account = `${connection.escape(user)}@${connection.escape(host)}`
      const created = await rows(connection, `SHOW CREATE USER ${account}`)
      const grants = await rows(connection, `SHOW GRANTS FOR ${account}`)
      found[`account ${user}@${host}`] = [...created.flat(), ...grants.flat().sort()].join('; ')
    }
  } finally {
    connection.release()
  }
  return found
}

async function rows(connection: Pick<Pool, 'query'>, statement: string): Promise<string[][]> {
  const [found] = await connection.query<RowDataPacket[][]>({ sql: statement, rowsAsArray: true })
  return found.map((row) => row.map(String))
}

function quoted(name: string): string {
  const [schema = '', ...rest] = name.split('.')
  return [schema, rest.join('.')].map((part) => `\`${part.replaceAll('`', '``')}\``).join('.')
}

function kindOf(definition: string): string {
  return definition.split(' ', 1)[0] ?? ''
}

function union(a: object, b: object): string[] {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].sort()
}

function verdict(equal: boolean): string {
  return equal ? 'equal' : 'DIFFERENT'
}

/** Columns of figures to the right, the first and the last to the left. */
function print(lines: string[][]) {
  const last = (lines[0]?.length ?? 0) - 1
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  for (const line of lines) {
    const cells = line.map((cell, column) =>
      column === 0 || column === last ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    )
    console.log(`  ${cells.join('  ')}`.trimEnd())
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { 'password-file': { type: 'string' }, 'except-account': { type: 'string', multiple: true } },
})
await main(positionals, values)
