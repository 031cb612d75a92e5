import { JobError } from '../../errors.ts'
import { tableKey } from './facts.ts'
import type { Source } from './values.ts'

type Choices = Pick<Source, 'include' | 'exclude'>

/** Pure: whose databases, with the structure of all that is in them. Throws `nothing-matches` for a name that is not there. */
export function chooseDatabases(names: readonly string[], { include, exclude }: Choices, at: string): string[] {
  for (const [key, choice] of Object.entries({ include, exclude })) {
    const named = [...(choice?.databases ?? []), ...(choice?.tables ?? []).map(databaseOf)]
    const unknown = named.find((name) => !names.includes(name))
    if (unknown !== undefined)
      throw new JobError('nothing-matches', `${at}.${key}: there is no database ${unknown}`, {
        hint: `there are ${names.join(', ')}`,
      })
  }
  const wanted = include && new Set([...include.databases, ...include.tables.map(databaseOf)])
  const chosen = names.filter((name) => (!wanted || wanted.has(name)) && !exclude?.databases.includes(name))
  if (chosen.length > 0) return chosen
  throw new JobError('nothing-matches', `${at}: include and exclude leave no database`)
}

interface Table {
  schema: string
  name: string
}

/** Pure: the tables of one database whose rows are wanted. Throws `nothing-matches` for a name that is not there. */
export function chooseTables<T extends Table>(
  database: string,
  tables: readonly T[],
  { include, exclude, at }: Choices & { at: string },
): T[] {
  const known = new Set(tables.map((table) => tableKey(database, table)))
  for (const [key, choice] of Object.entries({ include, exclude })) {
    const unknown = choice?.tables.find((name) => databaseOf(name) === database && !known.has(name))
    if (unknown === undefined) continue
    throw new JobError('nothing-matches', `${at}.${key}.tables: there is no table ${unknown}`, {
      hint: 'a table is database.schema.table; a partitioned table has no rows of its own, its partitions have',
    })
  }
  const all = !include || include.databases.includes(database)
  return tables.filter((table) => {
    const name = tableKey(database, table)
    return (all || include.tables.includes(name)) && !exclude?.tables.includes(name)
  })
}

function databaseOf(table: string): string {
  return table.split('.', 1)[0] as string
}
