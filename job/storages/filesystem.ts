import { createHash, randomUUID } from 'node:crypto'
import { constants, type Dirent, type Stats, type StatsFs } from 'node:fs'
import {
  access,
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  unlink,
} from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { z } from 'zod'
import { JobError, type JobErrorOptions, ObjectError } from '../errors.ts'
import type { Body, GetOptions, Listed, PutOptions, Storage, Stored } from '../storage.ts'
import { guarded } from './guarded.ts'
import { chunksOf, openBody } from './incoming.ts'
import type { StorageKind } from './kind.ts'

const schema = z
  .strictObject({
    path: z
      .string()
      .min(1)
      .describe('Folder of the backups: inside the claim, or, without a claim, an absolute path that exists'),
    claim: z.string().min(1).optional().describe('PersistentVolumeClaim that holds the folder'),
    create: z
      .strictObject({
        size: z
          .string()
          .regex(/^[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?$/, 'is a quantity of Kubernetes, such as 500Gi')
          .describe(
            'Size of the volume to ask for, such as 500Gi; it can grow later where the storage class allows it',
          ),
        storageClassName: z.string().optional().describe('Storage class; the default one of the cluster unless told'),
        accessModes: z
          .array(z.enum(['ReadWriteOnce', 'ReadWriteOncePod', 'ReadWriteMany']))
          .min(1)
          .default(['ReadWriteOnce'])
          .describe('Worker pods, which run beside the data on other machines, need ReadWriteMany'),
      })
      .optional()
      .describe('The chart makes the claim, and leaves it when it is uninstalled; without it the claim must exist'),
  })
  .refine(({ claim, create }) => create === undefined || claim !== undefined, {
    path: ['claim'],
    message: 'name the claim that is to be created',
  })

/** A folder of a mounted volume. A key is the path of its file. */
export const filesystem: StorageKind<typeof schema> = {
  name: 'filesystem',
  schema,
  place: ({ claim = '', path }) => [claim, path.replace(/\/+$/, '')],
  open: openFolder,
}

const day = 24 * 3600 * 1000
/** Half-written files lie here, in the root: one rename away from their place, and never listed. */
const tempFolder = '.tmp'

async function openFolder(
  { path, claim }: z.output<typeof schema>,
  context: { name: string; at: string; volumesDir: string },
) {
  const at = `${context.at}.filesystem`
  if (path.split('/').includes('..')) throw new JobError('configuration', `${at}.path: ${path} leads out of its folder`)
  if (claim?.includes('/')) throw new JobError('configuration', `${at}.claim: ${claim} is not the name of a claim`)
  if (claim === undefined && !isAbsolute(path)) {
    throw new JobError('configuration', `${at}.path: ${path} is not absolute`, {
      hint: 'start it with /, or name the claim that it is in',
    })
  }
  const mount = claim === undefined ? path : join(context.volumesDir, claim)
  await requireFolder(mount, { name: context.name, at })
  return filesystemStorage({ name: context.name, root: claim === undefined ? path : join(mount, path) })
}

/** Never made by us: an unmounted volume would be filled where nobody finds it again. */
async function requireFolder(mount: string, { name, at }: { name: string; at: string }): Promise<void> {
  const found = await stat(mount).catch((error) => error as NodeJS.ErrnoException)
  const hint = `mount the volume, or create the folder; or correct ${at}`
  if (found instanceof Error) throw failure(found, `storage ${name}: folder ${mount}`, { hint })
  if (!found.isDirectory()) throw new JobError('storage', `storage ${name}: ${mount} is not a folder`, { hint })
}

export interface FilesystemOptions {
  name: string
  root: string
  /** Of node:fs; tests pass one that a file system without hard links would have. */
  linkFile?: typeof link
  /** Of node:fs; tests pass those that a folder would have which is read-only, or full. */
  look?: { access: (path: string, mode: number) => Promise<void>; statfs: (path: string) => Promise<Room> }
}

/** What a file system has, in its own blocks and in files; those that do not know say 0 of 0. */
type Room = Pick<StatsFs, 'blocks' | 'bavail' | 'files' | 'ffree'>

export function filesystemStorage({
  name,
  root,
  linkFile = link,
  look = { access, statfs },
}: FilesystemOptions): Storage {
  const temps = join(root, tempFolder)
  let prepared: Promise<void> | undefined

  async function put(key: string, body: Body, { size, ifAbsent = false, signal }: PutOptions): Promise<Stored> {
    const data = openBody(body)
    const temp = join(temps, `${process.pid}-${randomUUID()}`)
    try {
      signal?.throwIfAborted()
      const target = pathOf(key)
      prepared ??= prepare()
      await prepared
      const stored = await writeFile(temp, chunksOf(data, { key, size, signal }), `${name}: ${key}`)
      signal?.throwIfAborted()
      await publish(temp, target, key, ifAbsent)
      return stored
    } catch (error) {
      if (!Buffer.isBuffer(data)) data.destroy()
      throw error
    } finally {
      await rm(temp, { force: true }).catch(() => {})
    }
  }

  async function get(key: string, { range, signal }: GetOptions = {}): Promise<Readable> {
    signal?.throwIfAborted()
    const path = pathOf(key)
    const what = `${name}: ${key}`
    let handle: FileHandle | undefined
    try {
      handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
      const found = await handle.stat()
      if (!found.isFile()) throw new ObjectError('ObjectMissing', key)
      const start = range?.start ?? 0
      const end = Math.min(range?.end ?? Number.POSITIVE_INFINITY, found.size - 1)
      if (range && start >= found.size)
        throw new JobError('storage', `${what} has ${found.size} bytes: nothing at ${start}`)
      const source = handle.createReadStream({ start, highWaterMark: 256 * 1024, ...(found.size > 0 ? { end } : {}) })
      return guarded(source, {
        what,
        expected: Math.max(0, end - start + 1),
        signal,
        explain: (error) => failure(error, what),
      })
    } catch (error) {
      await handle?.close().catch(() => {})
      throw isGone(error) ? new ObjectError('ObjectMissing', key, error) : failure(error, what)
    }
  }

  async function head(key: string): Promise<Stored | undefined> {
    const found = await statOf(pathOf(key), `${name}: ${key}`)
    return found?.isFile() ? { size: found.size, modified: found.mtime } : undefined
  }

  async function* list(prefix: string, { delimiter }: { delimiter?: string } = {}): AsyncIterable<Listed> {
    if (delimiter !== undefined && delimiter !== '/')
      throw new JobError('storage', `${name}: cannot list by ${delimiter}, only by /`)
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1)
    if (folder) checkKey(folder.slice(0, -1))
    yield* walk(folder, prefix, delimiter !== undefined)
  }

  async function* walk(folder: string, prefix: string, shallow: boolean): AsyncIterable<Listed> {
    const entries = await entriesOf(folder)
    const matching = entries.filter(
      ({ key, isFolder }) => key.startsWith(prefix) || (isFolder && prefix.startsWith(key)),
    )
    for (const batch of batchesOf(matching, 32)) {
      const stats = await Promise.all(
        batch.map(({ key, isFolder }) => (isFolder ? undefined : statOf(join(root, key), `${name}: ${key}`))),
      )
      for (const [index, { key, isFolder }] of batch.entries()) {
        const found = stats[index]
        if (found) yield { kind: 'object', key, size: found.size, modified: found.mtime }
        if (isFolder && !shallow) yield* walk(key, prefix, shallow)
        if (isFolder && shallow && (await holdsObject(key))) yield { kind: 'folder', key }
      }
    }
  }

  async function holdsObject(folder: string): Promise<boolean> {
    const entries = await entriesOf(folder)
    if (entries.some(({ isFolder }) => !isFolder)) return true
    for (const { key } of entries) if (await holdsObject(key)) return true
    return false
  }

  /** Names in a folder in the order of their keys' bytes, as S3 lists: a folder sorts by its name and the slash. */
  async function entriesOf(folder: string): Promise<{ key: string; isFolder: boolean }[]> {
    let found: Dirent[]
    try {
      found = await readdir(join(root, folder), { withFileTypes: true })
    } catch (error) {
      if (isGone(error)) return []
      throw failure(error, `${name}: ${folder}`)
    }
    return found
      .filter((entry) => (entry.isFile() || entry.isDirectory()) && !(folder === '' && entry.name === tempFolder))
      .map((entry) => ({
        name: Buffer.from(entry.isDirectory() ? `${entry.name}/` : entry.name),
        isFolder: entry.isDirectory(),
      }))
      .sort((a, b) => Buffer.compare(a.name, b.name))
      .map((entry) => ({ key: folder + entry.name.toString(), isFolder: entry.isFolder }))
  }

  async function writable(prefix: string): Promise<void> {
    for (const folder of new Set([root, temps, join(root, prefix)].map((one) => resolve(one)))) {
      const there = await nearest(folder)
      const what = `storage ${name}: folder ${there}`
      try {
        await look.access(there, constants.W_OK | constants.X_OK)
        const { blocks, bavail, files, ffree } = await look.statfs(there)
        const isFull = (blocks > 0 && bavail === 0) || (files > 0 && ffree === 0)
        if (isFull) throw Object.assign(new Error(`${there} is full`), { code: 'ENOSPC', syscall: 'statfs' })
      } catch (error) {
        throw failure(error, what)
      }
    }
  }

  /** What is missing is made by the first put, in the folder above. */
  async function nearest(folder: string): Promise<string> {
    for (let at = folder; ; at = dirname(at)) {
      if (at === dirname(at) || (await statOf(at, `storage ${name}: folder ${at}`))) return at
    }
  }

  async function remove(keys: string[]): Promise<void> {
    const folders = new Set<string>()
    for (const key of keys) {
      const path = pathOf(key)
      try {
        await unlink(path)
        folders.add(dirname(path))
      } catch (error) {
        const found = isGone(error) ? undefined : await statOf(path, `${name}: ${key}`)
        if (found && !found.isDirectory()) throw failure(error, `${name}: cannot remove ${key}`)
      }
    }
    for (const folder of folders) {
      await syncFolder(folder)
      await removeEmpty(folder)
    }
  }

  async function removeEmpty(folder: string): Promise<void> {
    for (let at = folder; relative(root, at) !== '' && !relative(root, at).startsWith('..'); at = dirname(at)) {
      const removed = await rmdir(at).then(
        () => true,
        (error) => isGone(error),
      )
      if (!removed) return
    }
  }

  async function prepare(): Promise<void> {
    try {
      await makeFolder(root)
      await mkdir(temps).catch((error) => {
        if (error.code !== 'EEXIST') throw error
      })
    } catch (error) {
      prepared = undefined
      throw failure(error, `${name}: ${root}`)
    }
    await sweep().catch(() => {})
  }

  async function sweep(): Promise<void> {
    for (const temp of await readdir(temps)) {
      const found = await stat(join(temps, temp))
      if (Date.now() - found.mtimeMs > day) await rm(join(temps, temp), { force: true })
    }
  }

  async function publish(temp: string, target: string, key: string, ifAbsent: boolean): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await makeFolder(dirname(target))
        if (ifAbsent) await linkTo(temp, target, key)
        else await rename(temp, target)
        return await syncFolder(dirname(target))
      } catch (error) {
        // A delete at the same time removes folders that it finds empty: make them again.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === 5) throw failure(error, `${name}: ${key}`)
      }
    }
  }

  async function linkTo(temp: string, target: string, key: string): Promise<void> {
    try {
      await linkFile(temp, target)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(code ?? ''))
        return await moveUnderLock(temp, target, key)
      if (code !== 'EEXIST') throw error
      // NFS may lose the answer of a link that was made; then the file has two names.
      if ((await stat(temp)).nlink > 1) return
      throw await existing(target, key, error)
    }
  }

  /** Where there are no hard links: whoever makes the lock file may look and then rename. */
  async function moveUnderLock(temp: string, target: string, key: string): Promise<void> {
    const lock = join(temps, `lock-${createHash('sha256').update(target).digest('hex')}`)
    try {
      await (await open(lock, 'wx')).close()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      throw new JobError('storage', `${name}: another process is writing ${key}`, { cause: error, retryable: true })
    }
    try {
      if (await statOf(target, key)) throw await existing(target, key)
      await rename(temp, target)
    } finally {
      await rm(lock, { force: true })
    }
  }

  async function existing(target: string, key: string, cause?: unknown): Promise<Error> {
    if ((await stat(target)).isFile()) return new ObjectError('ObjectExists', key, cause)
    return new JobError('storage', `${name}: ${key} is a folder`, { cause })
  }

  function pathOf(key: string): string {
    checkKey(key)
    return join(root, key)
  }

  function checkKey(key: string): void {
    const segments = key.split('/')
    const bad =
      key.includes('\0') || segments[0] === tempFolder || segments.some((segment) => ['', '.', '..'].includes(segment))
    if (bad) throw new JobError('storage', `${name}: ${JSON.stringify(key)} cannot be the path of a file`)
  }

  return {
    name,
    features: { conditionalPut: true },
    put,
    get,
    head,
    list,
    writable,
    delete: remove,
    close: async () => {},
  }
}

