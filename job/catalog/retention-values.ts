import { z } from 'zod'
import { duration } from '../durations.ts'

const newestOf = (period: string) =>
  z.int().min(1).optional().describe(`keep the newest of each of so many ${period} that have a backup`)
const rules = {
  last: z.int().min(1).optional().describe('keep so many of the newest backups whatever their age'),
  maxAge: duration.optional().describe('keep every backup that is not older; when it is the only rule, older ones go'),
  hourly: newestOf('hours'),
  daily: newestOf('days'),
  weekly: newestOf('weeks (from Monday)'),
  monthly: newestOf('months'),
  yearly: newestOf('years'),
  minimum: z.int().min(1).optional().describe('never leave fewer than so many, whatever the rules beside it say'),
}
const needsRule = {
  path: ['minimum'],
  message: 'needs a rule beside it (last, maxAge, hourly, daily, weekly, monthly, yearly): without one nothing goes',
}
const hasRule = ({ minimum, ...others }: Record<string, unknown>) =>
  minimum === undefined || Object.keys(rules).some((rule) => others[rule] !== undefined)

/** `retention` of a plan. */
export const Retention = z
  .strictObject({
    ...rules,
    storages: z
      .record(z.string(), z.strictObject(rules).refine(hasRule, needsRule))
      .optional()
      .describe('other rules for a storage of the plan, in place of all those above; {} keeps everything there'),
  })
  .refine(hasRule, needsRule)
export type Retention = z.infer<typeof Retention>
