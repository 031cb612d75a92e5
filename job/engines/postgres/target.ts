import type { Marker, RestoreStep, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Login, loginOf } from '../../io/connection.ts'
import { refuseOvertaken } from '../../io/restores.ts'
import { type DatabaseRow, databasesOf, lookAtServer, type ServerRow } from './catalog.ts'
import { refuseOld } from './check.ts'
import { type Clients, findClients, majorIn } from './clients.ts'
import { checkExtensions, look, type Seen } from './content.ts'
import { type DatabaseFacts, factsOf, globalsPart, missingParts, type PostgresFacts, type TableFacts } from './facts.ts'
import { Creates, readMarkers } from './marker.ts'
import { chooseDatabases, chooseTables } from './selection.ts'
import { withSession } from './server.ts'
import type { Target } from './values.ts'

/** One database of the backup, and where it goes. */
export interface Place {
  facts: DatabaseFacts
  name: string
  /** It was there before: it is filled, not made; and emptied, not dropped. */
  inPlace: boolean
  /** Of the tables, those whose rows are wanted. */
  wanted: ReadonlySet<TableFacts>
}

export interface Detail {
  login: Login
  server: ServerRow
  clients: Clients
  facts: PostgresFacts
  places: Place[]
  creates: Creates
  /** Databases that have to be emptied or dropped first. */
  clears: Creates['databases']
  /** What is noted in the target. */
  markers: Marker[]
}

export async function checkTarget(run: TargetRun): Promise<TargetState> {
  const target = run.target as Target
  const facts = factsOf(run.source)
  const chosen = chooseDatabases(
    facts.databases.map((database) => database.name),
    target,
    run.at,
  )
  refuseMissingParts(run, facts, chosen)
  const login = loginOf(target, run, run.at)
  const { server, existing, markers } = await withSession(
    login,
    target.database,
    async (session) => {
      const server = await lookAtServer(session)
      refuseVersion(run, server, login)
      return { server, existing: await databasesOf(session, server.major), markers: await readMarkers(session) }
    },
    run,
  )
  const clients = await restoringClients(run, server)
  const names = renamed(chosen, target, run.at)
  const ours = run.unfinished ? Creates.parse(run.unfinished.creates).databases : []
  const earlier = ours.filter((one) => ![...names.values()].includes(one.name))
  const seen = await look({ login, names: [...names.values(), ...earlier.map((one) => one.name)], existing, run })
  const places = chosen.map((name) =>
    placeOf({
      facts: facts.databases.find((one) => one.name === name) as DatabaseFacts,
      name: names.get(name) as string,
      seen,
      ours,
      run,
    }),
  )
  await checkExtensions({ login, places, seen, run })
  refuseWeak({ places, server, login, facts, target })
  const creates: Creates = { databases: [...places.map(({ name, inPlace }) => ({ name, inPlace })), ...earlier] }
  const clears = creates.databases.filter(({ name, inPlace }) =>
    inPlace ? seen.get(name)?.contents !== undefined : seen.has(name),
  )
  const detail: Detail = { login, server, clients, facts, places, creates, clears, markers }
  return {
    server: { product: 'PostgreSQL', version: server.version },
    tools: clients.versions,
    contents: foreign({ places, seen, ours, overwrite: run.overwrite }),
    detail,
  }
}

function refuseMissingParts(run: TargetRun, facts: PostgresFacts, chosen: string[]): void {
  const { globals } = run.target as Target
  const needed = {
    ...facts,
    globals: globals ? facts.globals : null,
    databases: facts.databases.filter(({ name }) => chosen.includes(name)),
  }
  const missing = missingParts(needed, run.parts)
  if (missing.length === 0) return
  throw new JobError('verification', `backup ${run.backupId} has no ${missing.join(', ')}`, {
    hint: 'the backup is damaged: take another one, or another storage',
  })
}

/** Dumps are made for the same major or a newer one. */
function refuseVersion(run: TargetRun, server: ServerRow, login: Login): void {
  refuseOld(server, login)
  if (server.major >= majorIn(run.source.server.version)) return
  throw new JobError(
    'server',
    `the backup is of PostgreSQL ${run.source.server.version}, the target ${login.server} runs ${server.version}`,
    { hint: 'restore into a server of the same or a newer major version' },
  )
}

