import type { Catalog } from '../catalog/catalog.ts'
import { planRetention, type RetentionPolicy } from '../catalog/retention.ts'
import { type Plan, seconds } from '../config.ts'
import { exitCodeOf, JobError, textOf } from '../errors.ts'
import { inParallel } from '../io/parallel.ts'
import type { Result } from '../io/print.ts'
import { isMissing } from '../storage.ts'
import { askEach, planNamed } from './catalogs.ts'
import type { Job } from './job.ts'

export interface PruneOptions {
  plan: string
  dryRun?: boolean | undefined
  storages?: string[] | undefined
}

/** What happens to one backup or leftover in one storage, and why; also what `--output json` gives. */
export interface Pruned {
  plan: string
  storage: string
  id: string
  /** `sweep` and `leave` are about folders of unfinished runs. */
  action: 'keep' | 'remove' | 'sweep' | 'leave'
  reason: string
  /** Why it could not be carried out. */
  failed?: string
}

const readersAtOnce = 8

/** Applies the plan's retention to each storage by itself and sweeps leftovers. With `dryRun` only says what it would do. */
export async function prune(job: Job, options: PruneOptions): Promise<Result> {
  const { rows, troubles } = await pruneStorages(job, options)
  if (!options.dryRun) for (const trouble of troubles) job.warn(trouble)
  const removed = rows.filter(({ action, failed }) => (action === 'remove' || action === 'sweep') && !failed).length
  return {
    data: rows,
    table: {
      columns: ['storage', 'id', 'action', 'reason'],
      rows: rows.map(({ storage, id, action, reason, failed }) => [
        storage,
        id,
        action,
        failed ? `${reason}; FAILED: ${failed}` : reason,
      ]),
    },
    notes: [
      options.dryRun
        ? `dry run: nothing was removed, ${removed} would be`
        : `${removed} removed, ${rows.length - removed} left`,
    ],
    failure:
      troubles.length > 0
        ? new JobError('storage', `prune was not completed: ${troubles.join('; ')}`, {
            hint: 'run it again: it goes on where it stopped',
          })
        : undefined,
  }
}

/** The end of a backup run: whatever goes wrong here is a warning, for the backup exists. */
export async function pruneAfterBackup(job: Job, plan: string): Promise<Pruned[]> {
  try {
    const { rows, troubles } = await pruneStorages(job, { plan })
    for (const trouble of troubles) job.warn(trouble)
    return rows
  } catch (error) {
    job.warn(`old backups of plan ${plan} were not pruned: ${textOf(error)}`)
    return []
  }
}

async function pruneStorages(job: Job, { plan, dryRun = false, storages }: PruneOptions) {
  const values = planNamed(job.config, plan)
  const chosen = storages?.length ? values.storages.filter((name) => storages.includes(name)) : values.storages
  const strange = storages?.find((name) => !values.storages.includes(name))
  if (strange)
    throw new JobError(
      'configuration',
      `plan ${plan} does not write to storage "${strange}" (it writes to: ${values.storages.join(', ')})`,
    )

  const { answers, unreachable } = await askEach({ job, plan, storages: chosen }, (catalog) =>
    decide(job, catalog, values),
  )
  const rows = answers.flatMap(({ answer }) => answer.rows)
  if (!dryRun) for (const { answer } of answers) await carryOut(job, answer.catalog, answer.rows)
  const troubles = [
    ...rows
      .filter(({ failed }) => failed)
      .map(({ storage, id, failed }) => `backup ${id} was not removed from storage ${storage}: ${failed}`),
    ...unreachable.map(({ storage, error }) => `storage ${storage} was not pruned: ${textOf(error)}`),
  ]
  return { rows, troubles }
}

async function decide(job: Job, catalog: Catalog, values: Plan): Promise<{ catalog: Catalog; rows: Pruned[] }> {
  const where = { plan: catalog.plan, storage: catalog.storage.name }
  const { committed } = await catalog.ids()
  const backups = await inParallel(committed, readersAtOnce, async (id) => ({ id, time: await timeOf(catalog, id) }))
  const { keep, remove } = planRetention({ backups, policy: policyOf(values), now: job.now() })
  // Nothing older goes while the newest is one that no restore would take.
  if (remove.length > 0) await catalog.find({ pick: 'latest', signal: job.signal })
  const leftovers = await catalog.leftovers({
    keepFailedSeconds: seconds(values.keepFailed),
    deadlineSeconds: seconds(values.deadline),
    now: job.now(),
  })
  const rows: Pruned[] = [
    ...keep.map(({ id, reasons }) => ({ ...where, id, action: 'keep' as const, reason: reasons.join(', ') })),
    ...remove.map(({ id, reason }) => ({ ...where, id, action: 'remove' as const, reason })),
    ...leftovers.map(({ id, remove, reason }) => ({
      ...where,
      id,
      action: remove ? ('sweep' as const) : ('leave' as const),
      reason,
    })),
  ]
  return { catalog, rows: rows.sort((a, b) => Number(b.id) - Number(a.id)) }
}

/** Undefined for an adopted backup whose manifest cannot be read: it stays. */
async function timeOf(catalog: Catalog, id: string): Promise<Date | undefined> {
  try {
    return await catalog.startOf(id)
  } catch (error) {
    if (isMissing(error) || (error instanceof JobError && error.kind === 'verification')) return undefined
    throw error
  }
}

function policyOf({ retention = {} }: Plan): RetentionPolicy {
  return { last: retention.last, maxAge: retention.maxAge === undefined ? undefined : seconds(retention.maxAge) }
}

/** The oldest first: when it is cut short, what is left is what would have been kept longest. */
async function carryOut(job: Job, catalog: Catalog, rows: Pruned[]): Promise<void> {
  for (const row of rows.toReversed()) {
    if (row.action !== 'remove' && row.action !== 'sweep') continue
    job.signal.throwIfAborted()
    try {
      if (row.action === 'remove') await catalog.remove(row.id, job.now())
      else await catalog.sweep(row.id)
      job.log.info(
        { plan: row.plan, storage: row.storage, id: row.id, reason: row.reason },
        row.action === 'remove' ? 'backup removed' : 'leftovers swept',
      )
    } catch (error) {
      job.signal.throwIfAborted()
      if (exitCodeOf(error) === 1) throw error
      row.failed = textOf(error)
    }
  }
}
