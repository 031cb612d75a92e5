import { JobError } from '../../errors.ts'
import { consume, lastLines, run as runProgram } from '../../io/process.ts'
import { type Progress, schemaFile } from './restore.ts'
import { libpq } from './server.ts'
import type { Place } from './target.ts'
import type { Entry } from './toc.ts'
import { unheld } from './unheld.ts'

/** The parts of a database through pg_restore. */

/** Structure without indexes; of a single archive everything, in one go. */
export async function restoreTables(state: Progress): Promise<Record<string, unknown>> {
  for (const place of state.detail.places) {
    if (state.detail.facts.method === 'single') await restoreAll(state, place)
    else await fromFile(state, place, { options: ['--section=pre-data'], signal: state.run.signal })
  }
  return {}
}

async function restoreAll(state: Progress, place: Place): Promise<void> {
  const { facts, wanted } = place
  const entries = state.contents.get(place) ?? []
  const left = facts.tables.filter((table) => !wanted.has(table))
  const skipped = new Set(left.map((table) => table.entry))
  const lost = unheldIn(state, place)
  const chosen = entries.filter((entry) => !skipped.has(entry.id) && !lost.includes(entry))
  const list = chosen.length < entries.length ? chosen : undefined
  await feed(state, { place, path: facts.parts[0] as string, options: [], list, signal: state.run.signal })
}

/** Entries of the structure that cannot hold, as a warning says. */
export function unheldIn({ run, contents }: Progress, place: Place): Entry[] {
  const lost = unheld(contents.get(place) ?? [], rowless(place))
  const names = lost.filter(({ kind }) => kind !== 'COMMENT').map(({ schema, name }) => `${schema}.${name}`)
  if (lost.length > 0)
    run.warn(`left out of database ${place.name}: ${names.join(', ')}, which refer to tables whose rows are left out`)
  return lost
}

/** Tables whose rows do not come: nobody wants them, or the backup has none. */
function rowless({ facts, wanted }: Place) {
  return facts.tables.filter((table) => table.part === null || !wanted.has(table))
}

function listOf(entries: readonly Entry[]): string {
  return entries.map((entry) => `${entry.id};\n`).join('')
}

function program({ target, detail }: Progress, place: Place, { options, list }: Pick<Choosing, 'options' | 'list'>) {
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
  if (list) args.push(`--use-list=/dev/fd/${2 + files.push(listOf(list))}`)
  return { file: detail.clients.path('pg_restore'), args, env, files }
}

interface Choosing {
  options: string[]
  /** Only these; all when undefined. */
  list?: readonly Entry[] | undefined
  signal: AbortSignal
}

/** From the structure's file, which several connections can read. */
export async function fromFile(state: Progress, place: Place, { options, list, signal }: Choosing): Promise<void> {
  const { file, args, env, files } = program(state, place, { options, list })
  const { stderr, exitCode } = await runProgram({ file, args: [...args, schemaFile(state, place)], env, files, signal })
  if (exitCode === 0) return
  throw new JobError(
    'server',
    `pg_restore into database ${place.name} ended with ${exitCode}: ${lastLines(stderr, 8)}`,
    {
      hint: 'the target is not complete: run the restore again when that is mended',
    },
  )
}

/** From a part as it comes. */
export async function feed(
  state: Progress,
  { place, path, options, list, signal }: Choosing & { place: Place; path: string },
): Promise<void> {
  await consume({ ...program(state, place, { options, list }), signal }, await state.reader.read(path))
}