async function restoringClients(run: TargetRun, server: ServerRow): Promise<Clients> {
  const dumped = majorIn(run.source.tools.pg_dump ?? run.source.server.version)
  const clients = await findClients({
    programs: ['pg_restore'],
    folder: (run.target as Target).clients,
    major: Math.max(dumped, server.major),
    because: `the target is PostgreSQL ${server.version} and the backup was made by pg_dump ${dumped}`,
    at: run.at,
    signal: run.signal,
  })
  // it sets transaction_timeout, which older servers do not have
  if (clients.major < 17 || server.major >= 17) return clients
  throw new JobError('configuration', `pg_restore ${clients.major} cannot write to PostgreSQL ${server.version}`, {
    hint:
      dumped >= 17
        ? `the backup was made by pg_dump ${dumped}: restore into PostgreSQL 17 or newer`
        : `install the PostgreSQL ${server.major} clients, or name their folder with ${run.at}.clients`,
  })
}

/** Pure: the name in the target of each chosen database. */
function renamed(chosen: string[], { rename }: Target, at: string): Map<string, string> {
  const unknown = rename.map(({ from }) => from).find((name) => !chosen.includes(name))
  if (unknown !== undefined)
    throw new JobError('nothing-matches', `${at}.rename: no database ${unknown} is restored`, {
      hint: `restored are ${chosen.join(', ')}`,
    })
  const names = new Map(chosen.map((name) => [name, rename.find(({ from }) => from === name)?.to ?? name]))
  const twice = [...names.values()].find((name, i, all) => all.indexOf(name) !== i)
  if (twice === undefined) return names
  throw new JobError('configuration', `${at}.rename: two databases would become ${twice}`)
}

interface Placing {
  facts: DatabaseFacts
  name: string
  seen: Seen
  ours: Creates['databases']
  run: TargetRun
}

/** An empty database that somebody made for this is filled; so is the one that the marker is in, which cannot be dropped. */
function placeOf({ facts, name, seen, ours, run }: Placing): Place {
  const target = run.target as Target
  const there = seen.get(name)
  const inPlace =
    ours.find((one) => one.name === name)?.inPlace ??
    (there !== undefined && (name === target.database || there.contents === undefined))
  if (there && inPlace) compareLocales({ facts, name, row: there.row, run })
  const rows = facts.tables.filter((table) => table.part !== null)
  const wanted = chooseTables(facts.name, rows, { ...target, at: run.at })
  return { facts, name, inPlace, wanted: new Set(wanted) }
}

function compareLocales({
  facts,
  name,
  row,
  run,
}: {
  facts: DatabaseFacts
  name: string
  row: DatabaseRow
  run: TargetRun
}): void {
  if (row.encoding !== facts.encoding)
    throw new JobError(
      'server',
      `database ${name} is there with encoding ${row.encoding}, the backup has ${facts.encoding}`,
      {
        hint: `drop the empty database, and the restore makes it as it was; or name another one with ${run.at}.rename`,
      },
    )
  const of = ({ provider, collate, ctype, locale }: Pick<DatabaseRow, 'provider' | 'collate' | 'ctype' | 'locale'>) =>
    `${provider} ${collate} ${ctype} ${locale ?? ''}`.trim()
  if (of(row) !== of(facts))
    run.warn(`database ${name} is there with locale ${of(row)}, the backup has ${of(facts)}: texts may sort otherwise`)
}

interface Judging {
  places: Place[]
  seen: Seen
  ours: Creates['databases']
  overwrite: boolean
}

/** What would be lost and is not of a crashed run of this request. */
function foreign({ places, seen, ours, overwrite }: Judging): string[] {
  if (overwrite) return []
  return places.flatMap(({ name }) => {
    const contents = seen.get(name)?.contents
    return contents === undefined || ours.some((one) => one.name === name) ? [] : [`database ${name} (${contents})`]
  })
}

interface Weighing {
  places: Place[]
  server: ServerRow
  login: Login
  facts: PostgresFacts
  target: Target
}

