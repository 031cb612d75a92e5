import type { Readable } from 'node:stream'
import { type Catalog, openCatalog } from '../catalog/catalog.ts'
import { bytesOf, partKey } from '../catalog/layout.ts'
import { JobError, textOf } from '../errors.ts'
import { openDestinations } from '../io/destinations.ts'
import { type Import, openExported } from '../io/exported.ts'
import { store, verified } from '../io/pipeline.ts'
import { type Result, sizeText } from '../io/print.ts'
import type { Manifest } from '../manifest.ts'
import { asStored, bringerOf, claim, commit, isThere } from './bring.ts'
import { openArchive, readable } from './copies.ts'
import type { Job } from './job.ts'

export interface ImportOptions {
  /** `-` is `input`. */
  file: string
  storage: string
  input?: Readable & { isTTY?: boolean }
}

/**
 * Brings an exported backup into a storage, under its own plan and id. Every part is checked on its way, and the manifest is written
 * when all are there: a run that was killed leaves no backup, and is carried out again by the same command.
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
    if (!there) await carryOut(job, { catalog, archive, where })
    return result(manifest, { storage: name, there })
  } catch (error) {
    job.signal.throwIfAborted()
    throw readable(error, where)
  } finally {
    source.destroy()
  }
}

interface Importing {
  catalog: Catalog
  archive: Import
  where: string
}

async function carryOut(job: Job, { catalog, archive, where }: Importing): Promise<void> {
  const { storage, plan } = catalog
  const { manifest, bytes } = archive
  const { id, parts } = manifest
  await claim(job, catalog, { manifest, run: bringerOf(archive, 'import') })
  job.log.info({ plan, backup: id, storage: storage.name }, 'import begun')
  const to = openDestinations({ storages: [asStored(storage)], signal: job.signal, onDrop: () => {} })
  job.progress.begin(`import ${id}`, bytesOf(parts))
  try {
    for await (const { part, data } of archive.parts()) {
      await store({
        key: partKey(plan, id, part.path),
        path: part.path,
        data: verified(data, part, `${part.path} in ${where}`),
        size: part.size,
        to,
        signal: job.signal,
        onBytes: (count) => job.progress.add(storage.name, count),
      })
    }
    for (const { key, bytes } of archive.siblings)
      await storage.put(key, bytes, { size: bytes.length, signal: job.signal })
    await catalog.confirm(manifest, job.signal)
    await commit(catalog, { manifest, bytes, signal: job.signal })
    await catalog.confirm(manifest, job.signal)
  } catch (error) {
    const { kind } = error instanceof JobError ? error : { kind: 'bug' }
    await catalog.fail(id, { reason: textOf(error), kind, finished: job.now().toISOString() })
    throw error
  } finally {
    job.progress.end()
  }
  job.log.info({ plan, backup: id, storage: storage.name, bytes: bytesOf(parts) }, 'backup imported')
}

function result(manifest: Manifest, { storage, there }: { storage: string; there: boolean }): Result {
  const { plan, id, parts } = manifest
  const bytes = bytesOf(parts)
  return {
    data: { plan, backup: id, storage, parts: parts.length, bytes, written: !there },
    table: {
      columns: ['plan', 'backup', 'storage', { title: 'parts', right: true }, { title: 'size', right: true }],
      rows: [[plan, id, storage, String(parts.length), sizeText(bytes)]],
    },
    notes: there ? ['it was there already: nothing was read or written'] : [],
  }
}
