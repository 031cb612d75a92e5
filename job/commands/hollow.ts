import { type Catalog, openCatalog } from '../catalog/catalog.ts'
import { folderKey, manifestKey } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import { inParallel } from '../io/parallel.ts'
import { ManifestDamaged, type Part } from '../manifest.ts'
import { isMissing } from '../storage.ts'
import type { Job } from './job.ts'
import { fitting, type Held, type Looking } from './missing.ts'

/** Backups that a storage has by their names, but not whole, or not so that anybody could tell. */

export interface Unjudged {
  id: string
  to: string
  error: JobError
}

const readersAtOnce = 8

/**
 * Those whose manifest cannot be read in a target, while another storage has them: of what was asked for, or else of the newest, since `verify` is
 * there to read them all. Whose signature counts is asked only of what was asked for: older ones may be from before the plan signed.
 */
export async function unjudgedIn({ job, request, seen, wanted }: Looking): Promise<Unjudged[]> {
  const unjudged: Unjudged[] = []
  for (const name of request.to) {
    const target = seen.get(name)
    if (!target) continue
    const from = request.from.filter((one) => one !== name && seen.has(one))
    const elsewhere = new Set(from.flatMap((one) => seen.get(one)?.ids.committed ?? []))
    const catalog = wanted ? target.catalog : openCatalog({ storage: target.catalog.storage, plan: request.plan })
    const there = target.ids.committed.filter((id) => elsewhere.has(id))
    const ids = wanted ? there.filter((id) => wanted.includes(id)) : there.slice(-1)
    const having = (id: string) => from.filter((one) => seen.get(one)?.ids.committed.includes(id))
    const found = await inParallel(ids, readersAtOnce, (id) => judge(job, { id, catalog, from: having(id) }))
    unjudged.push(...found.flatMap((one) => one ?? []))
  }
  return unjudged
}

interface Judging {
  id: string
  catalog: Catalog
  /** Other storages that it could be copied from. */
  from: readonly string[]
}

async function judge(job: Job, { id, catalog, from }: Judging): Promise<Unjudged | undefined> {
  try {
    await catalog.manifest(id, job.signal)
    return undefined
  } catch (error) {
    job.signal.throwIfAborted()
    if (isMissing(error)) return undefined
    if (!(error instanceof JobError)) throw error
    const hint = error instanceof ManifestDamaged ? afresh({ id, catalog, from }) : error.hint
    const { kind, message, retryable } = error
    return { id, to: catalog.storage.name, error: new JobError(kind, message, { hint, retryable, cause: error }) }
  }
}

/**
 * What a storage that has lost parts of a backup is filled from: its own manifest, and the others that have the same bytes. Throws `verification`
 * where none has them, as each storage encrypts with keys of its own.
 */
export async function fillingOf(
  job: Job,
  { id, held, target }: { id: string; held: readonly Held[]; target: Catalog },
): Promise<{ source: Held; held: Held[] }> {
  const { storage } = target
  const source: Held = { catalog: target, ...(await target.stored(id, job.signal)) }
  const others = held.filter(({ catalog }) => catalog.storage.name !== storage.name)
  const { problems } = await target.verify(source.manifest, { level: 'present', signal: job.signal })
  const lost = source.manifest.parts.filter(({ path }) => problems.some((one) => one.path === path))
  const lasting = lost.find((part) => !others.some(({ manifest }) => hasBytes(manifest.parts, part)))
  if (!lasting) return { source, held: [source, ...others] }
  const says = problems.find(({ path }) => path === lasting.path)?.says
  if (others.length === 0)
    throw new JobError('verification', `${lasting.path} ${says}, and no other storage has the backup`, {
      hint: 'restore another backup, and take a new one now',
    })
  // before anybody removes what is left of it
  const { catalog } = await fitting(job, others, target)
  throw new JobError(
    'verification',
    `${lasting.path} ${says}, and ${catalog.storage.name} has the backup with other bytes: each storage encrypts with keys of its own`,
    { hint: afresh({ id, catalog: target, from: [catalog.storage.name] }) },
  )
}

function hasBytes(parts: readonly Part[], { path, sha256 }: Part): boolean {
  return parts.some((part) => part.path === path && part.sha256 === sha256)
}

/** How what cannot be mended in a storage gets there once more. Nothing is removed by us: it may be the only one that is whole in a part. */
function afresh({ id, catalog: { plan, storage }, from }: Judging): string {
  const flags = from.map((name) => `--from ${name}`).join(' ')
  const steps = [
    `holdfast verify ${plan} ${id} ${from.map((name) => `--storage ${name}`).join(' ')}`,
    `when it is whole there, remove ${manifestKey(plan, id)} and the folder ${folderKey(plan, id)} in storage ${storage.name}`,
    `holdfast copy ${plan} ${id} ${flags} --to ${storage.name}`,
  ]
  return `nothing was changed; to copy it anew: ${steps.join('; ')}`
}
