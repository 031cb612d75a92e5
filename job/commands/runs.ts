import { type Catalog, type Ids, openCatalog, type Run } from '../catalog/catalog.ts'
import { type Plan, seconds } from '../config.ts'
import { JobError, textOf } from '../errors.ts'
import { askEach, trustOf } from './catalogs.ts'
import type { Job } from './job.ts'
import { planFor, requireRestorable } from './retained.ts'

/** What the next prune does with a backup in one storage. */
export interface Why {
  storage: string
  keep: boolean
  reason: string
}

const deadlineOfForeign = '24h'

/** `pins`: the storages that have it pinned. */
export type Found = Run & { storages: string[]; pins: string[]; why?: Why[] }

interface Finding {
  job: Job
  plan: string
  storages: string[]
  runs: boolean
  why: boolean
}

/** The runs of a plan in all storages; one that any storage has as committed is committed. */
export async function findRuns({ job, plan, storages, runs, why }: Finding) {
  const { answers, unreachable } = await askEach({ job, plan, storages }, (catalog) => ask(job, catalog, { runs, why }))
  const merged = new Map<string, Found>()
  for (const { answer } of answers) {
    for (const run of answer) {
      const known = merged.get(run.id)
      if (!known || (run.state === 'committed' && known.state !== 'committed')) merged.set(run.id, run)
      else if (run.state === known.state) {
        known.storages.push(...run.storages)
        known.pins.push(...run.pins)
        known.why?.push(...(run.why ?? []))
      }
    }
  }
  return { runs: merged, unreachable }
}

/** What one storage has. */
async function ask(job: Job, catalog: Catalog, { runs, why }: Pick<Finding, 'runs' | 'why'>): Promise<Found[]> {
  const values = job.config.backups[catalog.plan]
  const deadlineSeconds = seconds(values?.deadline ?? deadlineOfForeign)
  const ids = await catalog.ids()
  const found: Run[] = runs
    ? await catalog.runs({ ids, deadlineSeconds, now: job.now(), signal: job.signal })
    : ids.committed.map((id) => ({ id, state: 'committed' }))
  const reasons = why && values ? await reasonsIn(job, catalog, { ids, values }) : new Map<string, Why>()
  const storage = catalog.storage.name
  return found.map((run) => {
    const reason = reasons.get(run.id)
    const pins = ids.guards.get(run.id)?.includes('pin') ? [storage] : []
    return { ...run, storages: [storage], pins, ...(reason ? { why: [reason] } : {}) }
  })
}

async function reasonsIn(job: Job, catalog: Catalog, planning: { ids: Ids; values: Plan }): Promise<Map<string, Why>> {
  const { newest, keep, remove } = await planFor(job, catalog, planning)
  const refusal = remove.length > 0 ? await refusalOf(job, catalog, [newest, planning.ids.committed.at(-1)]) : undefined
  const storage = catalog.storage.name
  const whys = [
    ...keep.map(({ id, reasons }) => ({ id, keep: true, reason: reasons.join(', ') })),
    ...remove.map(({ id, reason }) =>
      refusal ? { id, keep: true, reason: `${reason}, but prune refuses: ${refusal}` } : { id, keep: false, reason },
    ),
  ]
  return new Map(whys.map(({ id, ...why }) => [id, { storage, ...why }]))
}

/** Why a prune would remove nothing, although the rules say so. */
async function refusalOf(
  job: Job,
  { storage, plan }: Catalog,
  newest: (string | undefined)[],
): Promise<string | undefined> {
  try {
    await requireRestorable(job, openCatalog({ storage, plan, trust: trustOf(job.config, plan) }), newest)
    return undefined
  } catch (error) {
    if (error instanceof JobError && error.kind === 'verification') return textOf(error)
    throw error
  }
}
