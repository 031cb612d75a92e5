import { type Catalog, type Ids, openCatalog } from '../catalog/catalog.ts'
import { guardTexts } from '../catalog/guards.ts'
import { dateOf, isTime } from '../catalog/layout.ts'
import { planRetention, type Retained, type RetentionPlan, type RetentionPolicy } from '../catalog/retention.ts'
import { type Plan, seconds, trustIn } from '../config.ts'
import { JobError, textOf } from '../errors.ts'
import { inParallel } from '../io/parallel.ts'
import type { Manifest, Trust } from '../manifest.ts'
import { isMissing } from '../storage.ts'
import type { Job } from './job.ts'

const readersAtOnce = 8

export interface RetainedPlan extends RetentionPlan {
  /** Holds that are over, of readers that did not take them back. */
  expired: { id: string; run: string }[]
}

interface Planning {
  ids: Ids
  values: Plan
  /** Reads one of them; left out: from the storage itself. */
  read?: (id: string) => Promise<Manifest>
}

/**
 * What a prune would do to the backups of one storage, and why. Reads only pins, holds, and manifests of ids that tell no time; with `trust` of the
 * plan all manifests: what no restore would take has a place beside the others, but never that of one of them.
 */
export async function planFor(
  job: Job,
  catalog: Catalog,
  { ids, values, read = openCatalog(catalog).manifest }: Planning,
): Promise<RetainedPlan> {
  const { signal } = job
  const now = job.now()
  const trust = trustIn(values.trust, `backups.${catalog.plan}.trust`)
  const asked = trust ? ids.committed : ids.committed.filter((id) => !isTime(id))
  const manifests = new Map(
    await inParallel(asked, readersAtOnce, async (id) => [id, await whenReadable(read(id))] as const),
  )
  const guarded = ids.committed.filter((id) => ids.guards.has(id))
  const guards = await inParallel(guarded, readersAtOnce, async (id) => {
    return [id, await catalog.guards.read(id, ids.guards.get(id) ?? [], now, signal)] as const
  })
  const texts = new Map(guards.map(([id, found]) => [id, guardTexts(found)]))
  const backups = ids.committed.map((id) => ({
    id,
    time: timeOf(id, manifests.get(id)),
    guards: texts.get(id) ?? [],
    counts: !trust || isTrusted(manifests.get(id), trust),
  }))
  const policy = policyOf(values, catalog.storage.name)
  const expired = guards.flatMap(([id, found]) => found.expired.map((run) => ({ id, run })))
  return { ...planTrusted({ backups, policy, now }), expired }
}

/** Each of those that count is judged among its like, as if there were no others; the rest as if all counted. */
function planTrusted({ backups, policy, now }: { backups: Counted[]; policy: RetentionPolicy; now: Date }) {
  const all = planRetention({ backups, policy, now })
  const others = new Set(backups.filter(({ counts }) => !counts).map(({ id }) => id))
  if (others.size === 0) return all
  const own = planRetention({ backups: backups.filter(({ counts }) => counts), policy, now })
  const uncounted = all.keep.filter(({ id }) => others.has(id))
  return {
    newest: own.newest,
    keep: [...own.keep, ...uncounted.map(({ id, reasons }) => ({ id, reasons: [...reasons, notTrusted] }))],
    remove: [...own.remove, ...all.remove.filter(({ id }) => others.has(id))],
  }
}

interface Counted extends Retained {
  counts: boolean
}

const notTrusted = 'takes no place from the others: nobody whom the plan trusts has signed it'

function isTrusted(manifest: Manifest | undefined, { keys }: Trust): boolean {
  return manifest?.signature !== undefined && keys.includes(manifest.signature.key)
}

/** Undefined for an adopted backup whose manifest cannot be read: it stays. */
function timeOf(id: string, manifest: Manifest | undefined): Date | undefined {
  if (isTime(id)) return dateOf(id)
  return manifest && new Date(manifest.started)
}

/**
 * Nothing older goes while the newest is one that no restore would take: its manifest cannot be read, nobody trusted has signed it, or parts are
 * missing. Throws `verification` then.
 */
export async function requireRestorable(job: Job, catalog: Catalog, newest: (string | undefined)[]): Promise<void> {
  for (const id of new Set(newest.filter((one) => one !== undefined))) {
    const says = await troubleOf(job, catalog, id)
    if (says === undefined) continue
    const { plan } = catalog
    throw new JobError('verification', says, {
      hint: `nothing older goes before the newest backup can be restored; holdfast verify ${plan} ${id} says what is wrong, holdfast copy ${plan} ${id} brings lost parts from another storage, holdfast backup ${plan} takes a new one; a key that is missing goes into backups.${plan}.trust`,
    })
  }
}

async function troubleOf(job: Job, catalog: Catalog, id: string): Promise<string | undefined> {
  try {
    const manifest = await catalog.manifest(id, job.signal)
    const { problems } = await catalog.verify(manifest, { level: 'present', signal: job.signal })
    return problems[0] && `of the newest backup, ${id}, ${problems[0].path} ${problems[0].says}`
  } catch (error) {
    if (error instanceof JobError && error.kind === 'verification') return `the newest backup: ${textOf(error)}`
    throw error
  }
}

/** Undefined when it is gone, or damaged, or not to be trusted. */
export async function whenReadable(reading: Promise<Manifest>): Promise<Manifest | undefined> {
  try {
    return await reading
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
