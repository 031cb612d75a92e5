import { openCatalog } from '../catalog/catalog.ts'
import { dateOf } from '../catalog/layout.ts'
import { parsePick } from '../catalog/pick.ts'
import { JobError } from '../errors.ts'
import type { Trust } from '../manifest.ts'
import type { Job } from './job.ts'

interface Options {
  job: Job
  plan: string
  pick: string | number
  trust?: Trust | undefined
  /** Of the backup that is to be taken. */
  id: string
  /** Storages that gave none, and why. */
  failures: readonly { storage: string; error: unknown }[]
}

/**
 * Rejects with why a storage gave no backup when it has a newer one whose manifest is damaged: that is never a reason to take an older one
 * from elsewhere. Whatever is readable in any storage is not newer than what is to be taken.
 */
export async function refuseOlder({ id, failures, ...options }: Options): Promise<void> {
  for (const { storage, error } of failures) {
    if (!(error instanceof JobError) || error.kind !== 'verification') continue
    if (Number(await damagedIn(storage, options)) > Number(id)) throw error
  }
}

/** The backup at which the search in this storage ended. */
async function damagedIn(
  name: string,
  { job, plan, pick, trust }: Omit<Options, 'id' | 'failures'>,
): Promise<string | undefined> {
  const catalog = openCatalog({ storage: await job.storage(name), plan, trust })
  const wanted = parsePick(pick)
  if ('id' in wanted) return wanted.id
  const { committed } = await catalog.ids()
  for (const id of committed.toReversed()) {
    if ('notAfter' in wanted && dateOf(id) > wanted.notAfter) continue
    try {
      await catalog.manifest(id, job.signal)
    } catch (error) {
      job.signal.throwIfAborted()
      if (error instanceof JobError && error.kind === 'verification') return id
    }
  }
  return undefined
}
