import { createHash } from 'node:crypto'
import type { Catalog, Started } from '../catalog/catalog.ts'
import { putOnce } from '../catalog/commit.ts'
import {
  failedKey,
  folderKey,
  keysKey,
  keysNumber,
  manifestKey,
  manifestPrefix,
  startedKey,
} from '../catalog/layout.ts'
import { formatRunFile } from '../catalog/runs.ts'
import { JobError } from '../errors.ts'
import type { Sibling } from '../io/exported.ts'
import type { Manifest } from '../manifest.ts'
import { isMissing, readAll, type Storage } from '../storage.ts'
import type { Job } from './job.ts'

/** What those verbs have in common that bring a whole backup to a storage from elsewhere. */

/** A backup as it is elsewhere. */
export interface Brought {
  manifest: Manifest
  /** Its manifest as it is stored. */
  bytes: Buffer
}

/** The storage for bytes that are as they are to be stored: encrypted already, or not to be. */
export function asStored({ encryption: _, ...storage }: Storage): Storage {
  return storage
}

/** Milliseconds before each further try of the commit. */
const waits = [500, 2000, 5000]

/** Rejects with `target-not-empty` when the storage has something else under its id. */
export async function isThere({ storage, plan }: Catalog, { manifest, bytes }: Brought): Promise<boolean> {
  const key = manifestKey(plan, manifest.id)
  const held = await readAll(storage, key).catch((error) => {
    if (!isMissing(error)) throw error
  })
  if (held && !held.equals(bytes))
    throw new JobError('target-not-empty', `storage ${storage.name} has another backup as ${key}`, {
      hint: 'nothing was changed; bring it into another storage, or under another prefix',
    })
  return held !== undefined
}

/** The run that brings it: the same one when it is done again, so that it may go on. */
export function bringerOf({ bytes }: Brought, verb: 'import' | 'copy'): string {
  return `${verb}-${createHash('sha256').update(bytes).digest('hex')}`
}

/**
 * Takes the folder. That of an earlier try is known by its started.json, which is written again: a prune must see that somebody is at it.
 * Resolves to whether there was one.
 */
export async function claim(job: Job, catalog: Catalog, { manifest, run }: { manifest: Manifest; run: string }) {
  const { storage, plan } = catalog
  const { id } = manifest
  const before = await catalog.started(id, job.signal)
  if (before?.run === run) {
    await begin(job, catalog, { manifest, run })
    return true
  }
  if (await catalog.join({ id, started: startedOf(job, manifest, run), signal: job.signal })) return false
  throw new JobError(
    'target-not-empty',
    `storage ${storage.name} has a folder ${folderKey(plan, id)} that is of something else`,
    {
      hint: `nothing was changed; holdfast list ${plan} --runs tells what it is, and prune sweeps what failed runs left`,
    },
  )
}

/** Writes started.json over the one that is there. */
export async function begin(
  job: Job,
  { storage, plan }: Catalog,
  { manifest, run }: { manifest: Manifest; run: string },
): Promise<void> {
  const note = formatRunFile(startedOf(job, manifest, run))
  await storage.put(startedKey(plan, manifest.id), note, { size: note.length, signal: job.signal })
  await storage.delete([failedKey(plan, manifest.id)])
}

function startedOf(job: Job, { plan, cluster, sources }: Manifest, run: string): Started {
  return {
    run,
    plan,
    ...(cluster === undefined ? {} : { cluster }),
    started: job.now().toISOString(),
    sources: sources.map(({ name }) => name),
  }
}

interface Keys {
  id: string
  files: readonly Sibling[]
  signal: AbortSignal
}

/**
 * Brings what `rewrap` wrote beside the backup elsewhere, and resolves to how many files that were. A file of the same name stays, for
 * it may be for others: then it gets the next number.
 */
export async function bringKeys({ storage, plan }: Catalog, { id, files, signal }: Keys): Promise<number> {
  if (files.length === 0) return 0
  const there: Buffer[] = []
  for await (const { key } of storage.list(manifestPrefix(plan, id)))
    if (keysNumber(plan, id, key) !== undefined) there.push(await readAll(storage, key, signal))
  const missing = files.filter(({ bytes }) => !there.some((held) => held.equals(bytes)))
  for (const { key, bytes } of missing) {
    let number = keysNumber(plan, id, key) ?? 1
    while ((await putOnce({ storage, key: keysKey(plan, id, number), bytes, signal, waits })) === 'theirs') number++
  }
  return missing.length
}

/** The very bytes that it has elsewhere. */
export async function commit(
  { storage, plan }: Catalog,
  { manifest: { id }, bytes, signal }: Brought & { signal: AbortSignal },
): Promise<void> {
  const key = manifestKey(plan, id)
  if ((await putOnce({ storage, key, bytes, signal, waits })) === 'ours') return
  throw new JobError('storage', `storage ${storage.name} got another backup as ${key} in the meantime`)
}
