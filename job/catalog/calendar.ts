/** The periods of which a backup each is kept, from short to long. */
export const periods = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
export type Period = (typeof periods)[number]

/** The period that a time lies in, named so that different periods have different names: `2026-11-20`, `2026-W47`. */
export type Calendar = (time: Date, period: Period) => string

const quarterMs = 900_000
const dayMs = 86_400_000
/** From the Monday of the week of January 1, 1970 to that day. */
const daysBeforeThursday = 3

/**
 * The calendar of a time zone (`Europe/Stockholm`). Days and all above are those of its clocks, whatever their length. Hours are told apart by their
 * distance from UTC, too, for in autumn the same hour comes twice. Weeks begin on Monday and belong to the year of their Thursday (ISO 8601).
 * Throws a RangeError for a zone that nobody knows.
 */
export function calendarOf(timeZone: string): Calendar {
  const shown = wallClock(timeZone)
  const days = new Map<number, Record<Exclude<Period, 'hourly'>, string>>()
  return (time, period) => {
    const wall = shown(time)
    if (period === 'hourly') return `${new Date(wall).toISOString().slice(0, 13)}h${offsetText(wall - time.getTime())}`
    const day = Math.floor(wall / dayMs)
    const names = days.get(day) ?? namesOf(day)
    days.set(day, names)
    return names[period]
  }
}

function namesOf(day: number) {
  const daily = new Date(day * dayMs).toISOString().slice(0, 10)
  return { daily, weekly: weekOf(day), monthly: daily.slice(0, 7), yearly: daily.slice(0, 4) }
}

/** True when times can be told in it here. */
export function isTimeZone(name: string): boolean {
  try {
    calendarOf(name)
    return true
  } catch {
    return false
  }
}

/**
 * What the zone's clocks show, as if they were in UTC; both in milliseconds. To ask the zone is slow: where it is as far from UTC at the end of a
 * day of UTC as at its beginning, it is so all day; else each quarter of an hour is asked about, for clocks are changed between those.
 */
export function wallClock(timeZone: string): (time: Date) => number {
  const offsetAt = offsets(timeZone)
  return (date) => {
    const time = date.getTime()
    const day = Math.floor(time / dayMs) * dayMs
    const offset = offsetAt(day)
    return time + (offset === offsetAt(day + dayMs) ? offset : offsetAt(Math.floor(time / quarterMs) * quarterMs))
  }
}

function offsets(timeZone: string): (time: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })
  const known = new Map<number, number>()
  return (time) => {
    const offset = known.get(time) ?? wallOf(format, time) - time
    known.set(time, offset)
    return offset
  }
}

function wallOf(format: Intl.DateTimeFormat, time: number): number {
  const parts = Object.fromEntries(format.formatToParts(time).map(({ type, value }) => [type, Number(value)]))
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts
  return Date.UTC(year, month - 1, day, hour, minute, second)
}

function weekOf(day: number): string {
  const week = Math.floor((day + daysBeforeThursday) / 7)
  const thursday = new Date(week * 7 * dayMs)
  const ofYear = Math.floor((thursday.getTime() - Date.UTC(thursday.getUTCFullYear(), 0, 1)) / (7 * dayMs)) + 1
  return `${thursday.getUTCFullYear()}-W${String(ofYear).padStart(2, '0')}`
}

/** `+01:00`; in UTC nothing. */
function offsetText(ms: number): string {
  if (ms === 0) return ''
  const minutes = Math.abs(Math.round(ms / 60_000))
  const [h, m] = [Math.floor(minutes / 60), minutes % 60].map((part) => String(part).padStart(2, '0'))
  return `${ms < 0 ? '-' : '+'}${h}:${m}`
}
