import type { Catalog, Patience } from '../catalog/catalog.ts'
import { byAge } from '../catalog/layout.ts'
import { type Plan, seconds } from '../config.ts'
import { exitCodeOf, JobError, textOf } from '../errors.ts'
import type { Result } from '../io/print.ts'
import { askEach, planNamed, trustOf, type Unreachable } from './catalogs.ts'
import type { Job } from './job.ts'
import { planFor, requireRestorable } from './retained.ts'

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

/** Applies the plan's retention to each storage by itself and sweeps leftovers. With `dryRun` only says what it would do. */
export async function prune(job: Job, options: PruneOptions): Promise<Result> {
  const { rows, troubles, hint } = await pruneStorages(job, options)
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
        ? new JobError('storage', `prune was not completed: ${troubles.join('; ')}`, { hint })
        : undefined,
  }
}

/** The end of a backup run: whatever goes wrong here is a warning, for the backup exists. */
export async function pruneAfterBackup(job: Job, plan: string, storages?: string[]): Promise<Pruned[]> {
  try {
    const { rows, troubles } = await pruneStorages(job, { plan, storages })
    for (const trouble of troubles) job.warn(trouble)
    return rows
  } catch (error) {
    job.warn(`old backups of plan ${plan} were not pruned: ${textOf(error)}`)
    return []
  }
}

async function pruneStorages(job: Job, { plan, dryRun = false, storages }: PruneOptions) {
  // until it has ended well
  if (!dryRun) job.figures.retention = { failed: true, storages: [] }
  const values = planNamed(job.config, plan)
  const chosen = storages?.length ? values.storages.filter((name) => storages.includes(name)) : values.storages
  const strange = storages?.find((name) => !values.storages.includes(name))
  if (strange)
    throw new JobError(
      'configuration',
      `plan ${plan} does not write to storage "${strange}" (it writes to: ${values.storages.join(', ')})`,
    )

  const trust = trustOf(job.config, plan)
  const { answers, unreachable } = await askEach({ job, plan, storages: chosen, trust }, (catalog) =>
    decide(job, catalog, values),
  )
  const rows = answers.flatMap(({ answer }) => answer.rows)
  if (!dryRun) for (const { answer } of answers) await carryOut(job, answer)
  const troubles = [
    ...rows
      .filter(({ failed }) => failed)
      .map(({ storage, id, failed }) => `backup ${id} was not removed from storage ${storage}: ${failed}`),
    ...unreachable.map(({ storage, error }) => `storage ${storage} was not pruned: ${textOf(error)}`),
  ]
  if (!dryRun) job.figures.retention = { failed: troubles.length > 0, storages: answers.map(countsOf) }
  return { rows, troubles, hint: hintOf(unreachable) ?? 'run it again: it goes on where it stopped' }
}

/** Of a refusal: it would refuse again. */
function hintOf(unreachable: readonly Unreachable[]): string | undefined {
  const refusal = unreachable.find(({ error }) => error instanceof JobError && error.kind === 'verification')
  return (refusal?.error as JobError | undefined)?.hint
}

function countsOf({ storage, answer: { rows } }: { storage: string; answer: Decision }) {
  const backups = rows.filter(({ action }) => action === 'keep' || action === 'remove')
  const removed = backups.filter(({ action, failed }) => action === 'remove' && !failed).length
  return { storage, kept: backups.length - removed, removed }
}

interface Decision {
  catalog: Catalog
  values: Plan
  rows: Pruned[]
  /** Holds that are over. */
  expired: { id: string; run: string }[]
}

async function decide(job: Job, catalog: Catalog, values: Plan): Promise<Decision> {
  const where = { plan: catalog.plan, storage: catalog.storage.name }
  const ids = await catalog.ids()
  const { newest, keep, remove, expired } = await planFor(job, catalog, { ids, values })
  if (remove.length > 0) await requireRestorable(job, catalog, [newest, ids.committed.at(-1)])
  const leftovers = await catalog.leftovers({
    uncommitted: ids.uncommitted,
    ...patienceOf(job, values),
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
  return { catalog, values, rows: rows.sort((a, b) => byAge(b.id, a.id)), expired }
}

function patienceOf(job: Job, { keepFailed, deadline }: Plan): Patience {
  return { keepFailedSeconds: seconds(keepFailed), deadlineSeconds: seconds(deadline), now: job.now() }
}

/** The oldest first: when it is cut short, what is left is what would have been kept longest. */
async function carryOut(job: Job, { catalog, values, rows, expired }: Decision): Promise<void> {
  for (const row of rows.toReversed()) {
    if (row.action !== 'remove' && row.action !== 'sweep') continue
    job.signal.throwIfAborted()
    try {
      await removeOne(job, { catalog, values, row })
    } catch (error) {
      job.signal.throwIfAborted()
      if (exitCodeOf(error) === 1) throw error
      row.failed = textOf(error)
    }
  }
  for (const { id, run } of expired) await catalog.guards.release(id, run).catch(() => undefined)
}

interface Removing {
  catalog: Catalog
  values: Plan
  row: Pruned
}

async function removeOne(job: Job, { catalog, values, row }: Removing): Promise<void> {
  const { action, plan, storage, id, reason } = row
  const about = { plan, storage, id, reason }
  if (action === 'sweep') {
    if (await catalog.sweep(id, patienceOf(job, values))) return job.log.info(about, 'leftovers swept')
    row.action = 'leave'
    row.reason = 'taken up again a moment ago'
  } else if (await catalog.remove(id, job.now())) {
    job.log.info(about, 'backup removed')
  } else {
    row.action = 'keep'
    row.reason = 'pinned or held since a moment ago'
  }
}
