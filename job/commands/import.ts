import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { type Catalog, openCatalog } from '../catalog/catalog.ts'
import { bytesOf, partKey } from '../catalog/layout.ts'
import { JobError, textOf } from '../errors.ts'
import { openDestinations } from '../io/destinations.ts'
import { type Import, openExported } from '../io/exported.ts'
import { store, verified } from '../io/pipeline.ts'
import { type Result, sizeText } from '../io/print.ts'
import type { Manifest, Part } from '../manifest.ts'
import { asStored, bringerOf, bringKeys, claim, commit, isThere } from './bring.ts'
import { openArchive, readable } from './copies.ts'
import { holding } from './hold.ts'
import type { Job } from './job.ts'

export interface ImportOptions {
  /** `-` is `input`. */
  file: string
  storage: string
  input?: Readable & { isTTY?: boolean }
}

/**
 * Brings an exported backup into a storage, under its own plan and id. Every part is checked on its way, and the manifest is written
 * when all are there: a run that was killed leaves no backup, and is carried out again by the same command. Of a backup that is there it brings
 * what is missing.
 */
export async function importBackup(job: Job, { file, storage: name, input }: ImportOptions): Promise<Result> {
  const where = file === '-' ? 'standard input' : file
  const storage = await job.storage(name)
  const source = openArchive({ file, input, signal: job.signal })
  try {
    const archive = await openExported(source, where)
    const { manifest } = archive
    const catalog = openCatalog({ storage, plan: manifest.plan })
    job.about({ plan: manifest.plan, id: manifest.id })
    const there = await isThere(catalog, archive)
    const brought = there
      ? await complete(job, { catalog, archive, where })
      : await carryOut(job, { catalog, archive, where })
    return result(manifest, { storage: name, there, brought })
  } catch (error) {
    job.signal.throwIfAborted()
    throw readable(error, where)
  } finally {
    source.destroy()
  }
}

/** How long a backup that is completed is kept from prunes, at most. */
const holdSeconds = 24 * 3600

interface Importing {
  catalog: Catalog
  archive: Import
  where: string
}

/** What was written. */
interface Brought {
  parts: number
  keys: number
}

async function carryOut(job: Job, { catalog, archive, where }: Importing): Promise<Brought> {
  const { storage, plan } = catalog
  const { manifest, bytes } = archive
  const { id, parts } = manifest
  await claim(job, catalog, { manifest, run: bringerOf(archive, 'import') })
  job.log.info({ plan, backup: id, storage: storage.name }, 'import begun')
  try {
    await send(job, { catalog, archive, where, parts })
    const keys = await bringKeys(catalog, { id, files: archive.siblings, signal: job.signal })
    await catalog.confirm(manifest, job.signal)
    await commit(catalog, { manifest, bytes, signal: job.signal })
    await catalog.confirm(manifest, job.signal)
    job.log.info({ plan, backup: id, storage: storage.name, bytes: bytesOf(parts) }, 'backup imported')
    return { parts: parts.length, keys }
  } catch (error) {
    const { kind } = error instanceof JobError ? error : { kind: 'bug' }
    await catalog.fail(id, { reason: textOf(error), kind, finished: job.now().toISOString() })
    throw error
  }
}

/** A backup that is there may have lost parts, or have no keys for newer recipients: they are brought, and nothing else is touched. */
async function complete(job: Job, { catalog, archive, where }: Importing): Promise<Brought> {
  const { storage, plan } = catalog
  const { manifest } = archive
  const { id } = manifest
  const { problems } = await catalog.verify(manifest, { level: 'present', signal: job.signal })
  const parts = manifest.parts.filter(({ path }) => problems.some((problem) => problem.path === path))
  const bring = async () => {
    if (parts.length > 0) await send(job, { catalog, archive, where, parts })
    const keys = await bringKeys(catalog, { id, files: archive.siblings, signal: job.signal })
    await catalog.confirm(manifest, job.signal)
    return { parts: parts.length, keys }
  }
  if (parts.length === 0) return bring()
  for (const { path, says } of problems)
    job.warn(`storage ${storage.name}: of backup ${id} of ${plan}, ${path} ${says}`)
  return holding({ job, catalogs: [catalog], id, by: 'import', seconds: holdSeconds }, bring)
}

/** These parts; the others are read over. */
async function send(
  job: Job,
  { catalog: { storage, plan }, archive, where, parts }: Importing & { parts: readonly Part[] },
): Promise<void> {
  const { id } = archive.manifest
  const to = openDestinations({ storages: [asStored(storage)], signal: job.signal, onDrop: () => {} })
  job.progress.begin(`import ${id}`, bytesOf(parts))
  try {
    for await (const { part, data } of archive.parts()) {
      if (!parts.includes(part)) {
        await finished(data.resume(), { signal: job.signal })
        continue
      }
      await store({
        key: partKey(plan, id, part.path),
        path: part.path,
        data: verified(data, { content: part, where: `${part.path} in ${where}` }),
        size: part.size,
        to,
        signal: job.signal,
        onBytes: (count) => job.progress.add(storage.name, count),
      })
    }
  } finally {
    job.progress.end()
  }
}

interface Done {
  storage: string
  there: boolean
  brought: Brought
}

function result(manifest: Manifest, { storage, there, brought }: Done): Result {
  const { plan, id, parts } = manifest
  const bytes = bytesOf(parts)
  return {
    data: { plan, backup: id, storage, parts: parts.length, bytes, written: !there, brought },
    table: {
      columns: ['plan', 'backup', 'storage', { title: 'parts', right: true }, { title: 'size', right: true }],
      rows: [[plan, id, storage, String(parts.length), sizeText(bytes)]],
    },
    notes: there ? [`it was there already: ${addedText(brought)}`] : [],
  }
}

function addedText({ parts, keys }: Brought): string {
  const added = [
    ...(parts > 0 ? [`${parts} parts that were missing`] : []),
    ...(keys > 0 ? [`${keys} files of keys`] : []),
  ]
  return added.length > 0 ? `${added.join(' and ')} were added` : 'nothing was written'
}
