import { Cron } from 'croner'
import { JobError, textOf } from './errors.ts'

interface Scheduled {
  schedule?: string | null | undefined
  timeZone?: string | null | undefined
}

/** When Kubernetes begins the next run; null where that is never, or there is no schedule. `at`: of the values that have it, for the error. */
export function nextTime({ schedule, timeZone }: Scheduled, { at, now }: { at: string; now: Date }): Date | null {
  if (!schedule) return null
  // in the controller's own zone without one, which is UTC nearly everywhere
  const zone = timeZone ?? 'Etc/UTC'
  try {
    // Kubernetes takes five fields, and 5/15 for 5-59/15
    return new Cron(schedule, { timezone: zone, paused: true, mode: '5-part', sloppyRanges: true }).nextRun(now)
  } catch (cause) {
    // Kubernetes takes these as the first value of the field
    if (/steps cannot be greater/.test(textOf(cause))) return null
    throw new JobError('configuration', `${at}.schedule: "${schedule}" in ${zone} is no schedule`, {
      hint: 'five fields as in crontab, such as "15 2 * * *", and a time zone such as Europe/Stockholm',
      cause,
    })
  }
}
