import type { TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import type { Session } from '../../io/mysql.ts'
import { inParallel } from '../../io/parallel.ts'
import { connect } from './check.ts'
import { type Count, count } from './counts.ts'
import type { MysqlFacts } from './facts.ts'
import { isOlder } from './server.ts'
import { keyOf, list } from './tables.ts'
import type { Detail } from './target.ts'
import type { Target } from './values.ts'

export interface Proved {
  tables: number
  rows: number
  checksums: number
}

const hint = 'do not use the target; run the restore again, from another backup if it repeats'

/** Every table has the rows that it had, and where the backup says it and the server counts alike, the same checksum. */
export async function compareRows(run: TargetRun, detail: Detail): Promise<Proved> {
  const { selection, login } = detail
  const { parallel } = run.target as Target
  const checksums = sameSeries(run, detail)
  const groups = Array.from({ length: parallel }, (_, i) => selection.tables.filter((__, j) => j % parallel === i))
  const counted = await inParallel(groups, parallel, async (tables) => {
    const session = await connect(login, run.signal)
    try {
      return await count(session, tables, { checksums: checksums && tables.some(({ checksum }) => checksum !== null) })
    } finally {
      session.close()
    }
  })
  const counts = new Map(counted.flatMap((one) => [...one]))
  const wrong = differences(selection.tables, counts)
  if (wrong.length > 0)
    throw new JobError('verification', `restored rows differ from the backup: ${wrong.slice(0, 5).join('; ')}`, {
      hint,
    })
  return {
    tables: selection.tables.length,
    rows: [...counts.values()].reduce((sum, { rows }) => sum + rows, 0),
    checksums: selection.tables.filter((table) => table.checksum !== null && counts.get(keyOf(table))?.checksum).length,
  }
}

/** A checksum depends on the format of rows, which changes with versions. */
function sameSeries(run: TargetRun, { server }: Detail): boolean {
  const { product, version } = run.source.server
  return product === server.product && !isOlder(version, server.version) && !isOlder(server.version, version)
}

/** Pure. */
export function differences(
  tables: readonly MysqlFacts['tables'][number][],
  counts: ReadonlyMap<string, Count>,
): string[] {
  return tables.flatMap((table) => {
    const key = keyOf(table)
    const found = counts.get(key)
    if (!found || table.rows === null) return []
    if (found.rows !== table.rows) return [`${key} has ${found.rows} rows instead of ${table.rows}`]
    const differs = table.checksum !== null && found.checksum !== null && found.checksum !== table.checksum
    return differs ? [`${key} has another checksum`] : []
  })
}

/**
 * Databases that came as a whole have as many views, routines, triggers and events; of those that tables were left out of, views may lack, and
 * are named.
 */
export async function compareObjects(
  session: Session,
  { facts, selection, server }: Detail,
  run: Pick<TargetRun, 'warn'>,
): Promise<void> {
  const { tables, objects } = await list(session, server)
  const there = new Set(tables.map(keyOf))
  const wrong = selection.tables.filter((table) => !there.has(keyOf(table))).map((table) => `no table ${keyOf(table)}`)
  for (const { database, ...wanted } of facts.objects.filter((one) => selection.objects.includes(one.database))) {
    const whole = selection.whole.includes(database)
    const found = objects.get(database) ?? { views: [], routines: 0, triggers: 0, events: 0 }
    const always = [
      ['routines', wanted.routines, found.routines],
      ['events', wanted.events, found.events],
    ] as const
    const ofTables = [
      ['views', wanted.views.length, found.views.length],
      ['triggers', wanted.triggers, found.triggers],
    ] as const
    const pairs = whole ? [...ofTables, ...always] : always
    const lacking = wanted.views.filter((name) => !found.views.includes(name))
    if (!whole && lacking.length > 0)
      run.warn(`views of database ${database} were left out with their tables: ${lacking.join(', ')}`)
    for (const [what, before, now] of pairs)
      if (before !== now) wrong.push(`database ${database} has ${now} ${what} instead of ${before}`)
  }
  if (wrong.length > 0)
    throw new JobError('verification', `the target differs from the backup: ${wrong.slice(0, 5).join('; ')}`, { hint })
}
