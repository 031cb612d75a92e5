import type { Marker, Reader, RestoreStep, TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { checkParts, stepOf } from '../../io/restores.ts'
import { collection } from './backup.ts'
import { type Session, withCockroach } from './connection.ts'
import type { CockroachFacts } from './facts.ts'
import { carryOut, withConnection } from './jobs.ts'
import { writeMarker } from './marker.ts'
import { quoteName, quoteTable, restoreStatement } from './statements.ts'
import { type Detail, look, tablesOf } from './target.ts'
import type { Target } from './values.ts'

/** The first mark looks at the target again: hours may have passed. */
export async function mark(run: TargetRun, marker: Omit<Marker, 'creates'>): Promise<void> {
  const { login, creates, clears } = detailOf(run)
  await withCockroach(login, async (session) => {
    if (marker.state === 'begun') {
      const surprise = (await look(session, creates)).clears.find((name) => !clears.includes(name))
      if (surprise !== undefined) {
        throw new JobError('target-not-empty', `the target changed while the backup was being read: ${surprise}`, {
          hint: 'nothing was changed; look at what was made there, and run the restore again',
        })
      }
    }
    await writeMarker(session, { ...marker, creates })
  })
}

type Step = (run: TargetRun, reader: Reader) => Promise<Record<string, unknown>>

const steps: Record<string, Step> = { verify, clear, data, prove }

export async function restore(run: TargetRun, step: RestoreStep, reader: Reader): Promise<Record<string, unknown>> {
  return stepOf(steps, step)(run, reader)
}

function detailOf(run: TargetRun): Detail {
  return run.state?.detail as Detail
}

/** The database checks what it reads by its own sums; ours say that it is what was backed up. */
async function verify(run: TargetRun, reader: Reader) {
  const paths = run.parts.map(({ path }) => path)
  const { bytes } = await checkParts(reader, paths, 8)
  return { bytes }
}

async function clear(run: TargetRun) {
  const { login, clears } = detailOf(run)
  await withCockroach(login, async (session) => {
    for (const name of clears)
      await session.rows(
        name.includes('.') ? `DROP TABLE ${quoteTable(name)} CASCADE` : `DROP DATABASE ${quoteName(name)} CASCADE`,
      )
  })
  run.log.info({ dropped: clears }, 'replaced content dropped')
  return { dropped: clears.length }
}

async function data(run: TargetRun, reader: Reader) {
  const target = run.target as Target
  const { login, passphrase, facts, databases, users, creates } = detailOf(run)
  const place = await reader.external(collection)
  const connection = `holdfast_restore_${run.backupId}`
  await withCockroach(login, (session) =>
    withConnection({ run, session, name: connection, place, values: target }, async () => {
      const tables = facts.scope === 'tables'
      if (tables) for (const name of databases) await session.rows(`CREATE DATABASE IF NOT EXISTS ${quoteName(name)}`)
      const objects = tables
        ? `TABLE ${creates.map(quoteTable).join(', ')}`
        : `DATABASE ${databases.map(quoteName).join(', ')}`
      const one = { connection, options: target.extraOptions, passphrase, at: target.at }
      // users first: databases come back with their owners and grants
      if (users) {
        const statement = restoreStatement('SYSTEM USERS', { ...one, options: [] })
        await carryOut({ run, session, login, what: 'restore of users', statement })
      }
      await carryOut({ run, session, login, what: 'restore', statement: restoreStatement(objects, one) })
    }),
  )
  return { databases: databases.length }
}

async function prove(run: TargetRun) {
  const { login, facts, databases } = detailOf(run)
  const wrong: string[] = []
  let rows = 0
  const tables = await withCockroach(login, async (session) => {
    const tables = await tablesThen(run, session)
    for (const { database, schema, name, rows: expected } of tables) {
      run.signal.throwIfAborted()
      const [found] = await session.rows<{ n: string }>(
        `SELECT count(*) AS n FROM ${[database, schema, name].map(quoteName).join('.')}`,
      )
      rows += Number(found?.n)
      // with its history a table has more rows in the backup than at its end
      if (!facts.revisionHistory && Number(found?.n) !== expected)
        wrong.push(`${database}.${schema}.${name} has ${found?.n} rows instead of ${expected}`)
    }
    return tables
  })
  if (wrong.length === 0) return { databases: databases.length, tables: tables.length, rows }
  throw new JobError('verification', `the target differs from the backup: ${wrong.slice(0, 5).join('; ')}`, {
    hint: 'do not use the target; run the restore again, from another backup if it repeats',
  })
}

/** At an earlier time there were others than the backup lists: those that came back are counted. */
async function tablesThen(run: TargetRun, session: Session): Promise<CockroachFacts['tables']> {
  const { facts, databases } = detailOf(run)
  if ((run.target as Target).at === undefined)
    return facts.tables.filter(({ database }) => databases.includes(database))
  const tables: CockroachFacts['tables'] = []
  for (const database of databases)
    for (const table of await tablesOf(session, database)) tables.push({ database, ...table, rows: 0 })
  return tables
}
