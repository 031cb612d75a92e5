import type { Marker, RestoreStep, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Checked, databasesOf, examine } from './backup.ts'
import { type Session, withCockroach } from './connection.ts'
import { type CockroachFacts, factsOf } from './facts.ts'
import { Creates, readMarkers } from './marker.ts'
import { quoteName } from './statements.ts'
import type { Target } from './values.ts'

export interface Detail extends Checked {
  facts: CockroachFacts
  /** Databases that come back. */
  databases: string[]
  users: boolean
  /** Objects of the target that go: databases, or single tables `database.schema.table`. */
  clears: string[]
  creates: string[]
  markers: Marker[]
}

export async function checkTarget(run: TargetRun): Promise<TargetState> {
  const target = run.target as Target
  const facts = factsOf(run.source)
  const databases = chosenOf(run, facts)
  refuseTime(run, facts)
  const checked = await examine(run, target)
  refuseOlder(run, checked)
  if (facts.encrypted && checked.passphrase === undefined) {
    throw new JobError(
      'configuration',
      `backup ${run.backupId} is encrypted, and ${run.at}.encryption names no passphrase`,
      {
        hint: 'encryption: { secret: NAME, key: password }',
      },
    )
  }
  const creates = [...new Set([...createsOf(facts, databases), ...Creates.parse(run.unfinished?.creates)])]
  const { markers, there, clears } = await withCockroach(checked.login, (session) => look(session, creates))
  const ours = Creates.parse(run.unfinished?.creates)
  const others = there.filter(
    ({ name, tables }) => tables > 0 && !ours.some((one) => one === name || one.startsWith(`${name}.`)),
  )
  const contents = run.overwrite ? [] : others.map(({ name, tables }) => `database ${name} (${tables} tables)`)
  const users =
    target.users && facts.scope === 'cluster' && target.include === undefined && target.exclude === undefined
  const detail: Detail = { ...checked, facts, databases, users, clears, creates, markers }
  return { server: checked.server, tools: {}, contents, detail }
}

/** The database would say so only after what is in the way was dropped. */
function refuseTime({ target, at, backupId }: TargetRun, { revisionHistory, endTime }: CockroachFacts): void {
  const { at: time } = target as Target
  if (time === undefined) return
  if (!revisionHistory)
    throw new JobError('configuration', `${at}.at: backup ${backupId} has one time only, ${endTime}`, {
      hint: 'take backups with revisionHistory: true, or leave at out',
    })
  if (Date.parse(time) > Date.parse(endTime))
    throw new JobError('configuration', `${at}.at: ${time} is after the end of backup ${backupId}, ${endTime}`, {
      hint: 'choose a newer backup, or an earlier time',
    })
}

function chosenOf({ target, at }: TargetRun, { databases }: CockroachFacts): string[] {
  const { include, exclude } = target as Target
  const missing = [...(include?.databases ?? []), ...(exclude?.databases ?? [])].find(
    (name) => !databases.includes(name),
  )
  if (missing !== undefined)
    throw new JobError('configuration', `${at}: the backup has no database ${missing}`, {
      hint: `it has ${databases.join(', ')}`,
    })
  return databases.filter((name) => (include?.databases.includes(name) ?? true) && !exclude?.databases.includes(name))
}

function createsOf({ scope, tables }: CockroachFacts, databases: string[]): string[] {
  if (scope !== 'tables') return databases
  return tables
    .filter(({ database }) => databases.includes(database))
    .map(({ database, schema, name }) => `${database}.${schema}.${name}`)
}

/** A backup is read by the version that wrote it and by later ones. */
function refuseOlder({ source }: TargetRun, { server }: Checked): void {
  const [from, to] = [source.server.version, server.version].map((version) => Number.parseFloat(version))
  if (!(Number(from) > Number(to))) return
  throw new JobError(
    'server',
    `the backup is of CockroachDB ${source.server.version}, the target runs ${server.version}`,
    {
      hint: 'restore into a cluster of the same or a newer version',
    },
  )
}

export async function look(session: Session, creates: string[]) {
  const markers = await readMarkers(session)
  const there: { name: string; tables: number }[] = []
  const clears: string[] = []
  for (const name of await databasesOf(session)) {
    const tables = await tablesOf(session, name)
    there.push({ name, tables: tables.length })
    const all = [name, ...tables.map((table) => `${name}.${table.schema}.${table.name}`)]
    clears.push(...all.filter((one) => creates.includes(one)))
  }
  return { markers, there, clears }
}

export async function tablesOf(session: Session, database: string): Promise<{ schema: string; name: string }[]> {
  return session.rows(
    `SELECT schema_name AS schema, table_name AS name FROM [SHOW TABLES FROM ${quoteName(database)}] WHERE type = 'table'`,
  )
}

export async function planRestore(run: TargetRun, state: TargetState): Promise<RestoreStep[]> {
  const { facts, databases, users, clears } = state.detail as Detail
  const what = facts.scope === 'tables' ? `tables of ${databases.join(', ')}` : `databases ${databases.join(', ')}`
  return [
    ...((run.target as Target).verify === 'before'
      ? [
          {
            name: 'verify',
            says: 'read all files of the backup and check them; nothing is written before',
            writes: false,
            reads: run.parts.map(({ path }) => path),
          },
        ]
      : []),
    ...(clears.length > 0 ? [{ name: 'clear', says: `drop ${clears.join(', ')}`, writes: true }] : []),
    {
      name: 'data',
      says: `have the database restore ${what} as of ${(run.target as Target).at ?? facts.endTime}${users ? ', users and roles' : ''}`,
      writes: true,
    },
    { name: 'prove', says: 'count the rows of every table against the backup', writes: true },
  ]
}
