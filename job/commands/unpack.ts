import { lstat, mkdir, readdir, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { join, matchesGlob, resolve } from 'node:path/posix'
import type { Readable } from 'node:stream'
import { bytesOf, partsOf } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import { ownPath, readPart } from '../io/parts.ts'
import { type Result, sizeText } from '../io/print.ts'
import type { Manifest, Part } from '../manifest.ts'
import { filesystemStorage } from '../storages/filesystem.ts'
import { type Copy, openCopy } from './copies.ts'
import type { Job } from './job.ts'

export interface UnpackOptions {
  /** Folder that gets the files. */
  to: string
  /** From the storages of this plan … */
  plan?: string | undefined
  pick?: string | number | undefined
  storages?: string[] | undefined
  /** … or a copy: a folder or its manifest, an exported backup, `-` for `input`. */
  from?: string | undefined
  /** A file of age identities, when the copy is encrypted. */
  identity?: string | undefined
  /** Only these sources. */
  sources?: string[] | undefined
  /** Only files whose path in the backup one of these patterns matches. */
  only?: string[] | undefined
  /** Into a folder that has something already: files of the same name are replaced. */
  overwrite?: boolean | undefined
  input?: Readable & { isTTY?: boolean }
}

/** Files lie here until all of them are there: a folder that has it is not complete. */
const partial = '.holdfast-partial'
/** Never the path of a part: those of a source lie in its folder, or are RonDB's. */
const manifestFile = 'manifest.json'

/** The files of a backup as its engines wrote them: checked and decompressed, without a database. */
export async function unpack(job: Job, options: UnpackOptions): Promise<Result> {
  const folder = resolve(options.to)
  await requireRoom(folder, options.overwrite ?? false)
  const copy = await openCopy(job, options)
  try {
    const { manifest } = copy
    const parts = chosen(manifest, options)
    refuseTwice(parts)
    job.about({ plan: manifest.plan, id: manifest.id })
    job.progress.begin(`unpack ${manifest.id}`, plainBytes(parts))
    await mkdir(folder, { recursive: true }).catch((cause) => {
      throw new JobError('storage', `folder ${folder} cannot be made`, { cause })
    })
    await refuseFull(folder, parts)
    await carryOut(job, { copy, parts, folder })
    return result(manifest, { parts, folder, from: copy.where })
  } finally {
    job.progress.end()
    await copy.close()
  }
}

async function carryOut(
  job: Job,
  { copy, parts, folder }: { copy: Copy; parts: Part[]; folder: string },
): Promise<void> {
  const { manifest } = copy
  const staging = join(folder, partial)
  await rm(staging, { recursive: true, force: true })
  const disk = filesystemStorage({ name: folder, root: staging })
  const { plan, id } = manifest
  try {
    await copy.each(parts, async (part, storage) => {
      const plain = await readPart(part, { plan, id, signal: job.signal, storage })
      const { size } = await disk.put(ownPath(part), plain, { size: (part.plain ?? part).size, signal: job.signal })
      job.progress.add(copy.where, size)
    })
    job.signal.throwIfAborted()
    await moveUp(parts.map(ownPath), folder)
    await changing(join(folder, manifestFile), (file) => writeFile(file, copy.bytes))
  } finally {
    await rm(staging, { recursive: true, force: true })
  }
}

/** Files of the same name are replaced. Whether all can be is known before the first is; without a manifest the folder is not complete. */
async function moveUp(paths: string[], folder: string): Promise<void> {
  const above = new Set(paths.flatMap(foldersAbove))
  for (const at of above) await requireFolder(join(folder, at))
  for (const path of [...paths, manifestFile]) await requireNoFolder(join(folder, path))
  await changing(join(folder, manifestFile), (file) => rm(file, { force: true }))
  for (const at of above) await changing(join(folder, at), (path) => mkdir(path, { recursive: true }))
  for (const path of paths) await changing(join(folder, path), (file) => rename(join(folder, partial, path), file))
}

/** Outer ones first: `a` and `a/b` of `a/b/c`. */
function foldersAbove(path: string): string[] {
  const names = path.split('/').slice(0, -1)
  return names.map((_, depth) => names.slice(0, depth + 1).join('/'))
}

/** Nothing is written through a link. */
async function requireFolder(path: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined)
  if (there && !there.isDirectory()) throw inTheWay(`${path} is no folder`)
}

