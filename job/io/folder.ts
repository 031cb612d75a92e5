import { mkdir, readdir, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Folder } from '../engine.ts'
import { JobError } from '../errors.ts'
import { fileStream } from './lending.ts'
import { consume, output } from './process.ts'

/** A folder on this machine. */
export function localFolder(folder: string, signal: AbortSignal): Folder {
  return {
    name: folder,
    path: folder,
    files: (path) => filesBelow(join(folder, path)),
    names: () => readdir(folder),
    read: (path) => fileStream(join(folder, path), signal),
    text: (path) => readFile(join(folder, path), 'utf8'),
    write: async (path, text) => {
      await mkdir(dirname(join(folder, path)), { recursive: true })
      await writeFile(join(folder, path), text)
    },
    remove: (path) => rm(join(folder, path), { recursive: true, force: true }),
    local: async (path) => join(folder, path),
    room: () => roomAt(folder),
    output: (command) => output({ ...command, signal }),
    consume: (command, data) => consume({ ...command, signal }, data),
  }
}

/** Regular files with their sizes in bytes, under their paths below the folder; the largest first. */
export async function filesBelow(folder: string): Promise<{ path: string; size: number }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((cause) => {
    throw new JobError('server', `the folder ${folder} cannot be read`, {
      hint: 'check files.path, with {node} for the node id; the job needs to read that folder',
      cause,
    })
  })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const files = await Promise.all(
    paths.map(async (path) => ({ path: path.slice(folder.length + 1), size: (await stat(path)).size })),
  )
  // so that the last to finish is a small one
  return files.sort((a, b) => b.size - a.size)
}

/** NDB makes the backup folder itself, with its first backup: then the folder above counts. */
export async function roomAt(folder: string): Promise<{ free: number; device: number }> {
  const there = await stat(folder).then(
    () => folder,
    () => dirname(folder),
  )
  const { bavail, bsize } = await statfs(there)
  return { device: (await stat(there)).dev, free: bavail * bsize }
}
