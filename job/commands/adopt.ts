import { openCatalog } from '../catalog/catalog.ts'
import { bytesOf, dateOf, folderKey, helmDateOf, isRunFile, isTime, partKey } from '../catalog/layout.ts'
import { engineNamed } from '../engines/index.ts'
import { JobError } from '../errors.ts'
import { contentIn } from '../io/hash-aside.ts'
import { inParallel } from '../io/parallel.ts'
import { type Result, sizeText } from '../io/print.ts'
import { openReader, ownParts } from '../io/reader.ts'
import type { Manifest, Part } from '../manifest.ts'
import type { Storage } from '../storage.ts'
import { version } from '../version.ts'
import { contextOf } from './backup.ts'
import type { Job } from './job.ts'
import { signerOf } from './signing.ts'

export interface AdoptOptions {
  /** The folder that holds the ids; becomes the plan's name in the catalog. */
  plan: string
  id: string
  storage: string
  /** Password of an encrypted backup. */
  decryption?: { secret: string; key: string } | undefined
  /** Folder of the clients; the PATH when left out. */
  clients?: string | undefined
  dryRun?: boolean | undefined
}

const readersAtOnce = 4

/** Gives a folder that rondb-helm wrote a manifest, when it is complete. Reads everything once; changes nothing of what is there. */
export async function adopt(
  job: Job,
  { plan, id, storage: name, decryption, clients, dryRun }: AdoptOptions,
): Promise<Result> {
  const storage = await job.storage(name)
  const sign = signerOf(job, plan)
  const catalog = openCatalog({ storage, plan })
  const { committed, uncommitted } = await catalog.ids()
  if (committed.includes(id))
    throw new JobError('nothing-matches', `backup ${id} of plan ${plan} has a manifest already`, {
      hint: `holdfast show ${plan} ${id}`,
    })
  if (!uncommitted.includes(id)) {
    throw new JobError('nothing-matches', `storage ${name} has no folder ${folderKey(plan, id)}`, {
      hint: `there are: ${uncommitted.join(', ') || 'none'}; the folder above the ids is the plan's name`,
    })
  }
  if (await catalog.started(id, job.signal)) {
    throw new JobError(
      'nothing-matches',
      `folder ${folderKey(plan, id)} is an unfinished run of holdfast, not another tool's backup`,
      { hint: `holdfast backup ${plan} --resume ${id} may finish it` },
    )
  }
  const parts = await hashAll({ job, storage, plan, id })
  const engine = engineNamed('rondb')
  const draft = draftOf({ job, plan, id, parts, storage })
  const workers = job.workers({ plan, id, storages: [name] })
  const reader = openReader({
    held: [{ storage, manifest: draft }],
    source: 'rondb',
    workers,
    signal: job.signal,
    progress: job.progress,
    warn: job.warn,
  })
  const facts = await engine.adopt?.(
    { ...contextOf(job), backupId: id, parts: ownParts(draft, 'rondb'), decryption, clients },
    reader,
  )
  if (!facts) throw new JobError('bug', `engine ${engine.name} adopts nothing`)
  const manifest: Manifest = {
    ...draft,
    sources: [{ name: 'rondb', engine: engine.name, ...facts }],
    warnings: [...job.warnings],
  }
  if (!dryRun) await catalog.commit(sign(manifest), job.signal)
  const bytes = parts.reduce((sum, part) => sum + part.size, 0)
  return {
    data: { plan, backup: id, storage: name, parts: parts.length, bytes, written: !dryRun },
    table: {
      columns: ['plan', 'backup', 'storage', 'parts', 'size'],
      rows: [[plan, id, name, String(parts.length), sizeText(bytes)]],
    },
    notes: [dryRun ? 'the folder is complete; nothing was written' : 'the folder is complete and has a manifest now'],
  }
}

async function hashAll({
  job,
  storage,
  plan,
  id,
}: {
  job: Job
  storage: Storage
  plan: string
  id: string
}): Promise<Part[]> {
  const folder = folderKey(plan, id)
  const found: { path: string; size: number }[] = []
  for await (const entry of storage.list(folder)) {
    if (entry.kind === 'object' && !isRunFile(entry.key.slice(folder.length)))
      found.push({ path: entry.key.slice(folder.length), size: entry.size })
  }
  job.progress.begin(`adopt ${id}`, bytesOf(found))
  const parts = await inParallel(found, readersAtOnce, async ({ path, size }) => {
    const stream = await storage.get(partKey(plan, id, path), { signal: job.signal })
    const onBytes = (bytes: number) => job.progress.add('read', bytes)
    return { path, ...(await contentIn(stream, { size, onBytes })) }
  })
  job.progress.end()
  return parts
}

function draftOf({
  job,
  plan,
  id,
  parts,
  storage,
}: {
  job: Job
  plan: string
  id: string
  parts: Part[]
  storage: Storage
}): Manifest {
  const now = job.now().toISOString()
  const started = (isTime(id) ? dateOf(id) : (helmDateOf(id) ?? job.now())).toISOString()
  return {
    format: 1,
    id,
    plan,
    started,
    finished: now,
    jobVersion: version,
    conditionalPut: storage.features.conditionalPut,
    adopted: true,
    sources: [{ name: 'rondb', engine: 'rondb', server: { product: '', version: '' }, tools: {}, facts: {} }],
    parts,
    warnings: [],
  }
}
