import { openCatalog } from '../catalog/catalog.ts'
import { seconds } from '../config.ts'
import type { Marker } from '../engine.ts'
import { JobError, textOf } from '../errors.ts'
import type { Held } from '../io/reader.ts'
import type { Manifest, Trust } from '../manifest.ts'
import type { Unreachable } from './catalogs.ts'
import type { Job } from './job.ts'
import { refuseOlder } from './newer.ts'
import type { Asked, Request } from './request.ts'

/** A target with what it remembers of this request. */
export interface Target extends Asked {
  marker: Marker | undefined
  /** Why the server could not be asked: no target is planned with it. */
  failure?: JobError
}

/** The backup, and all storages that have it, in the order in which they are read. */
export interface Found {
  manifest: Manifest
  held: readonly [Held, ...Held[]]
}

/** A server that does not answer must not hide what is wrong with the values or the backup: that is looked at first. */
export async function remember(target: Asked): Promise<Target> {
  try {
    return { ...target, marker: await target.engine.findMarker(target.run) }
  } catch (error) {
    target.run.signal.throwIfAborted()
    if (!(error instanceof JobError) || error.kind !== 'server') throw error
    return { ...target, marker: undefined, failure: error }
  }
}

/** A request that was carried out in part, or not to its end, before another one changed its targets: its rest would mix two backups. */
export function refuseOutrun({ scheduled }: Request, targets: Target[]): void {
  if (scheduled || targets.every(({ marker }) => wasFinished(marker))) return
  const outrun = targets.find(({ marker }) => marker?.state === 'replaced' || marker?.state === 'overtaken')
  if (!outrun) return
  throw new JobError(
    'target-not-empty',
    `another restore has changed the target of ${outrun.name} since this one was begun`,
    {
      hint: 'nothing was changed; another token (--token) begins anew',
    },
  )
}

/** What the request picks, or what it was begun with; undefined when it was carried out. */
export async function chooseBackup(job: Job, request: Request, targets: Target[]): Promise<Found | undefined> {
  const pick = pickOf(
    request,
    targets.map(({ marker }) => marker),
  )
  if (pick === undefined) return undefined
  try {
    return await searchStorages(job, request, pick)
  } catch (error) {
    const begun = targets.find(({ marker }) => !request.scheduled && marker?.backupId === pick)
    if (!begun || !(error instanceof JobError) || error.kind !== 'nothing-matches') throw error
    throw new JobError(
      error.kind,
      `${error.message}, and ${begun.name} was ${begun.marker?.state === 'begun' ? 'begun' : 'restored'} with it`,
      {
        hint: 'a request stays with its backup: find it in another storage; or begin anew with another token and overwrite',
        cause: error,
      },
    )
  }
}

/**
 * The newest that any of the storages has, for one of them may lag behind; one that cannot answer is passed over with a warning as long as
 * another one can.
 */
async function searchStorages(job: Job, { from, trust }: Request, pick: string | number): Promise<Found> {
  const asked = await Promise.all(from.storages.map((name) => ask(job, { name, plan: from.plan, trust, pick })))
  const answers = asked.flatMap((one) => ('manifest' in one ? [one] : []))
  const failures = asked.flatMap((one) => ('error' in one ? [one] : []))
  const [newest] = answers.toSorted((one, other) => Number(other.manifest.id) - Number(one.manifest.id))
  if (!newest) throw (failures.find(({ error }) => kindOf(error) !== 'nothing-matches') ?? failures[0])?.error
  const { manifest } = newest
  await refuseOlder({ job, plan: from.plan, pick, trust, id: manifest.id, failures })
  const held = (await Promise.all(answers.map((one) => sameBackup(job, one, { manifest, trust })))).filter(
    (one) => one !== undefined,
  )
  const [first] = held as [Held, ...Held[]]
  const before = from.storages.slice(0, from.storages.indexOf(first.storage.name))
  for (const { storage, error } of failures) {
    if (before.includes(storage)) job.warn(`storage ${storage} was passed over: ${textOf(error)}`)
    else job.log.info({ storage, because: textOf(error) }, 'cannot be read from')
  }
  for (const { storage } of answers) {
    const lacks = before.includes(storage.name) && !held.some((one) => one.storage === storage)
    if (lacks)
      job.warn(
        `storage ${storage.name} was passed over: it does not have backup ${manifest.id}, the newest that matches`,
      )
  }
  return { manifest: first.manifest, held: held as [Held, ...Held[]] }
}

