import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { type Catalog, openCatalog, type Started } from '../catalog/catalog.ts'
import { putOnce } from '../catalog/commit.ts'
import { bytesOf, failedKey, folderKey, manifestKey, partKey, startedKey } from '../catalog/layout.ts'
import { formatRunFile } from '../catalog/runs.ts'
import { JobError, textOf } from '../errors.ts'
import { openDestinations } from '../io/destinations.ts'
import { type Import, openExported } from '../io/exported.ts'
import { store, verified } from '../io/pipeline.ts'
import { type Result, sizeText } from '../io/print.ts'
import type { Manifest } from '../manifest.ts'
import { isMissing, readAll } from '../storage.ts'
import { openArchive, readable } from './copies.ts'
import type { Job } from './job.ts'

export interface ImportOptions {
  /** `-` is `input`. */
  file: string
  storage: string
  input?: Readable & { isTTY?: boolean }
}

/** Milliseconds before each further try of the commit. */
const waits = [500, 2000, 5000]

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

async function isThere({ storage, plan }: Catalog, { manifest, bytes }: Import): Promise<boolean> {
  const key = manifestKey(plan, manifest.id)
  const held = await readAll(storage, key).catch((error) => {
    if (!isMissing(error)) throw error
  })
  if (held && !held.equals(bytes))
    throw new JobError('target-not-empty', `storage ${storage.name} has another backup as ${key}`, {
      hint: 'nothing was changed; import it into another storage, or under another prefix',
    })
  return held !== undefined
}

async function carryOut(job: Job, { catalog, archive, where }: Importing): Promise<void> {
  const { storage, plan } = catalog
  const { manifest, bytes } = archive
  const { id, parts } = manifest
  await claim(job, catalog, archive)
  job.log.info({ plan, backup: id, storage: storage.name }, 'import begun')
  const to = openDestinations({ storages: [storage], signal: job.signal, onDrop: () => {} })
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
    await confirm(catalog, manifest, job.signal)
    await commit(catalog, { id, bytes, signal: job.signal })
  } catch (error) {
    const { kind } = error instanceof JobError ? error : { kind: 'bug' }
    await catalog.fail(id, { reason: textOf(error), kind, finished: job.now().toISOString() })
    throw error
  } finally {
    job.progress.end()
  }
  job.log.info({ plan, backup: id, storage: storage.name, bytes: bytesOf(parts) }, 'backup imported')
}

/** An earlier import of the same archive is known by its started.json, which is written again: a prune must see that somebody is at it. */
async function claim(job: Job, catalog: Catalog, { manifest, bytes }: Import): Promise<void> {
  const { storage, plan } = catalog
  const { id } = manifest
  const started: Started = {
    run: `import-${createHash('sha256').update(bytes).digest('hex')}`,
    plan,
    ...(manifest.cluster === undefined ? {} : { cluster: manifest.cluster }),
    started: job.now().toISOString(),
    sources: manifest.sources.map(({ name }) => name),
  }
  const before = await catalog.started(id, job.signal)
  if (before?.run === started.run) {
    const note = formatRunFile(started)
    await storage.put(startedKey(plan, id), note, { size: note.length, signal: job.signal })
    return storage.delete([failedKey(plan, id)])
  }
  if (await catalog.join({ id, started, signal: job.signal })) return
  throw new JobError(
    'target-not-empty',
    `storage ${storage.name} has a folder ${folderKey(plan, id)} that is of something else`,
    {
      hint: `nothing was changed; holdfast list ${plan} --runs tells what it is, and prune sweeps what failed runs left`,
    },
  )
}

async function confirm(catalog: Catalog, manifest: Manifest, signal: AbortSignal): Promise<void> {
  const [first] = (await catalog.verify(manifest, { level: 'present', signal })).problems
  if (first)
    throw new JobError(
      'storage',
      `storage ${catalog.storage.name} does not have what was sent: ${first.path} ${first.says}`,
    )
}

/** The very bytes that were exported. */
async function commit(
  { storage, plan }: Catalog,
  { id, bytes, signal }: { id: string; bytes: Buffer; signal: AbortSignal },
) {
  const key = manifestKey(plan, id)
  if ((await putOnce({ storage, key, bytes, signal, waits })) === 'ours') return
  throw new JobError('storage', `storage ${storage.name} got another backup as ${key} in the meantime`)
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
