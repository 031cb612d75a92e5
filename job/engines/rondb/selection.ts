import { JobError } from '../../errors.ts'
import { keyOf } from './tables.ts'
import { leftOut, type Target } from './values.ts'

interface Table {
  database: string
  name: string
}

/** What of a backup a restore brings. */
export interface Selection {
  tables: Table[]
  /** Databases that come back with all their tables: they may be dropped and made as a whole. */
  whole: string[]
  /** Databases whose views, routines and events come back: the whole ones, and those only narrowed by excluded tables. */
  objects: string[]
  /** Options of ndb_restore that say the same. */
  options: string[]
}

/**
 * Pure. Includes first, then excludes; heartbeat, ycsb, dbt2 and holdfast never.
 * Throws `nothing-matches` for a name that the backup does not have: a typo must not restore less than was meant.
 */
export function select({
  tables,
  databases,
  target,
  at,
}: {
  tables: Table[]
  databases: string[]
  target: Pick<Target, 'include' | 'exclude'>
  /** Values path of the target, for errors. */
  at: string
}): Selection {
  const { include, exclude } = target
  refuseUnknown({ include, exclude, at }, tables, databases)
  const known = tables.filter((table) => !leftOut.includes(table.database))
  const included = (table: Table) =>
    !include || include.databases.includes(table.database) || include.tables.includes(keyOf(table))
  const excluded = (table: Table) =>
    exclude?.databases.includes(table.database) || exclude?.tables.includes(keyOf(table)) || false
  const chosen = known.filter((table) => included(table) && !excluded(table))

  const objects = databases.filter(
    (database) =>
      !leftOut.includes(database) &&
      !exclude?.databases.includes(database) &&
      (!include || include.databases.includes(database)),
  )
  const narrowed = (database: string) => exclude?.tables.some((table) => table.startsWith(`${database}.`)) ?? false
  const whole = objects.filter((database) => !narrowed(database))
  if (chosen.length === 0 && objects.length === 0 && tables.length > 0) {
    throw new JobError('nothing-matches', `${at}: include and exclude leave nothing to restore`)
  }
  return { tables: chosen, whole, objects, options: optionsOf(known, chosen, at) }
}

/** The shorter of an include and an exclude list: one argument cannot be longer than 128 KiB. */
function optionsOf(known: Table[], chosen: Table[], at: string): string[] {
  const left = known.filter((table) => !chosen.includes(table))
  // ndb_restore takes lists with commas, and splits database.table at the first dot
  const odd = left.length > 0 && known.find(({ database, name }) => /[.,]/.test(database) || name.includes(','))
  if (odd) {
    throw new JobError(
      'configuration',
      `${at}: ndb_restore cannot choose among tables when one is named ${keyOf(odd)}`,
      {
        hint: 'restore everything, without include and exclude',
      },
    )
  }
  const byDatabase = (tables: Table[]) => new Set(tables.map((table) => table.database))
  const chosenDatabases = byDatabase(chosen)
  const excludedDatabases = [...leftOut, ...[...byDatabase(left)].filter((database) => !chosenDatabases.has(database))]
  const excludedTables = left.filter((table) => chosenDatabases.has(table.database)).map(keyOf)
  const includedTables = chosen.map(keyOf)
  if (excludedTables.length > 0 && includedTables.length < excludedTables.length)
    return [`--include-tables=${includedTables.join(',')}`]
  return [
    `--exclude-databases=${excludedDatabases.join(',')}`,
    ...(excludedTables.length > 0 ? [`--exclude-tables=${excludedTables.join(',')}`] : []),
  ]
}

function refuseUnknown(
  { include, exclude, at: path }: Pick<Target, 'include' | 'exclude'> & { at: string },
  tables: Table[],
  databases: string[],
): void {
  const knownTables = new Set(tables.map(keyOf))
  const knownDatabases = new Set([...databases, ...tables.map((table) => table.database), ...leftOut])
  for (const [key, choice] of Object.entries({ include, exclude })) {
    const at = `${path}.${key}`
    const database = choice?.databases.find((one) => !knownDatabases.has(one))
    if (database)
      throw new JobError('nothing-matches', `${at}.databases: the backup has no database ${database}`, {
        hint: `it has ${[...knownDatabases].filter((one) => !leftOut.includes(one)).join(', ')}`,
      })
    const table = choice?.tables.find((one) => !knownTables.has(one))
    if (table)
      throw new JobError('nothing-matches', `${at}.tables: the backup has no table ${table}`, {
        hint: '`holdfast show PLAN ID --output yaml` lists its tables',
      })
  }
}
