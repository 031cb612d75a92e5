import { JobError } from '../errors.ts'
import { isId } from './layout.ts'

export type Pick = { latest: true } | { id: string } | { notAfter: Date }

/**
 * What a pick asks for: `latest`, a backup id, or a time in ISO 8601: UTC when it names no zone, the whole day
 * when it is only a date. Digits alone are always an id. Throws `configuration`.
 */
export function parsePick(pick: string | number): Pick {
  const text = String(pick).trim()
  if (text === 'latest') return { latest: true }
  if (/^\d+$/.test(text)) {
    if (isId(text)) return { id: text }
    throw wrong(text, 'ids go from 1 to 4294967294')
  }
  const time = parseTime(text)
  if (time) return { notAfter: time }
  throw wrong(text, 'a pick is `latest`, a backup id such as 1795218000, or a time such as 2026-11-20T23:40:00Z')
}

function wrong(text: string, hint: string): JobError {
  return new JobError('configuration', `"${text}" picks no backup`, { hint })
}

/** JavaScript reads a time without zone as local and turns February 30 into March 2: neither is acceptable here. */
function parseTime(text: string): Date | undefined {
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+-]\d{2}:\d{2})?)?$/i.exec(text)
  const [, day = '', clock = '23:59:59.999', zone = 'Z'] = match ?? []
  const midnight = new Date(`${day}T00:00:00Z`)
  if (Number.isNaN(midnight.getTime()) || !midnight.toISOString().startsWith(day)) return undefined
  const time = new Date(`${day}T${clock}${zone.toUpperCase()}`)
  return Number.isNaN(time.getTime()) ? undefined : time
}