async function ask(
  job: Job,
  { name, plan, trust, pick }: { name: string; plan: string; trust: Trust | undefined; pick: string | number },
): Promise<Held | Unreachable> {
  try {
    const storage = await job.storage(name)
    return { storage, manifest: await openCatalog({ storage, plan, trust }).find({ pick, signal: job.signal }) }
  } catch (error) {
    job.signal.throwIfAborted()
    if (!(error instanceof JobError) || error.kind === 'bug') throw error
    return { storage: name, error }
  }
}

/** Undefined when the storage does not have it, or has something else under its id. */
async function sameBackup(
  job: Job,
  found: Held,
  { manifest: { id, plan, started }, trust }: { manifest: Manifest; trust: Trust | undefined },
): Promise<Held | undefined> {
  if (found.manifest.id === id) return found.manifest.started === started ? found : undefined
  try {
    const manifest = await openCatalog({ storage: found.storage, plan, trust }).manifest(id, job.signal)
    return manifest.started === started ? { ...found, manifest } : undefined
  } catch {
    job.signal.throwIfAborted()
    return undefined
  }
}

function kindOf(error: unknown): string {
  return error instanceof JobError ? error.kind : 'bug'
}

interface Choice {
  job: Job
  request: Request
  manifest: Manifest
  open: Target[]
}

/**
 * A restore that began with a backup that was new enough goes on with it: half a restore is worse than an old one. With a schedule an old
 * backup is refused even if it is restored already, for a newer one was to be expected.
 */
export function refuseOld({ job, request: { at, maxAge }, manifest: { id, plan, started }, open }: Choice): void {
  const begun = open.some(({ marker }) => marker?.state === 'begun' && marker.backupId === id)
  if (maxAge === undefined || begun) return
  const age = (job.now().getTime() - Date.parse(started)) / 1000
  if (age <= seconds(maxAge)) return
  throw new JobError(
    'nothing-matches',
    `the newest backup that matches, ${id} of plan ${plan}, is ${Math.round(age / 3600)} h old: ${at}.maxAge allows ${maxAge}`,
    {
      hint: 'find out why there is no newer one (holdfast list --runs), or raise maxAge',
    },
  )
}

/** What the marker of a target says of a request. */
type Known = Marker | undefined

/**
 * Pure: the backup that all targets of a request are restored from; undefined when nothing is left to do. Without a schedule the first run
 * looked it up, and those after it go on with the same, so that no target is newer than the others.
 */
export function pickOf(
  { pick, scheduled }: Pick<Request, 'pick' | 'scheduled'>,
  markers: Known[],
): string | number | undefined {
  if (scheduled) return pick
  if (markers.every(wasFinished)) return undefined
  const newest = (chosen: (marker: Known) => boolean) =>
    markers
      .flatMap((marker) => (marker && chosen(marker) ? [marker.backupId] : []))
      .sort((a, b) => Number(a) - Number(b))
      .at(-1)
  return newest((marker) => marker?.state === 'begun') ?? newest(wasFinished) ?? pick
}

/**
 * Pure: nothing is left to do for this target. A request without a schedule is carried out once, whatever another one did to the target
 * since; one with a schedule keeps the target as its newest backup is.
 */
export function isDone({ scheduled }: Pick<Request, 'scheduled'>, marker: Known, backupId: string): boolean {
  return scheduled ? marker?.state === 'finished' && marker.backupId === backupId : wasFinished(marker)
}

function wasFinished(marker: Known): boolean {
  return marker?.state === 'finished' || marker?.state === 'replaced'
}
