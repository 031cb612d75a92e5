import type { Task } from '../../io/parallel.ts'
import type { Part } from './data.ts'
import { type TableFacts, tableKey } from './facts.ts'
import { fromFile, unheldIn } from './parts.ts'
import type { Progress } from './restore.ts'
import { manyRows } from './rows.ts'
import type { Place } from './target.ts'
import type { Entry } from './toc.ts'

/** What can be made of a table as soon as its rows are there. */
export interface Early {
  /** Each locks the table against all others: one after the other, and before the rest. */
  first: Entry[]
  rest: Entry[]
}

/** Of so many tables at most: each index costs a program, which reads the whole structure. */
const mostTables = 50

/** What makes the indexes of a part's large tables, once their rows are there, the largest first. */
export function indexTasks(state: Progress, { place, path }: Part, signal: AbortSignal): Task[] {
  const { facts } = place
  // an extension has the indexes of its tables in hand; and alone, nobody is idle
  if (facts.timescaledb || state.target.parallel === 1) return []
  const tables = largest(place).filter((table) => table.part === path)
  if (tables.length === 0) return []
  const early = earlyIndexes(facts.name, state.contents.get(place) ?? [])
  const making = (weight: number, list: Entry[], next: Task[] = []): Task => ({
    weight,
    run: async () => {
      await fromFile(state, place, { options: ['--section=post-data'], list, signal })
      for (const entry of list) state.made.add(entry)
      return next
    },
  })
  return tables.flatMap((table) => {
    const { first = [], rest = [] } = early.get(tableKey(facts.name, table)) ?? {}
    const next = rest.map((entry) => making(table.rows, [entry]))
    return first.length > 0 ? [making(table.rows, first, next)] : next
  })
}

function largest({ facts, wanted }: Place): readonly TableFacts[] {
  return facts.tables
    .filter((table) => table.rows >= manyRows && wanted.has(table))
    .sort((a, b) => b.rows - a.rows)
    .slice(0, mostTables)
}

/**
 * Pure: by the keys of their tables, indexes and constraints with indexes that need nothing but their table. A function that an index is
 * made with may look into other tables, whatever it says of itself.
 */
export function earlyIndexes(database: string, entries: readonly Entry[]): Map<string, Early> {
  const tables = new Map<number, string>()
  for (const { id, kind, schema, name } of entries)
    if (kind === 'TABLE') tables.set(id, tableKey(database, { schema, name }))
  const byTable = new Map<string, Early>()
  for (const entry of entries) {
    const { kind, needs, sql } = entry
    const table = tables.get(needs[0] as number)
    if ((kind !== 'INDEX' && kind !== 'CONSTRAINT') || table === undefined || needs.length !== 1) continue
    const early = byTable.get(table) ?? { first: [], rest: [] }
    byTable.set(table, early)
    const locks = kind === 'CONSTRAINT' || /^ALTER TABLE/m.test(sql)
    early[locks ? 'first' : 'rest'].push(entry)
  }
  return byTable
}

/** All other indexes, constraints, triggers: from the file, so that several can be made at once. */
export async function indexParts(state: Progress): Promise<Record<string, unknown>> {
  const { run, target, detail, contents, made } = state
  if (detail.facts.method === 'single') return {}
  const options = ['--section=post-data', `--jobs=${target.parallel}`]
  for (const place of detail.places) {
    const entries = contents.get(place) ?? []
    const lost = unheldIn(state, place)
    const left = entries.filter((entry) => !made.has(entry) && !lost.includes(entry))
    const list = left.length < entries.length ? left : undefined
    await fromFile(state, place, { options, list, signal: run.signal })
  }
  return {}
}
