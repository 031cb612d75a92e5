import type { BackupFacts, RunContext, ServerFacts, Sink, SourceRun, SourceState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Login, loginOf } from '../../io/connection.ts'
import { type Session, withCockroach } from './connection.ts'
import { type CockroachFacts, readBackup } from './facts.ts'
import { carryOut, withConnection } from './jobs.ts'
import { readMarkers, refuseUnfinished } from './marker.ts'
import { backupStatement, showStatement } from './statements.ts'
import { type Source, systemDatabases, type Target } from './values.ts'

export interface Checked extends ServerFacts {
  login: Login
  passphrase: string | undefined
}

/** The path in the backup that the database writes below. */
export const collection = 'collection'

export async function check(run: SourceRun): Promise<SourceState> {
  const checked = await examine(run, run.source as Source)
  await withCockroach(checked.login, async (session) => {
    await refuseUnknown(run, session)
    refuseUnfinished(await readMarkers(session), checked.login.server)
  })
  return { server: checked.server, tools: checked.tools, detail: checked }
}

export async function examine(run: RunContext & { at: string }, values: Source | Target): Promise<Checked> {
  const login = loginOf(values, run, run.at)
  const { encryption } = values
  const passphrase = encryption && run.secret(encryption, encryption.key, `${run.at}.encryption`)
  const server = await withCockroach(login, (session) => serverOf(session, login))
  return { server, tools: {}, login, passphrase }
}

async function serverOf(session: Session, { server }: Login): Promise<ServerFacts['server']> {
  const [row] = await session.rows<{ version: string }>('SELECT version() AS version')
  const said = row?.version ?? ''
  const [, version, major, minor] = /^CockroachDB.* v((\d+)\.(\d+)[^ ]*)/.exec(said) ?? []
  if (version === undefined)
    throw new JobError('server', `${server} is no CockroachDB: it says ${said}`, {
      hint: 'for PostgreSQL use the engine postgres',
    })
  if (Number(major) > 23 || (Number(major) === 23 && Number(minor) >= 2)) return { product: 'CockroachDB', version }
  throw new JobError('server', `CockroachDB ${version} is too old`, { hint: 'version 23.2 or newer is needed' })
}

async function refuseUnknown(run: SourceRun, session: Session): Promise<void> {
  const { include } = run.source as Source
  const there = await databasesOf(session)
  const wanted = [...(include?.databases ?? []), ...(include?.tables.map((name) => name.split('.')[0] ?? '') ?? [])]
  const missing = wanted.filter((name) => !there.includes(name))
  if (missing.length === 0) return
  throw new JobError('configuration', `${run.at}.include: the cluster has no database ${missing.join(', ')}`, {
    hint: `it has ${there.join(', ')}`,
  })
}

export async function databasesOf(session: Session): Promise<string[]> {
  const rows = await session.rows<{ name: string }>('SELECT database_name AS name FROM [SHOW DATABASES]')
  return rows.map(({ name }) => name).filter((name) => !systemDatabases.includes(name))
}

/** The database writes to the bucket by itself; then all that it wrote is read back once. */
export async function backup(run: SourceRun, sink: Sink): Promise<BackupFacts> {
  const source = run.source as Source
  const { login, passphrase, server, tools } = (run.checked ?? (await check(run))).detail as Checked
  const { place, parts } = await sink.external(collection)
  const name = `holdfast_backup_${run.backupId}`
  const found = await withCockroach(login, (session) =>
    withConnection({ run, session, name, place, values: source }, async () => {
      await carryOut({ run, session, login, what: 'backup', statement: backupStatement(source, name, passphrase) })
      return readBackup(session, showStatement(name, passphrase))
    }),
  )
  const stored = await parts()
  if (!stored.some(({ path }) => /\/(BACKUP_MANIFEST|BACKUP_METADATA)[^/]*$/.test(path))) {
    throw new JobError('server', 'the database says that its backup is done, and left none in the storage', {
      hint: 'the nodes must write to the same bucket: check storageEndpoint',
    })
  }
  const { include, revisionHistory } = source
  const facts: CockroachFacts = {
    scope: include === undefined ? 'cluster' : include.tables.length > 0 ? 'tables' : 'databases',
    revisionHistory,
    encrypted: passphrase !== undefined,
    ...found,
  }
  return { server, tools, facts: { ...facts } }
}