function refuseWeak({ places, server, login, facts, target }: Weighing): void {
  const made = places.find((place) => !place.inPlace)
  if (made && !server.createDb)
    throw new JobError('server', `${login.user} on ${login.server} may not make database ${made.name}`, {
      hint: `ALTER ROLE "${login.user}" CREATEDB, or have the empty database made beforehand`,
    })
  if (target.globals && facts.globals && !server.createRole)
    throw new JobError('server', `${login.user} on ${login.server} may not make roles`, {
      hint: `ALTER ROLE "${login.user}" CREATEROLE, or ${login.at}.globals: false when the roles are there`,
    })
}

/** Hours may have passed since the target was looked at: what came into it since is nobody's to drop. */
export async function recheck(run: TargetRun): Promise<void> {
  const before = run.state?.detail as Detail
  const { contents, detail } = await checkTarget(run)
  const now = detail as Detail
  refuseOvertaken(run, before.markers, now.markers)
  if (contents.length === 0 && JSON.stringify(now.clears) === JSON.stringify(before.clears)) return
  const what = contents[0] ?? 'other databases would be dropped than planned'
  throw new JobError('target-not-empty', `the target changed while the backup was being fetched: ${what}`, {
    hint: 'nothing was changed; look at what was made there, and run the restore again',
  })
}

/** The steps, and in people's words what each does to the target. */
export async function planRestore(run: TargetRun, state: TargetState): Promise<RestoreStep[]> {
  const target = run.target as Target
  const { places, clears, facts } = state.detail as Detail
  const names = places.map((place) => place.name).join(', ')
  const created = places.filter((place) => !place.inPlace).map((place) => place.name)
  const drops = clears.map(({ name, inPlace }) => `${inPlace ? 'empty' : 'drop'} database ${name}`)
  const tables = places.reduce((sum, place) => sum + place.wanted.size, 0)
  const single = facts.method === 'single'
  const reads: Record<string, string[]> = {
    verify: partsToCheck(target, state.detail as Detail),
    [single ? 'tables' : 'data']: places.flatMap((place) => neededParts(place, facts.method).slice(single ? 0 : 1)),
  }
  const step = (name: string, says: string, wanted = true): RestoreStep[] =>
    wanted ? [{ name, says, writes: name !== 'fetch' && name !== 'verify', reads: reads[name] ?? [] }] : []
  return [
    ...step(
      'verify',
      'read every part and compare it with the manifest; nothing is written before all are good',
      target.verify === 'before',
    ),
    ...step('fetch', 'fetch and verify the structure; nothing is written before'),
    ...step(
      'globals',
      'make roles and tablespaces that are missing; those that exist stay',
      target.globals && facts.globals !== null,
    ),
    ...step('clear', drops.join(', '), drops.length > 0),
    ...step(
      'create',
      created.length > 0 ? `make database ${created.join(', ')}, closed to the public` : `prepare ${names}`,
    ),
    ...step('tables', `make schemas, types, functions and tables of ${names}`),
    ...step('data', `restore the rows of ${tables} tables, ${target.parallel} parts at once`),
    ...step('indexes', 'make indexes, constraints, triggers, policies; fill materialised views'),
    ...step('prove', 'count tables, rows and sequences against the backup'),
    ...step('open', 'give databases their settings and owners, and open them'),
    ...step('analyze', 'collect statistics for the planner', target.analyze),
  ]
}

/** Pure: what a restore reads, and what it could trip over. */
export function partsToCheck({ globals }: Target, { facts, places }: Detail): string[] {
  const roles = globals && facts.globals ? [globalsPart] : []
  return [...roles, ...places.flatMap((place) => neededParts(place, facts.method))]
}

/** Pure: those of a database's parts that something is wanted of. */
function neededParts(place: Place, method: Detail['facts']['method']): string[] {
  const { parts } = place.facts
  return method === 'single' ? parts : parts.filter((path) => isNeeded(place, path))
}

/** Pure: something is wanted of this part. */
export function isNeeded({ facts, wanted }: Place, path: string): boolean {
  const inside = facts.tables.filter((table) => table.part === path)
  // the first two have more than rows
  return facts.parts.slice(0, 2).includes(path) || inside.length === 0 || inside.some((table) => wanted.has(table))
}
