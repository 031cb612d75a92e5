import type { Catalog } from '../catalog/catalog.ts'
import { isId, manifestKey } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import type { Result } from '../io/print.ts'
import { askEach, failureOf, storagesOf } from './catalogs.ts'
import type { Job } from './job.ts'

export interface PinOptions {
  plan: string
  id: string
  /** Why, for those who look at it later. */
  note?: string | undefined
  storages?: string[] | undefined
}

/** One backup in one storage; also what `--output json` gives. */
export interface Pinned {
  plan: string
  storage: string
  id: string
  pinned: boolean
  note?: string
}

/** Keeps a backup whatever the retention says, in every storage that has it. Pinned again it has the new note. */
export async function pin(job: Job, { note, ...options }: PinOptions): Promise<Result> {
  const pinned = job.now().toISOString()
  return changeEach(job, options, async (catalog) => {
    await catalog.guards.pin(options.id, { pinned, ...(note ? { note } : {}) }, job.signal)
    if (!(await isThere(catalog, options.id))) {
      await catalog.guards.unpin(options.id)
      return undefined
    }
    return { pinned: true, ...(note ? { note } : {}) }
  })
}

/** Leaves it to the retention again. One that was not pinned stays as it is. */
export async function unpin(job: Job, options: PinOptions): Promise<Result> {
  return changeEach(job, options, async (catalog) => {
    await catalog.guards.unpin(options.id)
    return { pinned: false }
  })
}

/** A storage that lacks the backup is no failure while another one has it; one that cannot answer is. */
async function changeEach(
  job: Job,
  { plan, id, storages }: PinOptions,
  change: (catalog: Catalog) => Promise<Pick<Pinned, 'pinned' | 'note'> | undefined>,
): Promise<Result> {
  if (!isId(id)) {
    throw new JobError('configuration', `"${id}" is no id of a backup`, {
      hint: `holdfast list ${plan} shows the ids; they are numbers such as 1795218000`,
    })
  }
  const names = storagesOf(job.config, plan, storages)
  const { answers, unreachable } = await askEach({ job, plan, storages: names }, async (catalog) => {
    const changed = (await isThere(catalog, id)) ? await change(catalog) : undefined
    return changed && { plan, storage: catalog.storage.name, id, ...changed }
  })
  const rows: Pinned[] = answers.flatMap(({ answer }) => answer ?? [])
  return {
    data: rows,
    table: {
      columns: ['plan', 'id', 'storage', 'pinned', 'note'],
      rows: rows.map((row) => [row.plan, row.id, row.storage, row.pinned ? 'yes' : 'no', row.note ?? '']),
    },
    failure: failureOf(unreachable) ?? (rows.length === 0 ? nowhere(plan, id, names) : undefined),
  }
}

async function isThere({ storage, plan }: Catalog, id: string): Promise<boolean> {
  return (await storage.head(manifestKey(plan, id))) !== undefined
}

function nowhere(plan: string, id: string, storages: string[]): JobError {
  return new JobError('nothing-matches', `plan ${plan} has no backup ${id} in ${storages.join(', ')}`, {
    hint: `holdfast list ${plan} shows what there is`,
  })
}
