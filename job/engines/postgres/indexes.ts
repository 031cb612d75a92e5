import type { Task } from '../../io/parallel.ts'
import type { Entry } from './contents.ts'
import type { Part } from './data.ts'
import { type DatabaseFacts, tableKey } from './facts.ts'
import { fromFile, unheldIn } from './parts.ts'
import type { Progress } from './restore.ts'
import { manyRows } from './rows.ts'

/** What can be made of a table as soon as its rows are there. */
export interface Early {
  /** Each locks the table against all others: one after the other, and before the indexes. */
  constraints: Entry[]
  indexes: Entry[]
}

/** What makes the indexes of a part's large tables, once their rows are there, the largest first: each costs a program of its own. */
export function indexTasks(state: Progress, { place, path }: Part, signal: AbortSignal): Task[] {
  const { facts, wanted } = place
  // the extension has the indexes of its tables in hand
  if (facts.timescaledb) return []
  const isLarge = ({ part, rows }: DatabaseFacts['tables'][number]) => part === path && rows >= manyRows
  const large = facts.tables.filter((table) => isLarge(table) && wanted.has(tableKey(facts.name, table)))
  if (large.length === 0) return []
  const early = earlyIndexes(facts.name, state.contents.get(place) ?? [])
  const making = (weight: number, list: Entry[], next: Task[] = []): Task => ({
    weight,
    run: async () => {
      await fromFile(state, place, { options: ['--section=post-data'], list, signal })
      for (const entry of list) state.made.add(entry)
      return next
    },
  })
  return large.flatMap((table) => {
    const { constraints = [], indexes = [] } = early.get(tableKey(facts.name, table)) ?? {}
    const rest = indexes.map((entry) => making(table.rows, [entry]))
    return constraints.length > 0 ? [making(table.rows, constraints, rest)] : rest
  })
}

/** Pure: by the keys of their tables, indexes and constraints with indexes that need nothing but their table. */
export function earlyIndexes(database: string, entries: readonly Entry[]): Map<string, Early> {
  const tables = new Map<number, string>()
  for (const { id, kind, schema, name } of entries)
    if (kind === 'TABLE') tables.set(id, tableKey(database, { schema, name }))
  const late = new Set(entries.filter(({ section }) => section === 'post-data').map(({ id }) => id))
  const byTable = new Map<string, Early>()
  for (const entry of entries) {
    const { kind, needs } = entry
    const table = needs.map((id) => tables.get(id)).find((key) => key !== undefined)
    if ((kind !== 'INDEX' && kind !== 'CONSTRAINT') || table === undefined || needs.some((id) => late.has(id))) continue
    const early = byTable.get(table) ?? { constraints: [], indexes: [] }
    byTable.set(table, early)
    early[kind === 'INDEX' ? 'indexes' : 'constraints'].push(entry)
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
