import { type Catalog, openCatalog } from '../catalog/catalog.ts'
import type { Plan } from '../config.ts'
import { JobError, textOf } from '../errors.ts'
import { type Destination, type Destinations, openDestinations } from '../io/destinations.ts'
import { failureOf } from './catalogs.ts'
import type { Job } from './job.ts'
import { isFor } from './missing.ts'

/** The storages of one run of a plan. */
export interface PlanStorages {
  /** Of all that could be opened, also of those that are out. */
  catalogs: Catalog[]
  to: Destinations
  /** Why the others are out, by their names. */
  failures: Map<string, unknown>
  /** For whom each of the plan encrypts; nobody for those that do not. */
  recipients: ReadonlyMap<string, readonly string[]>
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
  const all = { catalogs, to, failures, recipients: recipientsOf(job, plan, catalogs), required: requiredOf(plan) }
  refuseTooFew(all)
  for (const [storage, error] of failures) job.warn(withoutText(storage, error))
  return all
}

/** Of those that could not be opened as the values say. */
function recipientsOf(job: Job, { storages }: Plan, catalogs: Catalog[]): PlanStorages['recipients'] {
  return new Map(
    storages.map((name) => {
      const opened = catalogs.find(({ storage }) => storage.name === name)?.storage
      return [name, (opened ?? job.config.storages[name])?.encryption?.recipients ?? []]
    }),
  )
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
  storages: { failures, required, recipients },
}: {
  plan: string
  id: string
  committed: readonly string[]
  storages: PlanStorages
}): JobError | undefined {
  if (committed.length >= required) return undefined
  const without = [...failures].map(([storage, error]) => `${storage} (${textOf(error)})`).join(', ')
  return new JobError('storage', `backup ${id} is stored on ${committed.join(', ')}, but not on ${without}`, {
    hint: repairText({ plan, id, committed, recipients, lacking: [...failures.keys()] }),
  })
}

interface Lacking {
  plan: string
  id: string
  committed: readonly string[]
  lacking: readonly string[]
  recipients: PlanStorages['recipients']
}

function repairText({ plan, id, committed, lacking, recipients }: Lacking): string {
  const of = (storage: string) => recipients.get(storage) ?? []
  const isCopied = (to: string) => of(to).length === 0 || committed.some((from) => isFor(of(from), of(to)))
  const { copied = [], others = [] } = Object.groupBy(lacking, (to) => (isCopied(to) ? 'copied' : 'others'))
  const texts = []
  if (copied.length > 0) texts.push(`when the storage can be written again: holdfast copy ${plan} ${id}`)
  if (others.length > 0)
    texts.push(
      `the next backup is stored on ${others.join(', ')}, too: it encrypts for other recipients, which a copy cannot`,
    )
  return texts.join('; ')
}
