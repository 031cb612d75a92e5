import { JobError } from '../../errors.ts'
import { type CollectionFacts, type MongoFacts, namespaceOf } from './facts.ts'
import { expected } from './oplog.ts'
import type { Target } from './values.ts'
import { writersFor } from './writers.ts'

/** One collection that a restore brings, and what has to be found of it then. */
export interface Chosen extends CollectionFacts {
  /** Its name in the target. */
  to: string
  /** Fewest and most documents; undefined where commands in the oplog leave it open. */
  expects: [number, number] | undefined
}

export interface Selection {
  collections: Chosen[]
  /** Other namespaces that the replay of the oplog makes or changes. */
  replayed: string[]
  /** Whether the oplog is replayed: it cannot be filtered, nor renamed. */
  oplog: boolean
  /** Archives to restore from, each with whether its users and roles come too. */
  archives: { path: string; database: string | null; users: boolean }[]
  /** For people: what the choice cost. */
  warnings: string[]
}

/** Pure: what of the backup the target's values choose. Throws `configuration` for a name that the backup does not have. */
export function select(facts: MongoFacts, target: Target, at: string): Selection {
  refuseUnknown(facts, target, at)
  const { include, exclude, rename } = target
  const partly = include !== undefined || exclude !== undefined || rename.length > 0
  const oplog = !partly && (facts.oplog?.changes ?? 0) > 0
  const chosen = facts.collections.filter(
    (one) => (include === undefined || names(include, one)) && !(exclude !== undefined && names(exclude, one)),
  )
  const collections = chosen.map((one) => ({
    ...one,
    to: renamed(namespaceOf(one), target),
    expects: expected({ namespace: namespaceOf(one), documents: one.documents }, oplog ? facts.oplog : undefined),
  }))
  refuseTwice(collections, at)
  const replayed = oplog
    ? Object.keys(facts.oplog?.collections ?? {}).filter((name) => !/^(config|local|holdfast|admin)\.|\.\*$/.test(name))
    : []
  const warnings: string[] = []
  if (partly && (facts.oplog?.changes ?? 0) > 0)
    warnings.push(
      'the oplog can only be replayed into a whole restore: each collection is restored as of its own moment of the backup',
    )
  const archives = facts.archives
    .filter(({ database }) => database === null || chosen.some((one) => one.database === database))
    .map((archive) => ({ ...archive, users: withUsers(archive, { facts, target, partly }) }))
  if (target.users && facts.users !== null && partly && archives.some(({ users }) => !users))
    warnings.push('users and roles come back with whole databases of their own names only: they are left out')
  return { collections, replayed, oplog, archives, warnings }
}

interface Accounts {
  facts: MongoFacts
  target: Target
  partly: boolean
}

/** mongorestore brings the accounts of a whole server, or of one database under its own name. */
function withUsers({ database, users }: MongoFacts['archives'][number], { target, partly }: Accounts): boolean {
  if (!users || !target.users) return false
  if (database === null) return !partly
  const { include, exclude, rename } = target
  const inPieces = [...(include?.collections ?? []), ...(exclude?.collections ?? []), ...rename.map(({ from }) => from)]
  return !inPieces.some((name) => name.startsWith(`${database}.`))
}

function names({ databases, collections }: NonNullable<Target['include']>, one: CollectionFacts): boolean {
  return databases.includes(one.database) || collections.includes(namespaceOf(one))
}

function renamed(namespace: string, { rename }: Target): string {
  const database = namespace.split('.')[0] ?? ''
  const rule = rename.find(({ from }) => from === namespace) ?? rename.find(({ from }) => from === `${database}.*`)
  if (!rule) return namespace
  return rule.from === namespace ? rule.to : rule.to.slice(0, -1) + namespace.slice(database.length + 1)
}

function refuseUnknown(facts: MongoFacts, { include, exclude, rename }: Target, at: string): void {
  const databases = new Set(facts.collections.map(({ database }) => database))
  const collections = new Set(facts.collections.map(namespaceOf))
  const refuse = (where: string, name: string): never => {
    throw new JobError('configuration', `${at}.${where}: the backup has no ${name}`, {
      hint: `it has the databases ${[...databases].join(', ') || '(none)'}; holdfast show lists what is in them`,
    })
  }
  for (const [where, choice] of Object.entries({ include, exclude })) {
    for (const name of choice?.databases ?? []) if (!databases.has(name)) refuse(`${where}.databases`, name)
    for (const name of choice?.collections ?? []) if (!collections.has(name)) refuse(`${where}.collections`, name)
  }
  for (const { from } of rename)
    if (!collections.has(from) && !(from.endsWith('.*') && databases.has(from.slice(0, -2)))) refuse('rename', from)
}

function refuseTwice(collections: Chosen[], at: string): void {
  const seen = new Set<string>()
  for (const { to } of collections) {
    if (seen.has(to))
      throw new JobError('configuration', `${at}.rename: two collections would become ${to}`, {
        hint: 'give them different names',
      })
    seen.add(to)
  }
}

/** Pure: what mongorestore is told for one archive. */
export function argumentsOf(target: Target, selection: Selection, archive: Selection['archives'][number]): string[] {
  const { include, exclude, rename, parallelCollections, extraOptions } = target
  const patterns = (choice: NonNullable<Target['include']>) => [
    ...choice.databases.map((name) => `${escaped(name)}.*`),
    ...choice.collections.map(escaped),
  ]
  return [
    '--config=/dev/fd/3',
    '--archive',
    '--stopOnError',
    `--numParallelCollections=${parallelCollections}`,
    `--numInsertionWorkersPerCollection=${writersFor(target, selection, archive)}`,
    ...(selection.oplog ? ['--oplogReplay'] : []),
    ...(archive.database !== null && archive.users ? [`--db=${archive.database}`, '--restoreDbUsersAndRoles'] : []),
    ...(include ? patterns(include).map((pattern) => `--nsInclude=${pattern}`) : []),
    ...(exclude ? patterns(exclude).map((pattern) => `--nsExclude=${pattern}`) : []),
    ...wholeFirst(rename).flatMap(({ from, to }) => [`--nsFrom=${pattern(from)}`, `--nsTo=${pattern(to)}`]),
    ...extraOptions,
  ]
}

/**
 * Pure: what is taken out of an archive before mongorestore gets it: the marker of a restore, what belongs to the cluster that was backed
 * up, and accounts that are not wanted.
 */
export function leftOut({ database, users }: Selection['archives'][number]) {
  return ({ db, collection }: { db: string; collection: string }): boolean =>
    db === 'holdfast' ||
    db === 'config' ||
    (db === 'admin' && database === null && !users && collection.startsWith('system.'))
}

/** Of several rules for a name mongorestore takes the last: that of the collection, before that of its database. */
function wholeFirst(rename: Target['rename']): Target['rename'] {
  return rename.toSorted((a, b) => Number(b.from.endsWith('.*')) - Number(a.from.endsWith('.*')))
}

/** A name that mongorestore takes as it is. */
function escaped(name: string): string {
  return name.replaceAll(/[\\*]/g, '\\$&')
}

function pattern(name: string): string {
  return name.endsWith('.*') ? `${escaped(name.slice(0, -2))}.*` : escaped(name)
}
