/** How long backups are kept. None of the rules: for ever. */
export interface RetentionPolicy {
  /** The newest N are kept whatever their age. */
  last?: number | undefined
  /** Seconds. Those that are not older are kept, however many. */
  maxAge?: number | undefined
}

export interface Retained {
  id: string
  /** Of the backup's start; undefined when nobody can tell. */
  time: Date | undefined
}

export interface RetentionPlan {
  keep: { id: string; reasons: string[] }[]
  remove: { id: string; reason: string }[]
}

/**
 * Decides what goes and what stays. Pure; both lists newest first.
 *
 * A backup stays when **any** rule keeps it, so `{ last: 7, maxAge: 30d }` keeps the newest 7 even when backups stopped
 * a year ago, and everything of the last 30 days even when that is more than 7. `last` alone removes all but N; `maxAge`
 * alone removes what is older; without a rule nothing is removed.
 *
 * The newest backup always stays, and the one with the highest id. So does one whose time is unknown or
 * lies in the future: the clock was or is wrong. It takes none of the `last` places, so it cannot push out the backup that was just made.
 */
export function planRetention({
  backups,
  policy,
  now,
}: {
  backups: readonly Retained[]
  policy: RetentionPolicy
  now: Date
}): RetentionPlan {
  const plan: RetentionPlan = { keep: [], remove: [] }
  const newestFirst = backups.toSorted((a, b) => compare(timeOf(b), timeOf(a)) || Number(b.id) - Number(a.id))
  const highest = backups.reduce((id, backup) => Math.max(id, Number(backup.id)), 0)
  let place = 0
  for (const backup of newestFirst) {
    const { id, time } = backup
    const age = (now.getTime() - timeOf(backup)) / 1000
    const reasons = reasonNotToJudge(time, now) ?? reasonsToKeep({ place: ++place, age, policy })
    if (reasons.length === 0 && Number(id) === highest) reasons.push('the one that `latest` picks')
    if (reasons.length > 0) plan.keep.push({ id, reasons })
    else plan.remove.push({ id, reason: reasonToRemove(policy) })
  }
  return plan
}

/** Not by subtraction: two infinities have no difference. */
function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1
}

function timeOf({ time }: Retained): number {
  return time?.getTime() ?? Number.POSITIVE_INFINITY
}

function reasonNotToJudge(time: Date | undefined, now: Date): string[] | undefined {
  if (time === undefined) return ['its time is unknown']
  return time > now ? ['its time lies in the future'] : undefined
}

/** `place` counts from 1 for the newest; age in seconds. */
function reasonsToKeep({
  place,
  age,
  policy: { last, maxAge },
}: {
  place: number
  age: number
  policy: RetentionPolicy
}): string[] {
  const reasons: string[] = []
  if (place === 1) reasons.push('the newest')
  if (last !== undefined && place <= last) reasons.push(`one of the last ${last}`)
  if (maxAge !== undefined && age <= maxAge) reasons.push(`not older than ${span(maxAge)}`)
  if (last === undefined && maxAge === undefined) reasons.push('no retention is set')
  return reasons
}

function reasonToRemove({ last, maxAge }: RetentionPolicy): string {
  const rules = []
  if (last !== undefined) rules.push(`not one of the last ${last}`)
  if (maxAge !== undefined) rules.push(`older than ${span(maxAge)}`)
  return rules.join(' and ')
}

function span(seconds: number): string {
  if (seconds % 86400 === 0) return `${seconds / 86400}d`
  return seconds % 3600 === 0 ? `${seconds / 3600}h` : `${seconds}s`
}
