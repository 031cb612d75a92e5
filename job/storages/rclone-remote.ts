import { randomUUID } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path/posix'
import { JobError } from '../errors.ts'
import { inParallel } from '../io/parallel.ts'
import type { Listed, Stored } from '../storage.ts'
import type { Asking, Rclone } from './rclone-daemon.ts'
import { RcloneError } from './rclone-errors.ts'

/** Bodies up to this size go as files, whose size rclone knows: one request to the remote instead of an upload in parts. */
const smallSize = 1024 * 1024
/** Some remotes can only copy to give an object another name. */
const moveLimitMs = 3600 * 1000

/** What a remote can do, as far as we go by it. */
export interface Ways {
  /** Objects lie in buckets, and are seen only when they are whole. */
  buckets: boolean
  /** Folders are things of their own, which stay when they are empty. */
  folders: boolean
  /** Takes data of unknown size. */
  streams: boolean
}

interface Item {
  Path: string
  Size: number
  ModTime: string
  IsDir: boolean
}

export async function waysOf(rclone: Rclone): Promise<Ways> {
  const { Features } = await rclone.call('operations/fsinfo', { fs: rclone.root }, { operation: 'open' })
  const {
    BucketBased = false,
    CanHaveEmptyDirectories = false,
    PutStream = false,
  } = Features as Record<string, boolean>
  return { buckets: BucketBased, folders: CanHaveEmptyDirectories, streams: PutStream }
}

export async function look(rclone: Rclone, key: string, asking: Asking): Promise<Stored | undefined> {
  const question = { fs: rclone.root, remote: key, opt: { filesOnly: true, noMimeType: true } }
  const { item } = await rclone.call('operations/stat', question, asking).catch((error) => {
    // a part of its path is a file
    if (isMissing(error)) return { item: null }
    throw error
  })
  if (!item) return undefined
  const { Size, ModTime } = item as Item
  return { size: Size, modified: new Date(ModTime) }
}

/** What lies in a folder; with `recurse`, the objects alone, however deep. Undefined when there is no such folder, or bucket. */
export async function itemsIn(
  rclone: Rclone,
  folder: string,
  { recurse = false, ...asking }: Asking & { recurse?: boolean },
): Promise<Listed[] | undefined> {
  const question = { fs: rclone.root, remote: folder, opt: { recurse, filesOnly: recurse, noMimeType: true } }
  try {
    const { list } = await rclone.call('operations/list', question, asking)
    return (list as Item[]).map(({ Path, Size, ModTime, IsDir }) =>
      IsDir
        ? { kind: 'folder', key: `${Path}/` }
        : { kind: 'object', key: Path, size: Size, modified: new Date(ModTime) },
    )
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** Stores the data under the key, and resolves to its bytes. */
export async function send(
  rclone: Rclone,
  key: string,
  { chunks, ...asking }: Asking & { chunks: AsyncGenerator<Buffer> },
): Promise<number> {
  const { head, isWhole } = await gather(chunks, smallSize)
  let size = head.length
  async function* counted() {
    yield head
    for await (const chunk of chunks) {
      size += chunk.length
      yield chunk
    }
  }
  if (isWhole) await sendFile(rclone, key, { bytes: head, ...asking })
  else await rclone.upload({ folder: folderOf(key), file: basename(key) }, counted(), asking)
  return size
}

/** Reads a bit more than `most`, or all. */
async function gather(chunks: AsyncGenerator<Buffer>, most: number): Promise<{ head: Buffer; isWhole: boolean }> {
  const read: Buffer[] = []
  for (let length = 0; length <= most; ) {
    const { value, done } = await chunks.next()
    if (done) return { head: Buffer.concat(read), isWhole: true }
    // it may be lent to us until we ask for the next
    read.push(Buffer.from(value))
    length += value.length
  }
  return { head: Buffer.concat(read), isWhole: false }
}

/**
 * Where two writers meet, each finds the other's object in the place of its own, and would remove it as broken. Servers with buckets
 * check the hash that comes with a request.
 */
const leavesOthers = { IgnoreChecksum: true, IgnoreSize: true }

/** A file has an end that nobody doubts; a request that breaks off early could be stored as if it were whole. */
async function sendFile(rclone: Rclone, key: string, { bytes, ...asking }: Asking & { bytes: Buffer }): Promise<void> {
  const srcRemote = randomUUID()
  const file = join(rclone.spool, srcRemote)
  try {
    await writeFile(file, bytes, { mode: 0o600 }).catch((cause) => {
      throw new JobError('storage', `${asking.operation}: cannot write ${file}`, { cause, retryable: true })
    })
    const names = { srcFs: rclone.spool, srcRemote, dstFs: rclone.root, dstRemote: key }
    await rclone.call('operations/copyfile', { ...names, _config: leavesOthers }, asking)
  } finally {
    await rm(file, { force: true }).catch(() => {})
  }
}

/** Replaces what has the name already. */
export async function move(rclone: Rclone, from: string, to: string, asking: Asking): Promise<void> {
  const names = { srcFs: rclone.root, srcRemote: from, dstFs: rclone.root, dstRemote: to }
  await rclone.call('operations/movefile', names, { limitMs: moveLimitMs, ...asking })
}

/** What is missing already is removed. */
export async function remove(rclone: Rclone, keys: string[]): Promise<void> {
  await inParallel(keys, 8, async (remote) => {
    try {
      await rclone.call('operations/deletefile', { fs: rclone.root, remote }, { operation: `delete ${remote}` })
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  })
}

/** Folders that have nothing in them any more, and then those above them. A remote refuses to remove others. */
export async function removeEmpty(rclone: Rclone, keys: string[]): Promise<void> {
  const folders = new Set(keys.map(folderOf).toSorted((a, b) => b.length - a.length))
  folders.delete('')
  for (const remote of folders) {
    const operation = `remove the folder ${remote}`
    const isRemoved = await rclone.call('operations/rmdir', { fs: rclone.root, remote }, { operation }).then(
      () => true,
      () => false,
    )
    if (isRemoved && folderOf(remote)) folders.add(folderOf(remote))
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof RcloneError && error.missing
}

/** Without a slash at its end. */
function folderOf(key: string): string {
  return key.slice(0, Math.max(0, key.lastIndexOf('/')))
}