async function requireNoFolder(path: string): Promise<void> {
  if ((await lstat(path).catch(() => undefined))?.isDirectory()) throw inTheWay(`${path} is a folder`)
}

function inTheWay(message: string): JobError {
  return new JobError('target-not-empty', message, { hint: 'nothing was changed; unpack into an empty folder' })
}

async function changing(path: string, change: (path: string) => Promise<unknown>): Promise<void> {
  await change(path).catch((cause) => {
    throw new JobError('storage', `${path} cannot be written`, {
      hint: `the folder is not complete, which is why it has no ${manifestFile}: mend what is wrong, and unpack again with --overwrite`,
      cause,
    })
  })
}

/** What a run that was killed left counts as nothing, and so does what a file system makes by itself. */
async function requireRoom(folder: string, overwrite: boolean): Promise<void> {
  const names = await readdir(folder).catch((cause) => {
    if (cause.code === 'ENOENT') return []
    throw new JobError('configuration', `${folder} is no folder that can be read`, { cause })
  })
  const others = names.filter((name) => name !== partial && name !== 'lost+found')
  if (others.length === 0 || overwrite) return
  throw new JobError('target-not-empty', `${folder} is not empty: it has ${others.slice(0, 3).join(', ')}`, {
    hint: 'nothing was changed; name another folder, or replace files of the same name with --overwrite',
  })
}

async function refuseFull(folder: string, parts: Part[]): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  const [free, needed] = [bavail * bsize, plainBytes(parts)]
  if (free >= needed) return
  throw new JobError('storage', `${folder} has ${sizeText(free)} free, the files need ${sizeText(needed)}`, {
    hint: 'name a folder on a larger disk, or choose files with --source or --only',
  })
}

function chosen(manifest: Manifest, { sources, only }: UnpackOptions): Part[] {
  const names = manifest.sources.map(({ name }) => name)
  const unknown = sources?.find((name) => !names.includes(name))
  if (unknown !== undefined)
    throw new JobError('nothing-matches', `backup ${manifest.id} has no source ${unknown}`, {
      hint: `it has ${names.join(', ')}`,
    })
  const own = new Set((sources ?? names).flatMap((name) => partsOf(manifest, name)))
  const parts = manifest.parts.filter((part) => own.has(part) && matches(ownPath(part), only))
  if (parts.length > 0 || manifest.parts.length === 0) return parts
  throw new JobError('nothing-matches', `no file of backup ${manifest.id} matches ${only?.join(', ')}`, {
    hint: `patterns are of whole paths, such as ${manifest.parts.slice(0, 3).map(ownPath).join(', ')}; ** matches folders`,
  })
}

function matches(path: string, only: string[] | undefined): boolean {
  return only === undefined || only.some((pattern) => matchesGlob(path, pattern))
}

/** Manifests can come from strangers. */
function refuseTwice(parts: Part[]): void {
  const paths = new Set([manifestFile])
  for (const path of parts.map(ownPath)) {
    if (paths.has(path)) throw new JobError('verification', `the manifest has two parts that would become ${path}`)
    paths.add(path)
  }
}

function plainBytes(parts: Part[]): number {
  return bytesOf(parts.map((part) => part.plain ?? part))
}

function result(manifest: Manifest, { parts, folder, from }: { parts: Part[]; folder: string; from: string }): Result {
  const { plan, id } = manifest
  const bytes = plainBytes(parts)
  const all = parts.length === manifest.parts.length
  return {
    data: { plan, backup: id, from, to: folder, files: parts.length, bytes },
    table: {
      columns: ['plan', 'backup', 'from', 'to', { title: 'files', right: true }, { title: 'size', right: true }],
      rows: [[plan, id, from, folder, String(parts.length), sizeText(bytes)]],
    },
    notes: [
      all
        ? 'every file is what the manifest says'
        : `${parts.length} of ${manifest.parts.length} files; each is what the manifest says`,
    ],
  }
}
