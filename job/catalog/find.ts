import { JobError } from '../errors.ts'
import type { Manifest } from '../manifest.ts'
import { isMissing } from '../storage.ts'
import type { Catalog } from './catalog.ts'
import { dateOf, isTime } from './layout.ts'
import { parsePick } from './pick.ts'

export interface FindOptions {
  /** `latest`, an id, or a time: then the newest backup that was started not after it (see parsePick). */
  pick: string | number
  /** Backups started later are not considered. */
  notAfter?: Date
  signal?: AbortSignal
}

type Reads = Pick<Catalog, 'ids' | 'manifest' | 'plan' | 'storage'>

/** `latest` is the highest committed id. A damaged manifest is an error, never a reason to take an older backup. */
export async function findBackup(catalog: Reads, { pick, notAfter, signal }: FindOptions): Promise<Manifest> {
  const wanted = parsePick(pick)
  const { committed, uncommitted } = await catalog.ids()
  const there = { committed, uncommitted, catalog }
  if ('id' in wanted && !committed.includes(wanted.id)) throw noSuchId(wanted.id, there)

  const candidates = 'id' in wanted ? [wanted.id] : committed.toReversed()
  const bounds = [notAfter, 'notAfter' in wanted ? wanted.notAfter : undefined].filter((bound) => bound !== undefined)
  const bound = bounds.length > 0 ? new Date(Math.min(...bounds.map(Number))) : undefined
  for (const id of candidates) {
    if (bound && dateOf(id) > bound) continue
    const manifest = await readIfThere(catalog, id, signal)
    if (!manifest) continue
    if (bound && !isTime(id) && new Date(manifest.started) > bound) continue
    return manifest
  }
  throw nothing(bound ? `was started until ${bound.toISOString()}` : 'is there', there)
}

/** A prune at the same time may have removed it since the listing. */
async function readIfThere(catalog: Reads, id: string, signal?: AbortSignal): Promise<Manifest | undefined> {
  try {
    return await catalog.manifest(id, signal)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

interface There {
  committed: string[]
  uncommitted: string[]
  catalog: Reads
}

function noSuchId(id: string, there: There): JobError {
  const { plan, storage } = there.catalog
  if (!there.uncommitted.includes(id)) return nothing(`has id ${id}`, there)
  return new JobError(
    'nothing-matches',
    `run ${id} of plan ${plan} did not finish: storage ${storage.name} has no backup ${id}`,
    {
      hint: `holdfast list ${plan} --runs shows what became of it; ${inventory(there)}`,
    },
  )
}

function nothing(what: string, there: There): JobError {
  const { plan, storage } = there.catalog
  return new JobError('nothing-matches', `no backup of plan ${plan} in storage ${storage.name} ${what}`, {
    hint: inventory(there),
  })
}

function inventory({ committed, uncommitted, catalog }: There): string {
  const newest = committed.at(-1)
  if (newest) {
    const time = isTime(newest) ? ` of ${dateOf(newest).toISOString().replace('.000', '')}` : ''
    return `there are ${committed.length}, the newest is ${newest}${time}`
  }
  const unfinished =
    uncommitted.length > 0 ? `, only ${uncommitted.length} unfinished runs (holdfast list ${catalog.plan} --runs)` : ''
  return `there is no backup at all${unfinished}`
}
