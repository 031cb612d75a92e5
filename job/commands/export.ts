import { lstat, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { openCatalog } from '../catalog/catalog.ts'
import { bytesOf, keysNumber, manifestPrefix, partKey } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import { exported, type Sibling } from '../io/exported.ts'
import { verified } from '../io/pipeline.ts'
import { type Result, sizeText } from '../io/print.ts'
import type { Manifest } from '../manifest.ts'
import { readAll, type Storage } from '../storage.ts'
import { filesystemStorage } from '../storages/filesystem.ts'
import { findStored, underHold } from './copies.ts'
import type { Job } from './job.ts'

export interface ExportOptions {
  plan: string
  pick: string | number
  /** `-` is `stdout`. */
  file: string
  overwrite?: boolean | undefined
  storages?: string[] | undefined
  stdout?: Writable & { isTTY?: boolean }
}

/** Takes the archive; resolves to its bytes. */
type Destination = (archive: Readable, signal: AbortSignal) => Promise<number>

/** One backup as one tar archive. All that is read is checked against the manifest, and a file is there whole or not at all. */
export async function exportBackup(job: Job, options: ExportOptions): Promise<Result> {
  const { plan, file, overwrite = false, stdout = process.stdout } = options
  const send = file === '-' ? intoStream(stdout) : await intoFile(file, overwrite)
  const { storage, manifest, bytes } = await findStored(job, options)
  const siblings = await keysBeside(storage, manifest, job.signal)
  const { id, parts } = manifest
  job.about({ plan, id })
  await requireParts(storage, manifest, job.signal)

  job.progress.begin(`export ${id}`, bytesOf(parts))
  const held = { job, storage, plan, id, by: 'export' }
  const size = await underHold(held, () => send(exported({ manifest, bytes, siblings, open }), job.signal))
  job.progress.end()
  job.log.info({ plan, backup: id, storage: storage.name, file, bytes: size }, 'backup exported')
  return {
    data: { plan, backup: id, storage: storage.name, file, parts: parts.length, bytes: size },
    table: {
      columns: ['plan', 'backup', 'storage', 'file', { title: 'parts', right: true }, { title: 'size', right: true }],
      rows: [[plan, id, storage.name, file, String(parts.length), sizeText(size)]],
    },
    beside: file === '-',
  }

  async function* open(part: Manifest['parts'][number]): AsyncGenerator<Buffer> {
    const stored = await storage.get(partKey(plan, id, part.path), { signal: job.signal })
    const where = `${part.path} in storage ${storage.name}`
    const onBytes = (bytes: number) => job.progress.add(storage.name, bytes)
    yield* verified(stored, { content: part, where, onBytes })
  }
}

/** Without them an identity that the backup was rewrapped for would not open it. */
async function keysBeside(storage: Storage, { plan, id }: Manifest, signal: AbortSignal): Promise<Sibling[]> {
  const siblings: Sibling[] = []
  for await (const { key } of storage.list(manifestPrefix(plan, id)))
    if (keysNumber(plan, id, key) !== undefined) siblings.push({ key, bytes: await readAll(storage, key, signal) })
  return siblings
}

/** What is missing is said now, not after an hour. */
async function requireParts(storage: Storage, manifest: Manifest, signal: AbortSignal): Promise<void> {
  const catalog = openCatalog({ storage, plan: manifest.plan })
  const [first, ...more] = (await catalog.verify(manifest, { level: 'present', signal })).problems
  if (!first) return
  const others = more.length > 0 ? `, and ${more.length} more parts are damaged` : ''
  throw new JobError('verification', `${first.path} in storage ${storage.name} ${first.says}${others}`, {
    hint: 'export it from another storage (--storage), or another backup',
  })
}

async function intoFile(file: string, overwrite: boolean): Promise<Destination> {
  const path = resolve(file)
  const folder = dirname(path)
  // never made by us: of a disk that is not mounted it would be made beside it
  if (!(await stat(folder).catch(() => undefined))?.isDirectory())
    throw new JobError('configuration', `there is no folder ${folder}`, { hint: 'mount or create it first' })
  const there = await lstat(path).catch(() => undefined)
  if (there && !there.isFile())
    throw new JobError('configuration', `${file} is no file`, { hint: 'name a new file; or - for standard output' })
  if (there && !overwrite)
    throw new JobError('target-not-empty', `${file} is there already`, {
      hint: 'nothing was changed; --overwrite replaces it',
    })
  const disk = filesystemStorage({ name: folder, root: folder })
  return async (archive, signal) => {
    const { size } = await disk
      .put(basename(path), archive, { ifAbsent: !overwrite, signal })
      .finally(() => rmdir(join(folder, '.tmp')).catch(() => {}))
    return size
  }
}

function intoStream(output: Writable & { isTTY?: boolean }): Destination {
  if (output.isTTY)
    throw new JobError('configuration', 'standard output is a terminal, which a tar archive is nothing for', {
      hint: 'redirect it to a file or a program, or name a file',
    })
  // every write says itself what failed
  output.on('error', () => {})
  return async (archive, signal) => {
    let size = 0
    for await (const chunk of archive) {
      await written(output, chunk as Buffer, signal)
      size += (chunk as Buffer).length
    }
    return size
  }
}

/** Resolves when the chunk is out of our memory. Whoever reads may have gone to sleep: the signal ends the wait. */
function written(output: Writable, chunk: Buffer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const stop = () => reject(signal.reason)
    // taken away again: the signal lives as long as the job, and every listener would hold its chunk
    signal.addEventListener('abort', stop, { once: true })
    output.write(chunk, (cause) => {
      signal.removeEventListener('abort', stop)
      if (!cause) return resolve()
      const gone = (cause as NodeJS.ErrnoException).code === 'EPIPE' || output.destroyed
      if (!gone) return reject(new JobError('storage', 'standard output cannot be written', { cause }))
      reject(new JobError('storage', 'whoever reads standard output has stopped before its end', { cause }))
    })
  })
}
