import { type Config, type Plan, refuseOnePlace, seconds } from '../config.ts'
import { JobError } from '../errors.ts'

export interface CopyOptions {
  /** A copy of the values, or a plan: then from and to all its storages. */
  name: string
  /** Left out: all that are missing, but those that the retention would remove again at once. */
  pick?: string | number | undefined
  from?: string[] | undefined
  to?: string[] | undefined
  dryRun?: boolean | undefined
}

export interface CopyRequest {
  plan: string
  /** Absent for a plan of another installation. */
  values: Plan | undefined
  from: string[]
  to: string[]
  pick: string | number | undefined
  /** Who copies, for people. */
  by: string
  /** How long the run may take at most. */
  seconds: number
}

/** Throws `configuration` when neither a copy nor a plan has that name, and when nothing would have to be brought anywhere. */
export function copyRequestOf(
  { copies, backups, storages }: Config,
  { name, pick, ...options }: CopyOptions,
): CopyRequest {
  const copy = copies[name]
  const plan = copy?.plan ?? name
  const values = backups[plan]
  if (!copy && !values) {
    const known = [...new Set([...Object.keys(copies), ...Object.keys(backups)])].join(', ') || 'none'
    throw new JobError('configuration', `there is no copy and no plan named "${name}" (there are: ${known})`)
  }
  const from = options.from ?? copy?.from ?? values?.storages ?? []
  const to = options.to ?? copy?.to ?? values?.storages ?? []
  const strange = [...from, ...to].find((storage) => !storages[storage])
  if (strange)
    throw new JobError(
      'configuration',
      `storages: no storage named "${strange}" (there are: ${Object.keys(storages).join(', ') || 'none'})`,
    )
  if (new Set([...from, ...to]).size < 2 || from.length === 0 || to.length === 0)
    throw new JobError(
      'configuration',
      `copy ${name}: from ${from.join(', ') || 'none'} to ${to.join(', ') || 'none'}`,
      {
        hint: 'name two storages at least, with --from and --to',
      },
    )
  refuseOnePlace(`copy ${name}`, [...new Set([...from, ...to])], { storages })
  return { plan, values, from, to, pick, by: `copy ${name}`, seconds: seconds(copy?.deadline ?? '24h') }
}
