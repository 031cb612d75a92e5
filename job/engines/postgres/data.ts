import { runTasks, type Task } from '../../io/parallel.ts'
import { readContents } from './archive.ts'
import { type DatabaseFacts, tableKey } from './facts.ts'
import { indexTasks } from './indexes.ts'
import { feed } from './parts.ts'
import type { Progress } from './restore.ts'
import { bringRows, isPlain } from './rows.ts'
import { withSession } from './server.ts'
import type { Place } from './target.ts'
import type { Entry } from './toc.ts'

/** A part with rows. */
export interface Part {
  place: Place
  path: string
  /** It has the configuration of extensions. */
  first: boolean
}

/**
 * All parts with rows, several at once; configuration of TimescaleDB before what it describes. Whoever has no more rows to bring makes the
 * indexes of large tables whose rows are there.
 */
export async function restoreRows(state: Progress): Promise<Record<string, unknown>> {
  const { run, target, detail } = state
  if (detail.facts.method === 'single') return {}
  const parts = detail.places.flatMap((place) =>
    place.facts.parts.slice(1).map((path, i) => ({ place, path, first: i === 0 })),
  )
  const stop = new AbortController()
  const signal = AbortSignal.any([run.signal, stop.signal])
  const early = parts.filter(({ place, first }) => first && place.facts.timescaledb)
  for (const some of [early, parts.filter((part) => !early.includes(part))]) {
    const tasks = some.map((part) => stopping(partTask(state, part, signal), stop))
    await runTasks(tasks, target.parallel)
  }
  return { parts: parts.length }
}

/** Before all indexes, in the order of the parts. */
function partTask(state: Progress, part: Part, signal: AbortSignal): Task {
  return {
    weight: Number.POSITIVE_INFINITY,
    run: async () => {
      await bring(state, part, signal)
      return indexTasks(state, part, signal)
    },
  }
}

/** What fails ends all others. */
function stopping({ weight, run }: Task, stop: AbortController): Task {
  return {
    weight,
    run: async () => {
      try {
        return (await run()).map((more) => stopping(more, stop))
      } catch (error) {
        stop.abort(error)
        throw error
      }
    },
  }
}

/** All of a part or nothing: a part that is not what was stored leaves nothing behind. */
async function bring(state: Progress, part: Part, signal: AbortSignal): Promise<void> {
  const { detail, reader, target } = state
  const { place, path } = part
  const toc = await readContents(await reader.read(path), path)
  const entries = chosen(part, toc)
  if (entries.length === 0) return
  const tables = place.facts.tables.filter((table) => table.part === path)
  const plain = isPlain(toc, rowsOf(tables)) && !place.facts.timescaledb && target.extraOptions.length === 0
  if (plain) {
    const wanted = tables.filter((table) => place.wanted.has(tableKey(place.facts.name, table)))
    const bringing = { open: () => reader.read(path), name: path, entries, rows: rowsOf(wanted), signal }
    await withSession(detail.login, place.name, (session) => bringRows(session, bringing), { signal })
    for (const table of wanted) state.counted.add(table)
  } else {
    const list = entries.length < toc.length ? entries : undefined
    await feed(state, { place, path, options: ['--single-transaction'], list, signal })
  }
}

/** By the ids of their entries. */
function rowsOf(tables: DatabaseFacts['tables']): Map<number, number> {
  return new Map(tables.flatMap(({ entry, rows }) => (entry === null ? [] : [[entry, rows]])))
}

/** The entries of a part without the rows that are not wanted; none when it has nothing else. */
function chosen({ place: { facts, wanted }, path, first }: Part, toc: readonly Entry[]): readonly Entry[] {
  const inside = facts.tables.filter((table) => table.part === path)
  const left = inside.filter((table) => !wanted.has(tableKey(facts.name, table)))
  if (!first && left.length > 0 && left.length === inside.length) return []
  const skipped = new Set(left.map((table) => table.entry))
  return toc.filter((entry) => !skipped.has(entry.id))
}
