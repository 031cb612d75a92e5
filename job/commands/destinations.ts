import { type Catalog, openCatalog } from '../catalog/catalog.ts'
import type { Plan } from '../config.ts'
import { JobError, textOf } from '../errors.ts'
import { type Destination, type Destinations, openDestinations } from '../io/destinations.ts'
import { failureOf } from './catalogs.ts'
import type { Job } from './job.ts'

/** The storages of one run of a plan. */
export interface PlanStorages {
  /** Of all that could be opened, also of those that are out. */
  catalogs: Catalog[]
  to: Destinations
  /** Why the others are out, by their names. */
  failures: Map<string, unknown>
  /** So many must have the backup in the end. */
  required: number
}

/** Pure: how many storages must have a backup. */
export function requiredOf({ require: wanted, storages }: Pick<Plan, 'require' | 'storages'>): number {
  if (wanted === 'all') return storages.length
  return wanted === 'any' ? 1 : wanted
}

/** Those that cannot be opened are out, as long as enough are left. */
export async function openPlan(job: Job, name: string, plan: Plan): Promise<PlanStorages> {
  const failures = new Map<string, unknown>()
  const opened = await Promise.all(
    plan.storages.map(async (storage) => {
      try {
        return [openCatalog({ storage: await job.storage(storage), plan: name })]
      } catch (error) {
        failures.set(storage, error)
        return []
      }
    }),
  )
  const catalogs = opened.flat()
  const onDrop = ({ name: storage }: Catalog['storage'], error: unknown) => {
    failures.set(storage, error)
    job.warn(withoutText(storage, error))
  }
  const to = openDestinations({ storages: catalogs.map(({ storage }) => storage), signal: job.signal, onDrop })
  const all = { catalogs, to, failures, required: requiredOf(plan) }
  refuseTooFew(all)
  for (const [storage, error] of failures) job.warn(withoutText(storage, error))
  return all
}

function withoutText(storage: string, error: unknown): string {
  return `this backup goes on without ${storage}: ${textOf(error)}`
}

/** Before anything is backed up: later a backup on some of them is better than none. */
export function refuseTooFew({ to, failures, required }: PlanStorages): void {
  if (to.live().length >= required) return
  throw failureOf([...failures].map(([storage, error]) => ({ storage, error })))
}

export function catalogOf({ catalogs }: Pick<PlanStorages, 'catalogs'>, { storage }: Pick<Destination, 'storage'>) {
  return catalogs.find((catalog) => catalog.storage === storage) as Catalog
}

/** A backup is good on those that have it, but too few do. */
export function tooFew({
  plan,
  id,
  committed,
  storages: { failures, required },
}: {
  plan: string
  id: string
  committed: readonly string[]
  storages: PlanStorages
}): JobError | undefined {
  if (committed.length >= required) return undefined
  const without = [...failures].map(([storage, error]) => `${storage} (${textOf(error)})`).join(', ')
  return new JobError('storage', `backup ${id} is stored on ${committed.join(', ')}, but not on ${without}`, {
    hint: `when the storage can be written again: holdfast copy ${plan} ${id}`,
  })
}
