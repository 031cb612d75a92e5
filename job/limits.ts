import { z } from 'zod'
import { wallClock } from './catalog/calendar.ts'
import type { Values } from './config.ts'

/** How fast a run may move bytes, and when that holds. */

const factors = { '': 1, k: 1e3, M: 1e6, G: 1e9, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 } as const
/** Slower than that, a stream that waits for its turn among others would look like one that hangs. */
const least = 64 * 1024

const bytes = z
  .union([
    z.int(),
    z.string().regex(/^[1-9]\d*(k|M|G|Ki|Mi|Gi)?$/, 'a size is a number with k, M, G, Ki, Mi or Gi, such as 50Mi'),
  ])
  .refine((size) => bytesOf(size) >= least, 'is less than 64Ki a second')

const clock = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'a time of day is "07:00" to "23:59", in quotes')

export const Limits = z.strictObject({
  bytesPerSecond: bytes.describe(
    'most bytes a second to and from the storages, all streams, storages and workers of a run together: 50Mi',
  ),
  between: z
    .strictObject({
      from: clock.describe('first minute in which the limit holds: "07:00"'),
      to: clock.describe('minute in which it ends; earlier than `from`: on the next day'),
    })
    .refine(({ from, to }) => from !== to, 'from and to are the same: leave `between` out for a limit at all times')
    .optional()
    .describe(
      'hours of the day in which the limit holds, by the clocks of `timeZone`; the rest of the day there is none. Runs are never paused',
    ),
})
export type Limits = z.infer<typeof Limits>

/** Limits with the time zone of their hours: what a worker is told, too. */
export interface Pacing {
  limits: Limits
  timeZone: string
}

/** Which plan or restore a run is of. */
export interface Subject {
  plan?: string | undefined
  restore?: string | undefined
  /** The plan that `restore --backup` names. */
  backup?: string | undefined
  /** An entry of `copies`, or a plan. */
  name?: string | undefined
}

/** Of the plan, restore or copy that the run is of; undefined when it has no limits. */
export function pacingOf(
  values: Pick<Values, 'backups' | 'restores' | 'copies'>,
  subject: Subject,
): Pacing | undefined {
  const { plan, restore, backup, name = '' } = subject
  const of =
    restore === undefined ? (values.copies[name] ?? values.backups[plan ?? backup ?? name]) : values.restores[restore]
  return of?.limits && { limits: of.limits, timeZone: of.timeZone ?? 'Etc/UTC' }
}

/** The limit at a time, in bytes a second; undefined when there is none then. Keeps what it finds out about the time zone. */
export function limitOver({
  limits: { bytesPerSecond, between },
  timeZone,
}: Pacing): (now: Date) => number | undefined {
  const limit = bytesOf(bytesPerSecond)
  if (!between) return () => limit
  const shown = wallClock(timeZone)
  const [from, to] = [minuteOf(between.from), minuteOf(between.to)]
  return (now) => {
    const minute = Math.floor(shown(now) / 60_000) % (24 * 60)
    const within = from < to ? from <= minute && minute < to : from <= minute || minute < to
    return within ? limit : undefined
  }
}

function minuteOf(text: string): number {
  const [hours = 0, minutes = 0] = text.split(':').map(Number)
  return hours * 60 + minutes
}

function bytesOf(size: string | number): number {
  const [, digits, unit = ''] = /^(\d+)(\D*)$/.exec(String(size)) ?? []
  return Number(digits) * factors[unit as keyof typeof factors]
}