async function writeFile(path: string, chunks: AsyncIterable<Buffer>, what: string): Promise<Stored> {
  const orFail = async <T>(work: Promise<T>) =>
    work.catch((error) => {
      throw failure(error, what)
    })
  const handle = await orFail(open(path, 'wx', 0o640))
  try {
    let size = 0
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length; ) at += (await orFail(handle.write(chunk, at))).bytesWritten
      size += chunk.length
    }
    await orFail(handle.sync())
    const found = await orFail(handle.stat())
    if (found.size !== size)
      throw new JobError('storage', `${what} has ${found.size} bytes after ${size} were written`, { retryable: true })
    return { size, modified: found.mtime }
  } finally {
    await handle.close().catch(() => {})
  }
}

/** Makes a folder and what is missing above it, each durable in its parent. */
async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true })
  if (first === undefined) return
  for (let at = folder; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at))
}

/** Some network file systems cannot sync folders; they write names through. */
async function syncFolder(folder: string): Promise<void> {
  let handle: FileHandle | undefined
  try {
    handle = await open(folder, constants.O_RDONLY)
    await handle.sync()
  } catch (error) {
    if (
      !['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'EPERM', 'EISDIR', 'ENOENT'].includes(
        (error as NodeJS.ErrnoException).code ?? '',
      )
    )
      throw error
  } finally {
    await handle?.close()
  }
}

