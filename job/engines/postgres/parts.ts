import type { TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { inParallel } from '../../io/parallel.ts'
import { consume, lastLines, run as runProgram } from '../../io/process.ts'
import { type Entry, readContents } from './archive.ts'
import { tableKey } from './facts.ts'
import { type Progress, schemaFile } from './restore.ts'
import { libpq } from './server.ts'
import type { Detail, Place } from './target.ts'

/** The parts of a database through pg_restore. */

/** Structure without indexes; of a single archive everything, in one go. */
export async function restoreTables(state: Progress): Promise<Record<string, unknown>> {
  const { run, detail } = state
  for (const place of detail.places) {
    if (detail.facts.method === 'single')
      await feed({ state, place, path: place.facts.parts[0] as string, options: [], signal: run.signal })
    else await fromFile(state, place, ['--section=pre-data'])
  }
  return {}
}

/** All parts with rows, several at once; configuration of TimescaleDB before what it describes. */
export async function restoreRows(state: Progress): Promise<Record<string, unknown>> {
  const { run, target, detail } = state
  if (detail.facts.method === 'single') return {}
  const parts = detail.places.flatMap((place) =>
    place.facts.parts.slice(1).map((path, i) => ({ place, path, first: i === 0 })),
  )
  const early = parts.filter(({ place, first }) => first && place.facts.timescaledb)
  const stop = new AbortController()
  const signal = AbortSignal.any([run.signal, stop.signal])
  for (const some of [early, parts.filter((part) => !early.includes(part))]) {
    await inParallel(some, target.parallel, async ({ place, path }) => {
      try {
        // all of a part or nothing: a part that is not what was stored leaves nothing behind
        await feed({ state, place, path, options: ['--single-transaction'], signal })
      } catch (error) {
        stop.abort(error)
        throw error
      }
    })
  }
  return { parts: parts.length }
}

/** Indexes, constraints, triggers: from the file, so that several can be made at once. */
export async function indexParts(state: Progress): Promise<Record<string, unknown>> {
  const { target, detail } = state
  if (detail.facts.method === 'single') return {}
  for (const place of detail.places) {
    const list = withoutUnheld(state, place)
    await fromFile(state, place, ['--section=post-data', `--jobs=${target.parallel}`], list)
  }
  return {}
}

/** The entries of the structure without the constraints that cannot hold; undefined when all can. */
function withoutUnheld({ run, contents }: Progress, place: Place): string | undefined {
  const entries = contents.get(place) ?? []
  const lost = unheldHere(run, place, entries)
  return lost.length === 0 ? undefined : listOf(entries.filter((entry) => !lost.includes(entry)))
}

function unheldHere(run: TargetRun, place: Place, entries: readonly Entry[]): Entry[] {
  const lost = unheld(entries, rowless(place))
  const names = lost.filter(({ kind }) => kind !== 'COMMENT').map(({ schema, name }) => `${schema}.${name}`)
  if (lost.length > 0)
    run.warn(`left out of database ${place.name}: ${names.join(', ')}, which refer to tables whose rows are left out`)
  return lost
}

/** A name, and a qualified one, in quotes or not. */
const name = String.raw`(?:"(?:[^"]|"")*"|[^\s."(]+)`
const qualified = String.raw`${name}\.${name}`
const attaching = new RegExp(`^ALTER TABLE (?:ONLY )?(${qualified}) ATTACH PARTITION (${qualified})`)
const referring = new RegExp(`^.* REFERENCES (${qualified})`, 's')
const constraining = new RegExp(String.raw`^ALTER TABLE (?:ONLY )?(${qualified})\s+ADD CONSTRAINT (${name})`)

/**
 * Pure: foreign keys that refer to tables without their rows, or to a table that has one of those as a partition, and what is said of these
 * keys. Without it pg_restore would end at the key.
 */
export function unheld(entries: readonly Entry[], tables: readonly { schema: string; name: string }[]): Entry[] {
  if (tables.length === 0) return []
  const lacking = withParents(entries, new Set(tables.map(({ schema, name }) => keyOf(schema, name))))
  const keys = entries.filter(({ kind, sql }) => {
    const to = kind === 'FK CONSTRAINT' && referring.exec(sql)?.[1]
    return to && lacking.has(bare(to))
  })
  const said = keys.map(({ sql }) => {
    const [, on, constraint] = constraining.exec(sql) ?? []
    return `COMMENT ON CONSTRAINT ${constraint} ON ${on} IS `
  })
  const isSaid = ({ kind, sql }: Entry) => kind === 'COMMENT' && said.some((start) => sql.startsWith(start))
  return entries.filter((entry) => keys.includes(entry) || isSaid(entry))
}

/** These tables, and all that have one of them as a partition, over any number of levels. */
function withParents(entries: readonly Entry[], tables: ReadonlySet<string>): ReadonlySet<string> {
  const attached = entries.flatMap(({ kind, sql }) => {
    const [, parent, part] = (kind === 'TABLE ATTACH' && attaching.exec(sql)) || []
    return parent && part ? [{ parent: bare(parent), part: bare(part) }] : []
  })
  const all = new Set(tables)
  for (let before = -1; before !== all.size; ) {
    before = all.size
    for (const { parent, part } of attached) if (all.has(part)) all.add(parent)
  }
  return all
}

/** However a name is quoted, it is the same. */
function bare(text: string): string {
  const names = text.match(/"(?:[^"]|"")*"|[^.]+/g) ?? []
  const [schema = '', table = ''] = names.map((one) =>
    one.startsWith('"') ? one.slice(1, -1).replaceAll('""', '"') : one,
  )
  return keyOf(schema, table)
}

