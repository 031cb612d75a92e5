import type { BackupFacts, Sink, SourceRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { client } from '../../io/clients.ts'
import { output } from '../../io/process.ts'
import { refuseRestored } from '../../io/restores.ts'
import { type Archived, type Contents, walkArchive } from './archive.ts'
import { type Checked, examine } from './check.ts'
import { toolEnv } from './clients.ts'
import { toolFiles, withMongo } from './connection.ts'
import { isUsers, listContent } from './content.ts'
import { type MongoFacts, namespaceOf } from './facts.ts'
import { readMarkers } from './marker.ts'
import { type Source, systemDatabases } from './values.ts'

interface Dump {
  run: SourceRun
  checked: Checked
  sink: Sink
}

interface Dumped extends Contents {
  archive: MongoFacts['archives'][number]
}

/**
 * mongodump writes its buffer of a collection in one go, and asks the server for more only then. Taken in at once, it is compressed while
 * the server works.
 */
const atOnce = 16 * 1024 * 1024

/** The whole server as one archive, or one archive of each chosen database. */
export async function backup(run: SourceRun, sink: Sink): Promise<BackupFacts> {
  const checked = (run.checked?.detail as Checked | undefined) ?? (await examine(run))
  const before = await namesNow(run, checked)
  const dumped: Dumped[] = []
  for (const database of checked.chosen ?? [null]) dumped.push(await dump({ run, checked, sink }, database))
  await refuseMissing({ run, checked, before, dumped })
  const { login, markers } = checked
  refuseRestored(markers, await withMongo(login, { signal: run.signal }, readMarkers), login.server)
  return { server: checked.server, tools: checked.tools, facts: { ...factsOf(run, checked, dumped) } }
}

async function dump({ run, checked, sink }: Dump, database: string | null): Promise<Dumped> {
  const source = run.source as Source
  const path = database === null ? 'dump.archive' : `databases/${database}.archive`
  const archive = { path, database, users: database === null || source.users }
  const dumping = output({
    file: client('mongodump', source.clients),
    args: argumentsOf(source, { database, oplog: checked.oplog }),
    signal: run.signal,
    files: toolFiles(checked.login),
    env: toolEnv,
    burst: atOnce,
  })
  const what = database === null ? 'the archive of mongodump' : `the archive of database ${database}`
  const walk = await walkArchive(dumping, { what, kind: 'server' })
  await sink.write(path, walk.stream)
  const contents = walk.contents()
  return { ...contents, archive: { ...archive, collectionsAtOnce: contents.collectionsAtOnce } }
}

/** Pure: what mongodump is told. The tools take --oplog for a whole server only, and users and roles with one database. */
export function argumentsOf(
  source: Source,
  { database, oplog }: { database: string | null; oplog: boolean },
): string[] {
  const { readPreference, parallelCollections, users, exclude, extraOptions } = source
  const left = exclude?.collections.filter((name) => name.startsWith(`${database}.`)) ?? []
  return [
    '--config=/dev/fd/3',
    '--archive',
    `--readPreference=${readPreference}`,
    `--numParallelCollections=${parallelCollections}`,
    ...(oplog ? ['--oplog'] : []),
    ...(database === null ? [] : [`--db=${database}`]),
    ...(database !== null && users ? ['--dumpDbUsersAndRoles'] : []),
    ...left.map((name) => `--excludeCollection=${name.slice((database?.length ?? 0) + 1)}`),
    ...extraOptions,
  ]
}

/** What this backup should have: names, as the server lists them now. */
async function namesNow(run: SourceRun, { login, chosen }: Checked): Promise<Set<string>> {
  const { exclude, readPreference } = run.source as Source
  const found = await withMongo(login, { signal: run.signal, readPreference }, listContent)
  const wanted = found.filter(({ database }) => chosen?.includes(database) ?? true).map(namespaceOf)
  return new Set(wanted.filter((name) => !exclude?.collections.includes(name)))
}

interface Comparison {
  run: SourceRun
  checked: Checked
  before: Set<string>
  dumped: Dumped[]
}

/** A green backup that holds nothing is the worst: what was there before and is there after must be in it. */
async function refuseMissing({ run, checked, before, dumped }: Comparison): Promise<void> {
  const inArchives = new Set(dumped.flatMap(({ collections }) => collections.map(namespaceOf)))
  const after = await namesNow(run, checked)
  const missing = [...before].filter((name) => after.has(name) && !inArchives.has(name))
  if (missing.length === 0) return
  const shown = missing.slice(0, 5).join(', ')
  throw new JobError('server', `mongodump left ${missing.length} collections out that the server has: ${shown}`, {
    hint: 'give the account the role backup on admin, and check that mongodump and the job reach the same server',
  })
}

function factsOf(run: SourceRun, { oplog, chosen, replicaSet }: Checked, dumped: Dumped[]): MongoFacts {
  const all = dumped.flatMap(({ collections }) => collections)
  const collections = all.filter(({ database, name }) => isContent(database) && isUsers(name) && !name.startsWith('$'))
  const taken = dumped.find((one) => one.oplog)?.oplog
  if (oplog && !taken) {
    throw new JobError('server', 'the archive has no oplog: mongodump did not say why', {
      hint: `look at the server, or say ${run.at}.oplog: off`,
    })
  }
  const count = (kind: 'users' | 'roles') => all.filter(isAccounts(kind)).reduce((sum, one) => sum + one.documents, 0)
  const users = dumped.some(({ archive }) => archive.users)
  return {
    consistency: oplog ? 'oplog' : chosen ? 'per-database' : 'per-collection',
    ...(taken ? { oplog: taken } : {}),
    replicaSet,
    databases: chosen ?? [...new Set(collections.map(({ database }) => database))].sort(),
    collections: collections.sort((a, b) => (namespaceOf(a) < namespaceOf(b) ? -1 : 1)),
    users: users ? count('users') : null,
    roles: users ? count('roles') : null,
    archives: dumped.map(({ archive }) => archive),
  }
}

function isContent(database: string): boolean {
  return database === 'admin' || !systemDatabases.includes(database)
}

/** In a whole dump they are collections of admin; in that of one database they lie under a name of their own. */
function isAccounts(kind: 'users' | 'roles') {
  return ({ database, name }: Archived) =>
    (database === 'admin' && name === `system.${kind}`) || name === `$admin.system.${kind}`
}
