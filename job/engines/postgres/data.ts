import { runTasks, type Task } from '../../io/parallel.ts'
import { openArchive } from './archive.ts'
import type { TableFacts } from './facts.ts'
import { indexTasks } from './indexes.ts'
import { feed } from './parts.ts'
import type { Progress } from './restore.ts'
import { bringRows, isPlain } from './rows.ts'
import { withSession } from './server.ts'
import { isNeeded, type Place } from './target.ts'

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
    const tasks = some.map((part) => partTask(state, part, signal))
    await runTasks(tasks, target.parallel, stop)
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

/** All of a part or nothing: a part that is not what was stored leaves nothing behind. */
async function bring(state: Progress, { place, path }: Part, signal: AbortSignal): Promise<void> {
  const { detail, reader, target } = state
  const { facts } = place
  if (!isNeeded(place, path)) return
  const tables = facts.tables.filter((table) => table.part === path)
  const wanted = tables.filter((table) => place.wanted.has(table))
  const archive = await openArchive(await reader.read(path), path)
  const left = new Set(tables.filter((table) => !place.wanted.has(table)).map((table) => table.entry))
  const entries = archive.entries.filter((entry) => !left.has(entry.id))
  try {
    if (isPlain(archive.entries, rowsOf(tables)) && !facts.timescaledb && target.extraOptions.length === 0) {
      const bringing = { name: path, entries, from: archive.rows, rows: rowsOf(wanted), signal }
      await withSession(detail.login, place.name, (session) => bringRows(session, bringing), { signal })
      for (const table of wanted) state.counted.add(table)
      return
    }
  } finally {
    await archive.close()
  }
  const list = left.size > 0 ? entries : undefined
  await feed(state, { place, path, options: ['--single-transaction'], list, signal })
}

/** By the ids of their entries. */
function rowsOf(tables: readonly TableFacts[]): Map<number, number> {
  return new Map(tables.flatMap(({ entry, rows }) => (entry === null ? [] : [[entry, rows]])))
}
