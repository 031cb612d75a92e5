import type { Catalog, Ids } from '../catalog/catalog.ts'
import { guardTexts } from '../catalog/guards.ts'
import { dateOf, isTime } from '../catalog/layout.ts'
import { planRetention, type RetentionPlan, type RetentionPolicy } from '../catalog/retention.ts'
import { type Plan, seconds } from '../config.ts'
import { JobError } from '../errors.ts'
import { inParallel } from '../io/parallel.ts'
import { isMissing } from '../storage.ts'
import type { Job } from './job.ts'

const readersAtOnce = 8

export interface RetainedPlan extends RetentionPlan {
  /** Holds that are over, of readers that did not take them back. */
  expired: { id: string; run: string }[]
}

/** What a prune would do to the backups of one storage, and why. Reads only pins, holds, and manifests of ids that tell no time. */
export async function planFor(
  job: Job,
  catalog: Catalog,
  { ids, values }: { ids: Ids; values: Plan },
): Promise<RetainedPlan> {
  const { signal } = job
  const now = job.now()
  const timeless = ids.committed.filter((id) => !isTime(id))
  const times = new Map(
    await inParallel(timeless, readersAtOnce, async (id) => [id, await timeOf(catalog, id)] as const),
  )
  const guarded = ids.committed.filter((id) => ids.guards.has(id))
  const guards = await inParallel(guarded, readersAtOnce, async (id) => {
    return [id, await catalog.guards.read(id, ids.guards.get(id) ?? [], now, signal)] as const
  })
  const texts = new Map(guards.map(([id, found]) => [id, guardTexts(found)]))
  const backups = ids.committed.map((id) => ({
    id,
    time: isTime(id) ? dateOf(id) : times.get(id),
    guards: texts.get(id) ?? [],
  }))
  const policy = policyOf(values, catalog.storage.name)
  const expired = guards.flatMap(([id, found]) => found.expired.map((run) => ({ id, run })))
  return { ...planRetention({ backups, policy, now }), expired }
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

/** That of the storage takes the place of the plan's as a whole. */
export function policyOf({ retention, timeZone }: Plan, storage: string): RetentionPolicy {
  const { storages, ...general } = retention ?? {}
  const { maxAge, ...rules } = storages?.[storage] ?? general
  return { ...rules, maxAge: maxAge === undefined ? undefined : seconds(maxAge), timeZone: timeZone ?? undefined }
}
