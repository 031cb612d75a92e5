import { type Catalog, openCatalog } from '../catalog/catalog.ts'
import { type Config, type Plan, trustIn } from '../config.ts'
import { exitCodeOf, JobError, textOf } from '../errors.ts'
import type { Trust } from '../manifest.ts'
import type { Job } from './job.ts'

/** A storage that could not answer, while others did. */
export interface Unreachable {
  storage: string
  error: unknown
}

/**
 * The storages that a plan's backups are in: those asked for, else the plan's, else those of the restores that read
 * from a plan of another installation. Throws `configuration` when none is known.
 */
export function storagesOf(config: Config, plan: string, asked: readonly string[] = []): string[] {
  if (asked.length > 0) return [...new Set(asked)]
  const own = config.backups[plan]?.storages
  if (own) return own
  const foreign = Object.values(config.restores).filter(({ from }) => from.plan === plan)
  if (foreign.length > 0) return [...new Set(foreign.flatMap(({ from }) => from.storages))]
  throw unknownPlan(config, plan, 'for the backups of another installation name the storage as well: --storage')
}

/** Whose signatures count for a plan's backups: as the plan says, or those restores that read from one of another installation. */
export function trustOf({ backups, restores }: Config, plan: string): Trust | undefined {
  const own = backups[plan]
  if (own) return trustIn(own.trust, `backups.${plan}.trust`)
  const keys = Object.values(restores).flatMap(({ from, trust = [] }) => (from.plan === plan ? trust : []))
  return keys.length > 0 ? trustIn(keys, 'restores.*.trust') : undefined
}

/** Throws `configuration` for a plan that the values do not have. */
export function planNamed(config: Config, plan: string): Plan {
  const values = config.backups[plan]
  if (values) return values
  throw unknownPlan(config, plan)
}

function unknownPlan({ backups }: Config, plan: string, hint?: string): JobError {
  const known = Object.keys(backups).join(', ') || 'none'
  return new JobError('configuration', `backups: no plan named "${plan}" (there are: ${known})`, { hint })
}

interface Asking {
  job: Job
  plan: string
  storages: readonly string[]
  /** Whose manifests count; everybody's without it. */
  trust?: Trust | undefined
}

/** Asks the catalog of each storage in turn. One that fails does not keep the others from answering. */
export async function askEach<T>(
  { job, plan, storages, trust }: Asking,
  ask: (catalog: Catalog) => Promise<T>,
): Promise<{ answers: { storage: string; answer: T }[]; unreachable: Unreachable[] }> {
  const answers: { storage: string; answer: T }[] = []
  const unreachable: Unreachable[] = []
  for (const storage of storages) {
    job.signal.throwIfAborted()
    try {
      answers.push({ storage, answer: await ask(openCatalog({ storage: await job.storage(storage), plan, trust })) })
    } catch (error) {
      job.signal.throwIfAborted()
      if (exitCodeOf(error) === 1) throw error
      unreachable.push({ storage, error })
    }
  }
  return { answers, unreachable }
}

/** One error for the run, of the kind of the first, one text a storage. Undefined when all answered. */
export function failureOf(unreachable: readonly Unreachable[]): unknown {
  const storages = [...new Map(unreachable.map((one) => [one.storage, one])).values()]
  const [first] = storages
  if (!first || storages.length === 1) return first?.error
  const kind = first.error instanceof JobError ? first.error.kind : 'storage'
  const texts = storages.map(({ storage, error }) => `${storage}: ${textOf(error)}`)
  return new JobError(kind, `${storages.length} storages failed: ${texts.join('; ')}`, { cause: first.error })
}
