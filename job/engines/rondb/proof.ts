import type { TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { quoteName, type Session, withMysql } from '../../io/mysql.ts'
import type { RondbFacts } from './facts.ts'
import type { Restored } from './native.ts'
import type { Selection } from './selection.ts'
import { keyOf } from './tables.ts'
import type { Detail } from './target.ts'

interface Proof {
  run: TargetRun
  detail: Detail
  restored: Restored[]
}

/** Nothing is missing: what ndb_restore counted adds up to what START BACKUP counted, and every table opens everywhere. */
export async function prove({ run, detail, restored }: Proof): Promise<Record<string, unknown>> {
  const tuples = restored.reduce((sum, one) => sum + one.tuples, 0)
  const logEntries = restored.reduce((sum, one) => sum + one.logEntries, 0)
  const wrong = compareTotals({ facts: detail.facts, selection: detail.selection, tuples, logEntries })
  if (wrong)
    throw new JobError('verification', wrong, {
      hint: 'do not use the target; run the restore again, from another backup if it repeats',
    })

  let rows = 0
  for (const [i, login] of detail.logins.entries()) {
    const counts = await withMysql(login, (session) => countTables(session, detail.selection, run), run)
    if (i === 0) {
      rows = [...counts.values()].reduce((sum, count) => sum + count, 0)
      const differs = compareTables(detail.facts, counts)
      if (differs.length > 0)
        throw new JobError('verification', `restored rows differ from the backup: ${differs.slice(0, 5).join('; ')}`)
    }
  }
  return { tables: detail.selection.tables.length, rows, records: tuples, logEntries }
}

/** Pure: undefined when the totals agree. */
export function compareTotals({
  facts,
  selection,
  tuples,
  logEntries,
}: {
  facts: RondbFacts
  selection: Selection
  tuples: number
  logEntries: number
}): string | undefined {
  const expected = recordsIn(facts, new Set(selection.tables.map(keyOf)))
  if (!expected) return undefined
  const { low, high } = expected
  if (tuples < low || tuples > high)
    return `ndb_restore restored ${tuples} records, the backup has ${rangeText(expected)} for the chosen tables`
  const { logRecords } = facts
  if (logRecords !== null && logEntries > logRecords)
    return `ndb_restore applied ${logEntries} log entries, the backup has ${logRecords}`
  return undefined
}

interface Range {
  low: number
  high: number
}

/**
 * Pure: the records that a restore of these tables brings: rows, and the parts that blobs are stored in. #Records counts every table of
 * NDB; NDB's own and other ones are subtracted with the counts taken before and after the backup, so that it is one number on a
 * quiet cluster and a narrow range under writers. Undefined for adopted backups that nobody counted.
 */
export function recordsIn(facts: RondbFacts, chosen: ReadonlySet<string>): Range | undefined {
  const { records, systemRecords } = facts
  if (records === null || systemRecords === null) return undefined
  const left = facts.tables.filter((table) => !chosen.has(keyOf(table))).map((table) => table.records)
  const skipped = [...left, systemRecords]
  return {
    low: records - skipped.reduce((sum, [a, b]) => sum + Math.max(a, b), 0),
    high: records - skipped.reduce((sum, [a, b]) => sum + Math.min(a, b), 0),
  }
}

export function rangeText({ low, high }: Range): string {
  return low === high ? `${low}` : `${low} to ${high}`
}

async function countTables(session: Session, { tables }: Selection, run: TargetRun): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (const table of tables) {
    run.signal.throwIfAborted()
    const [row] = await session.rows<{ n: string }>(
      `SELECT COUNT(*) AS n FROM ${quoteName(table.database)}.${quoteName(table.name)}`,
    )
    counts.set(keyOf(table), Number(row?.n))
  }
  return counts
}

/** Pure: on a cluster where nothing was written during the backup, each table has exactly the rows that it had. */
export function compareTables(facts: RondbFacts, counts: Map<string, number>): string[] {
  if (facts.logRecords !== 0) return []
  return facts.tables.flatMap((table) => {
    const count = counts.get(keyOf(table))
    const [before, after] = table.rows
    if (count === undefined || before !== after || count === after) return []
    return [`${keyOf(table)} has ${count} rows instead of ${after}`]
  })
}
