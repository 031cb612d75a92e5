import { runTasks, type Task } from '../../io/parallel.ts'
import { readContents } from './archive.ts'
import type { Entry } from './contents.ts'
import { tableKey } from './facts.ts'
import { indexTasks } from './indexes.ts'
import { feed } from './parts.ts'
import type { Progress } from './restore.ts'
import { bringRows, isPlain } from './rows.ts'
import { type Session, withSession } from './server.ts'
import type { Place } from './target.ts'

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
  const contents = await readContents(await reader.read(path), path)
  const entries = chosen(part, contents)
  if (entries.length === 0) return
  if (isPlain(contents) && !place.facts.timescaledb && target.extraOptions.length === 0) {
    const tables = place.facts.tables.filter((table) => table.part === path)
    const rows = new Map(tables.map((table) => [table.entry as number, table.rows]))
    const archive = await reader.read(path)
    const work = (session: Session) => bringRows(session, { archive, name: path, entries, rows })
    await withSession(detail.login, place.name, work, { signal })
    for (const table of tables) state.counted.add(table)
  } else {
    const list = entries.length < contents.length ? entries : undefined
    await feed(state, { place, path, options: ['--single-transaction'], list, signal })
  }
}

/** The entries of a part without the rows that are not wanted; none when it has nothing else. */
function chosen({ place: { facts, wanted }, path, first }: Part, contents: readonly Entry[]): readonly Entry[] {
  const inside = facts.tables.filter((table) => table.part === path)
  const left = inside.filter((table) => !wanted.has(tableKey(facts.name, table)))
  if (!first && left.length > 0 && left.length === inside.length) return []
  const skipped = new Set(left.map((table) => table.entry))
  return contents.filter((entry) => !skipped.has(entry.id))
}