async function statOf(path: string, what: string): Promise<Stats | undefined> {
  try {
    return await lstat(path)
  } catch (error) {
    if (isGone(error)) return undefined
    throw failure(error, what)
  }
}

function* batchesOf<T>(items: T[], size: number): Iterable<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size)
}

function isGone(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')
}

const troubles: Record<string, [text: string, options?: JobErrorOptions]> = {
  ENOSPC: ['no space left', { hint: 'make the volume larger, or keep fewer backups' }],
  EDQUOT: ['quota used up', { hint: 'raise the quota, or keep fewer backups' }],
  EFBIG: ['the file system takes no file of this size'],
  EROFS: ['the file system is read-only', { hint: 'mount the volume writable' }],
  EACCES: [
    'permission denied',
    { hint: 'the user of the job needs to own the folder, or its group (fsGroup) to write' },
  ],
  EPERM: ['not permitted', { hint: 'the user of the job needs to own the folder, or its group (fsGroup) to write' }],
  ENOENT: ['does not exist', { hint: 'mount the volume, or create the folder' }],
  ENOTDIR: ['a part of its path is a file'],
  EISDIR: ['is a folder'],
  ENOTEMPTY: ['is a folder'],
  EXDEV: ['lies on another file system than the folder of the storage'],
  ELOOP: ['is a symbolic link'],
  ENAMETOOLONG: ['the name is too long for the file system'],
}
const passing = ['EIO', 'ESTALE', 'ETIMEDOUT', 'EBUSY', 'EAGAIN', 'EMFILE', 'ENFILE', 'EHOSTDOWN', 'ENOTCONN', 'EINTR']

function failure(error: unknown, what: string, more: JobErrorOptions = {}): unknown {
  const { code = '', syscall } = error as NodeJS.ErrnoException
  if (error instanceof JobError || syscall === undefined) return error
  const [text, options] = troubles[code] ?? [`${syscall} failed`]
  return new JobError('storage', `${what}: ${text}`, {
    cause: error,
    retryable: passing.includes(code),
    ...options,
    ...more,
  })
}
