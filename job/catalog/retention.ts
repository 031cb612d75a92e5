import { type Calendar, calendarOf, type Period, periods } from './calendar.ts'

/** How long backups are kept: what any rule keeps stays. None of the rules: for ever. */
export interface RetentionPolicy extends Partial<Record<Period, number | undefined>> {
  /** The newest N are kept whatever their age. */
  last?: number | undefined
  /** Seconds. Those that are not older are kept, however many. */
  maxAge?: number | undefined
  /** No rule, but a floor under all of them: never fewer than N stay. */
  minimum?: number | undefined
  /** The zone whose clocks say when a day begins; UTC when left out. */
  timeZone?: string | undefined
}

export interface Retained {
  id: string
  /** Of the backup's start; undefined when nobody can tell. */
  time: Date | undefined
  /** Why it stays whatever the rules say: pins, and readers at work. */
  guards?: readonly string[]
}

export interface RetentionPlan {
  /** The newest whose time is known and has come. */
  newest: string | undefined
  keep: { id: string; reasons: string[] }[]
  remove: { id: string; reason: string }[]
}

interface Planning {
  backups: readonly Retained[]
  policy: RetentionPolicy
  now: Date
}

/** A backup that the rules are asked about: its time is known and has come. */
type Judged = Retained & { time: Date }

/**
 * Decides what goes and what stays. Pure; both lists newest first. Throws a RangeError for a time zone that nobody knows.
 *
 * A backup stays when **any** rule keeps it, so `{ last: 7, maxAge: 30d }` keeps the newest 7 even when backups stopped
 * a year ago, and everything of the last 30 days even when that is more than 7. `daily: 14` keeps the newest of each of the last 14 days
 * **that have a backup**: gaps use up no places, so nothing goes because backups stopped. Without a rule nothing is removed.
 *
 * The newest backup always stays, and the one with the highest id. So does one whose time is unknown or
 * lies in the future: the clock was or is wrong. It takes none of the places, so it cannot push out the backup that was just made.
 * Guards only add: a pinned backup takes its places like any other, so pinning one and letting it go again changes nothing else.
 */
export function planRetention({ backups, policy, now }: Planning): RetentionPlan {
  const newestFirst = backups.toSorted((a, b) => compare(timeOf(b), timeOf(a)) || Number(b.id) - Number(a.id))
  const highest = backups.reduce((id, backup) => Math.max(id, Number(backup.id)), 0)
  const judged = newestFirst.filter((backup) => isJudged(backup, now))
  const ruled = reasonsOfRules(judged, policy, now)
  const reason = reasonToRemove(policy)
  const plan: RetentionPlan = { newest: judged[0]?.id, keep: [], remove: [] }
  for (const backup of newestFirst) {
    const { id, time, guards = [] } = backup
    const reasons = [...(reasonNotToJudge(time, now) ?? ruled.get(id) ?? []), ...guards]
    if (reasons.length === 0 && Number(id) === highest) reasons.push('the one that `latest` picks')
    if (reasons.length > 0) plan.keep.push({ id, reasons })
    else plan.remove.push({ id, reason })
  }
  return plan
}

/** True when something may ever be removed by it. */
export function hasRules(policy: RetentionPolicy): boolean {
  return [policy.last, policy.maxAge, ...periods.map((period) => policy[period])].some((rule) => rule !== undefined)
}

/** Why the rules keep each of them; an empty list: none does. */
function reasonsOfRules(newestFirst: Judged[], policy: RetentionPolicy, now: Date): Map<string, string[]> {
  const reasons = new Map(newestFirst.map(({ id }) => [id, [] as string[]]))
  const add = (id: string, reason: string) => reasons.get(id)?.push(reason)
  const { last, maxAge } = policy
  for (const [i, { id, time }] of newestFirst.entries()) {
    if (i === 0) add(id, 'the newest')
    if (last !== undefined && i < last) add(id, `one of the last ${last}`)
    if (maxAge !== undefined && (now.getTime() - time.getTime()) / 1000 <= maxAge)
      add(id, `not older than ${span(maxAge)}`)
    if (!hasRules(policy)) add(id, 'no retention is set')
  }
  const calendar = calendarOf(policy.timeZone ?? 'UTC')
  for (const period of periods)
    for (const { id, reason } of newestOfEach(newestFirst, { period, count: policy[period] ?? 0, calendar }))
      add(id, reason)
  fillUp(reasons, policy.minimum ?? 0)
  return reasons
}

/** The newest backup of each of the last `count` periods that have one. */
function newestOfEach(
  newestFirst: Judged[],
  { period, count, calendar }: { period: Period; count: number; calendar: Calendar },
): { id: string; reason: string }[] {
  const chosen: { id: string; reason: string }[] = []
  const seen = new Set<string>()
  for (const { id, time } of newestFirst) {
    if (chosen.length === count) break
    const name = calendar(time, period)
    if (seen.has(name)) continue
    seen.add(name)
    chosen.push({ id, reason: `the newest of ${name} (${period} ${chosen.length + 1} of ${count})` })
  }
  return chosen
}

/** `reasons` are in order, newest first: the newest that no rule keeps come in until there are enough. */
function fillUp(reasons: Map<string, string[]>, minimum: number): void {
  let kept = [...reasons.values()].filter(({ length }) => length > 0).length
  for (const own of reasons.values()) {
    if (kept >= minimum) return
    if (own.length > 0) continue
    own.push(`at least ${minimum} stay`)
    kept += 1
  }
}

/** Not by subtraction: two infinities have no difference. */
function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1
}

function timeOf({ time }: Retained): number {
  return time?.getTime() ?? Number.POSITIVE_INFINITY
}

function isJudged(backup: Retained, now: Date): backup is Judged {
  return reasonNotToJudge(backup.time, now) === undefined
}

function reasonNotToJudge(time: Date | undefined, now: Date): string[] | undefined {
  if (time === undefined) return ['its time is unknown']
  return time > now ? ['its time lies in the future'] : undefined
}

function reasonToRemove({ last, maxAge, ...policy }: RetentionPolicy): string {
  const rules = []
  if (last !== undefined) rules.push(`not one of the last ${last}`)
  if (maxAge !== undefined) rules.push(`older than ${span(maxAge)}`)
  const counts = periods.flatMap((period) => (policy[period] === undefined ? [] : `${period} ${policy[period]}`))
  if (counts.length > 0) rules.push(`not kept by ${counts.join(', ')}`)
  return rules.join(' and ')
}

function span(seconds: number): string {
  if (seconds % 86400 === 0) return `${seconds / 86400}d`
  return seconds % 3600 === 0 ? `${seconds / 3600}h` : `${seconds}s`
}
