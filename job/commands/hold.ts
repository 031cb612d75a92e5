import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Catalog } from '../catalog/catalog.ts'
import { manifestKey } from '../catalog/layout.ts'
import { JobError, textOf } from '../errors.ts'
import type { Job } from './job.ts'

export interface Holding {
  job: Job
  /** Of every storage that is read from. */
  catalogs: readonly Catalog[]
  id: string
  /** Who reads, for people: `restore standby`. Its first word is in the hold's name. */
  by: string
  /** How long the run may take at most: its deadline. */
  seconds: number
}

/** A run must end though its storage does not answer any more. */
const releaseMs = 10_000

/**
 * Keeps prunes away from a backup while it is read. Rejects with `nothing-matches` when it is gone by then. A hold that cannot be written, as in a storage that may only be read, is a warning:
 * the restore is what matters. A hold that cannot be taken back is over when it expires.
 */
export async function holding<T>({ job, catalogs, id, by, seconds }: Holding, work: () => Promise<T>): Promise<T> {
  const run = `${by.split(' ')[0]}-${randomUUID().slice(0, 8)}`
  const since = job.now()
  const expires = new Date(since.getTime() + seconds * 1000).toISOString()
  const held: Catalog[] = []
  try {
    for (const catalog of catalogs) {
      const hold = { run, by, since: since.toISOString(), expires }
      if (await tried(job, catalog, () => catalog.guards.hold(id, hold, job.signal))) held.push(catalog)
    }
    await requireThere(held, id)
    return await work()
  } finally {
    for (const catalog of held) await release({ job, catalog, id, run, expires })
  }
}

/** What was found before it was held may have been removed by then. */
async function requireThere(held: Catalog[], id: string): Promise<void> {
  const found = await Promise.all(held.map(({ storage, plan }) => storage.head(manifestKey(plan, id))))
  if (found.length === 0 || found.some((one) => one !== undefined)) return
  throw new JobError('nothing-matches', `backup ${id} was removed a moment ago`, {
    hint: 'run it again: it takes what is there now',
  })
}

async function tried(job: Job, { storage, plan }: Catalog, write: () => Promise<void>): Promise<boolean> {
  try {
    await write()
    return true
  } catch (error) {
    job.signal.throwIfAborted()
    if (!(error instanceof JobError)) throw error
    job.warn(
      `storage ${storage.name} takes no hold, so a prune of ${plan} may remove the backup meanwhile: ${textOf(error)}`,
    )
    return false
  }
}

interface Releasing {
  job: Job
  catalog: Catalog
  id: string
  run: string
  expires: string
}

async function release({ job, catalog, id, run, expires }: Releasing): Promise<void> {
  const late = pause(releaseMs, 'late', { ref: false })
  const released = catalog.guards.release(id, run).then(
    () => undefined,
    (error) => textOf(error),
  )
  const trouble = await Promise.race([released, late.then(() => `no answer in ${releaseMs / 1000} s`)])
  if (trouble) job.warn(`storage ${catalog.storage.name} keeps the hold on backup ${id} until ${expires}: ${trouble}`)
}
