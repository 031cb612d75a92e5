import type { Readable } from 'node:stream'
import type { Login } from '../../io/mysql.ts'
import { output } from '../../io/process.ts'
import { completed } from './sections.ts'
import { isOlder, loggedIn, type Server } from './server.ts'
import { keyOf, type Listing, type Table } from './tables.ts'
import type { Source } from './values.ts'

/** What every call of the dump program needs. */
export interface Dump {
  login: Login
  server: Server
  source: Source
  signal: AbortSignal
}

interface Call {
  args: string[]
  /** Tables and views that are not dumped, `database.table`; too many for arguments. */
  without?: string[]
}

/** Databases, tables and views, no rows. */
export function structureDump(dump: Dump, listing: Listing, chosen: Chosen): Readable {
  return call(dump, {
    args: [
      ...['--no-data', '--skip-triggers', '--skip-add-drop-table', '--skip-lock-tables'],
      ...['--databases', '--', ...chosen.databases],
    ],
    without: [...others(listing, chosen.tables, chosen.objects)],
  })
}

/** Triggers, events and routines. */
export function programsDump(dump: Dump, listing: Listing, chosen: Chosen): Readable {
  return call(dump, {
    args: [
      ...[
        '--no-data',
        '--no-create-info',
        '--no-create-db',
        '--triggers',
        '--events',
        '--routines',
        '--skip-lock-tables',
      ],
      ...['--databases', '--', ...chosen.objects],
    ],
    without: others(listing, chosen.tables),
  })
}

/** Everything in one stream. */
export function wholeDump(
  dump: Dump,
  { listing, chosen, point }: { listing: Listing; chosen: Chosen; point: string[] },
) {
  const { singleTransaction, flushLogs } = dump.source
  return call(dump, {
    args: [
      // a table whose default is a sequence cannot be filled while it alone is locked
      ...['--routines', '--events', '--triggers', '--skip-add-locks', ...history(dump, chosen.tables), ...point],
      singleTransaction ? '--single-transaction' : '--lock-tables',
      ...(flushLogs ? ['--flush-logs'] : []),
      ...['--databases', '--', ...chosen.databases],
    ],
    without: others(listing, chosen.tables, chosen.objects),
  })
}

export interface Chosen {
  /** All that something is dumped of. */
  databases: string[]
  tables: Table[]
  /** Databases whose views and programs are dumped. */
  objects: string[]
}

/** What of the listing is to be ignored: other tables, and the views of all databases but those. */
function others({ tables, objects }: Listing, chosen: readonly Table[], viewsOf: readonly string[] = []): string[] {
  const kept = new Set(chosen.map(keyOf))
  const views = [...objects].flatMap(([database, { views }]) =>
    viewsOf.includes(database) ? [] : views.map((name) => keyOf({ database, name })),
  )
  return [...tables.map(keyOf).filter((key) => !kept.has(key)), ...views]
}

/** MariaDB writes the history of system-versioned tables since 10.11; with transaction numbers it cannot. */
export function hasHistory(server: Server, tables: readonly Table[]): boolean {
  return tables.some((table) => table.versioned) && !isOlder(server.version, '10.11')
}

function history({ server }: Dump, tables: readonly Table[]): string[] {
  return hasHistory(server, tables) ? ['--dump-history'] : []
}

function call({ login, server, source, signal }: Dump, { args, without = [] }: Call): Readable {
  const lines = without.map((key) => `ignore-table="${key.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"\n`)
  const program = loggedIn({
    which: 'dump',
    args: [...options(server), ...source.extraOptions, ...args],
    login,
    server,
    values: source,
    signal,
    options: `[mysqldump]\n${lines.join('')}`,
  })
  return output(program, completed)
}

function options({ product }: Server): string[] {
  return [
    '--quick',
    '--hex-blob',
    '--default-character-set=utf8mb4',
    '--max-allowed-packet=1G',
    '--no-tablespaces',
    // MySQL's own: its positions go to the manifest, and older servers know no histograms
    ...(product === 'MySQL' ? ['--set-gtid-purged=OFF', '--column-statistics=0'] : []),
  ]
}
