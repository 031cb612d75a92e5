import { JobError } from '../../errors.ts'
import { keyOf } from './tables.ts'
import type { Target } from './values.ts'

export interface Selection<Table> {
  tables: Table[]
  /** Databases that come with all their tables: as a whole. */
  whole: string[]
  /** Databases whose views, routines, triggers and events come: the whole ones, and those that only some tables are left out of. */
  objects: string[]
}

interface Choosing<Table> {
  tables: readonly Table[]
  databases: readonly string[]
  values: Pick<Target, 'include' | 'exclude'>
  /** Values path, for errors. */
  at: string
  /** What is chosen from: `the server`, `the backup`. */
  from: string
}

/**
 * Pure. Includes first, then excludes. Throws `nothing-matches` for a name that is not there: a typo must not choose less than was
 * meant.
 */
export function select<Table extends { database: string; name: string }>({
  tables,
  databases,
  values: { include, exclude },
  at,
  from,
}: Choosing<Table>): Selection<Table> {
  for (const [key, choice] of Object.entries({ include, exclude })) {
    const database = choice?.databases.find((one) => !databases.includes(one))
    const table = choice?.tables.find((one) => !tables.some((known) => keyOf(known) === one))
    if (database === undefined && table === undefined) continue
    const unknown =
      database === undefined
        ? `tables: ${from} has no table ${table}`
        : `databases: ${from} has no database ${database}`
    throw new JobError('nothing-matches', `${at}.${key}.${unknown}`, {
      hint: `it has the databases ${databases.join(', ') || '(none)'}; tables are written database.table`,
    })
  }
  const included = (table: Table) =>
    !include || include.databases.includes(table.database) || include.tables.includes(keyOf(table))
  const excluded = (table: Table) =>
    exclude?.databases.includes(table.database) || exclude?.tables.includes(keyOf(table)) || false
  const chosen = tables.filter((table) => included(table) && !excluded(table))
  const objects = databases.filter(
    (database) => !exclude?.databases.includes(database) && (!include || include.databases.includes(database)),
  )
  const whole = objects.filter((database) => !exclude?.tables.some((table) => table.startsWith(`${database}.`)))
  if (chosen.length === 0 && objects.length === 0 && databases.length > 0)
    throw new JobError('nothing-matches', `${at}: include and exclude leave nothing`)
  return { tables: chosen, whole, objects }
}
