import { JobError } from '../../errors.ts'
import { inParallel } from '../../io/parallel.ts'
import { extensionsOf, largeObjectsOf } from './catalog.ts'
import { some } from './check.ts'
import type { Progress } from './restore.ts'
import { quoteName, quoteText, type Session, withSession } from './server.ts'
import type { Place } from './target.ts'
import { timescaleOf } from './timescale.ts'

/** Nothing is missing: every table has the rows that its archive has, sequences stand where they stood. */
export async function prove(state: Progress): Promise<Record<string, unknown>> {
  const figures = { databases: 0, tables: 0, rows: 0, sequences: 0 }
  for (const place of state.detail.places) {
    const rows = await compareRows(state, place)
    await withSession(state.detail.login, place.name, (session) => compareRest(session, place), state.run)
    figures.databases += 1
    figures.tables += place.wanted.size
    figures.rows += rows
    figures.sequences += place.facts.sequences.length
  }
  return figures
}

const tablesAtOnce = 50

/** Where the server has not counted them as they came, it does now. */
async function compareRows(
  { run, target, detail, counted }: Progress,
  { name, facts, wanted }: Place,
): Promise<number> {
  const all = facts.tables.filter((table) => wanted.has(table))
  const tables = all.filter((table) => !counted.has(table))
  const batches = Array.from({ length: Math.ceil(tables.length / tablesAtOnce) }, (_, i) =>
    tables.slice(i * tablesAtOnce, (i + 1) * tablesAtOnce),
  )
  const found = await inParallel(batches, target.parallel, (batch) =>
    withSession(
      detail.login,
      name,
      async (session) => {
        await session.execute('SET row_security = off')
        const counts = batch.map(
          (one, i) => `SELECT ${i} AS i, count(*) AS n FROM ONLY ${quoteName(one.schema)}.${quoteName(one.name)}`,
        )
        const rows = await session.rows<{ i: number; n: string }>(counts.join(' UNION ALL '))
        return batch.map((table, i) => ({ table, found: Number(rows.find((row) => row.i === i)?.n) }))
      },
      run,
    ),
  )
  const wrong = found.flat().filter(({ table, found }) => found !== table.rows)
  refuse(
    wrong.map(({ table, found }) => `${table.schema}.${table.name} has ${found} rows instead of ${table.rows}`),
    name,
  )
  return all.reduce((sum, { rows }) => sum + rows, 0)
}

async function compareRest(session: Session, { name, facts, wanted }: Place): Promise<void> {
  const wrong: string[] = []
  const left = new Set(facts.tables.filter((table) => !wanted.has(table)).map((table) => table.part))
  const stands = await sequencesOf(session)
  for (const one of facts.sequences) {
    const value = stands.get(`${one.schema}.${one.name}`)
    // the numbers of a table whose rows were left out stay where they begin
    if (value === one.value || left.size > 0 || one.schema.startsWith('_timescaledb')) continue
    wrong.push(
      `sequence ${one.schema}.${one.name} stands at ${value ?? 'its beginning'} instead of ${one.value ?? 'its beginning'}`,
    )
  }
  const objects = await largeObjectsOf(session)
  if (objects !== facts.largeObjects) wrong.push(`${objects} large objects instead of ${facts.largeObjects}`)
  const time = await timescaleOf(session, await extensionsOf(session))
  for (const key of ['hypertables', 'chunks'] as const)
    if (facts.timescaledb && time?.[key] !== facts.timescaledb[key])
      wrong.push(`${time?.[key]} ${key} instead of ${facts.timescaledb[key]}`)
  refuse(wrong, name)
}

async function sequencesOf(session: Session): Promise<Map<string, string | null>> {
  const rows = await session.rows<{ name: string; value: string | null }>(
    `SELECT schemaname || '.' || sequencename AS name, last_value::text AS value FROM pg_sequences WHERE schemaname <> ${quoteText('holdfast')}`,
  )
  return new Map(rows.map((row) => [row.name, row.value]))
}

function refuse(wrong: string[], database: string): void {
  if (wrong.length === 0) return
  throw new JobError('verification', `database ${database} differs from the backup: ${some(wrong)}`, {
    hint: 'do not use the target; run the restore again, from another backup if it repeats',
  })
}