function keyOf(schema: string, table: string): string {
  return JSON.stringify([schema, table])
}

/** Tables whose rows do not come: nobody wants them, or the backup has none. */
function rowless({ facts, wanted }: Place) {
  return facts.tables.filter((table) => table.part === null || !wanted.has(tableKey(facts.name, table)))
}

function listOf(entries: readonly Entry[]): string {
  return entries.map((entry) => `${entry.id};\n`).join('')
}

function program({ target, detail }: Progress, place: Place, options: string[]) {
  const { dbname, env, files } = libpq(detail.login, place.name)
  const owners = target.ownership ? [] : ['--no-owner', '--no-privileges']
  const args = [
    dbname,
    '--format=custom',
    '--exit-on-error',
    '--no-password',
    ...owners,
    ...target.extraOptions,
    ...options,
  ]
  return { file: detail.clients.path('pg_restore'), args, env, files }
}

async function fromFile(state: Progress, place: Place, options: string[], list?: string): Promise<void> {
  const { file, args, env, files } = program(state, place, options)
  if (list !== undefined) args.push(`--use-list=/dev/fd/${2 + files.push(list)}`)
  const { stderr, exitCode } = await runProgram({
    file,
    args: [...args, schemaFile(state, place)],
    env,
    files,
    signal: state.run.signal,
  })
  if (exitCode === 0) return
  throw new JobError(
    'server',
    `pg_restore into database ${place.name} ended with ${exitCode}: ${lastLines(stderr, 8)}`,
    {
      hint: 'the target is not complete: run the restore again when that is mended',
    },
  )
}

interface Feeding {
  state: Progress
  place: Place
  path: string
  options: string[]
  signal: AbortSignal
}

async function feed({ state, place, path, options, signal }: Feeding): Promise<void> {
  const { file, args, env, files } = program(state, place, options)
  const list = await chosenEntries(state, place, path)
  if (list === '') return
  if (list !== undefined) args.push(`--use-list=/dev/fd/${2 + files.push(list)}`)
  await consume({ file, args, env, files, signal }, await state.reader.read(path))
}

/** Pure: those of a database's parts that something is wanted of. */
export function neededParts(place: Place, method: Detail['facts']['method']): string[] {
  const { facts, wanted } = place
  return facts.parts.filter((path, i) => {
    const inside = facts.tables.filter((table) => table.part === path)
    // the first two have more than rows
    return (
      method === 'single' ||
      i < 2 ||
      inside.length === 0 ||
      inside.some((table) => wanted.has(tableKey(facts.name, table)))
    )
  })
}

/** The entries of a part without the rows that are not wanted, and what cannot hold without them; undefined when all are, empty when none is. */
async function chosenEntries(state: Progress, place: Place, path: string): Promise<string | undefined> {
  const { detail, reader, run } = state
  const { facts, wanted } = place
  const inside = facts.tables.filter((table) => table.part === path)
  const left = inside.filter((table) => !wanted.has(tableKey(facts.name, table)))
  const skipped = new Set(left.map((table) => table.entry))
  if (detail.facts.method === 'single') {
    const entries = state.contents.get(place) ?? []
    const lost = unheldHere(run, place, entries)
    if (left.length + lost.length === 0) return undefined
    return listOf(entries.filter((entry) => !skipped.has(entry.id) && !lost.includes(entry)))
  }
  if (left.length === 0) return undefined
  if (path !== facts.parts[1] && left.length === inside.length) return ''
  const entries = await readContents(await reader.read(path), path)
  return listOf(entries.filter((entry) => !skipped.has(entry.id)))
}
