import { createWriteStream } from 'node:fs'
import { mkdir, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import { partKey, partsKey } from '../catalog/layout.ts'
import type { DownloadOrder, EngineOrder, Order, UploadOrder } from '../engine.ts'
import { engineNamed } from '../engines/index.ts'
import { JobError } from '../errors.ts'
import { inParallel } from '../io/parallel.ts'
import { ownPath, readPart, writePart } from '../io/parts.ts'
import { store, tap } from '../io/pipeline.ts'
import { Part } from '../manifest.ts'
import { backupOf, type Desk, openFolder } from './desk.ts'

/** Files of one folder that are sent at once: enough to keep the line full, few enough for bounded memory. */
const filesAtOnce = 3

/** What an order asks for, done at a worker's desk. */
export function carryOut(desk: Desk, order: Order): Promise<unknown> {
  if (order.do === 'upload') return upload(desk, order)
  if (order.do === 'download') return download(desk, order)
  return work(desk, order)
}

async function upload(desk: Desk, order: UploadOrder): Promise<Part[]> {
  const beside = await openFolder(desk, order.beside)
  const files = await beside.files(order.folder)
  const kept = order.resume ? await storedBefore(desk, order) : new Map<string, number>()
  const parts = await inParallel(files, filesAtOnce, async (file) => {
    const path = `${order.path}/${file.path}`
    const data = () => beside.read(`${order.folder}/${file.path}`)
    if (kept.get(path) === file.size) {
      const intact = await sameBytes(desk, path, data())
      if (intact) return intact
    }
    return store({
      key: partKey(desk.hello.plan, desk.hello.backupId, path),
      path,
      data,
      size: file.size,
      storages: desk.storages,
      signal: desk.context.signal,
      onBytes: desk.context.progress,
    })
  })
  await writeList(desk, order.path, parts)
  return parts
}

/** Sizes of what is stored already below an order's path, where every storage has it. */
async function storedBefore(desk: Desk, order: UploadOrder): Promise<Map<string, number>> {
  const { plan, backupId } = desk.hello
  const folder = partKey(plan, backupId, '')
  let common: Map<string, number> | undefined
  for (const storage of desk.storages) {
    const found = new Map<string, number>()
    for await (const entry of storage.list(`${folder}${order.path}/`)) {
      if (entry.kind === 'object') found.set(entry.key.slice(folder.length), entry.size)
    }
    common = new Map([...(common ?? found)].filter(([path, size]) => found.get(path) === size))
  }
  return common ?? new Map()
}

/** The part when every storage has exactly these bytes. */
async function sameBytes(desk: Desk, path: string, data: Readable): Promise<Part | undefined> {
  const here = await hashOf(data)
  for (const storage of desk.storages) {
    const there = await hashOf(
      await storage.get(partKey(desk.hello.plan, desk.hello.backupId, path), { signal: desk.context.signal }),
    )
    if (there.sha256 !== here.sha256) return undefined
  }
  return { path, ...here }
}

async function hashOf(data: Readable): Promise<{ size: number; sha256: string }> {
  const tapped = tap(data)
  for await (const _ of tapped.stream);
  return tapped.result()
}

async function download(desk: Desk, order: DownloadOrder): Promise<void> {
  const parts = z.array(Part).parse(order.parts)
  await refuseFull(desk, order)
  await inParallel(parts, filesAtOnce, async (part) => {
    const to = join(desk.context.folder, ownPath(part).slice(order.strip.length))
    await mkdir(dirname(to), { recursive: true })
    await fetchPart(desk, part, to)
  })
}

async function refuseFull({ context, hello }: Desk, { parts }: DownloadOrder): Promise<void> {
  const bytes = parts.reduce((sum, part) => sum + (part.plain ?? part).size, 0)
  const { bavail, bsize } = await statfs(context.folder)
  if (bavail * bsize > bytes) return
  throw new JobError(
    'configuration',
    `${hello.staging} has ${Math.round((bavail * bsize) / 1e6)} MB free, the files need ${Math.round(bytes / 1e6)} MB`,
    { hint: 'name a larger folder with `staging` of the target, or with --tmp-dir' },
  )
}

/** From the first storage that has the part intact. */
async function fetchPart(desk: Desk, part: Part, to: string): Promise<void> {
  const { signal, progress } = desk.context
  let failure: unknown
  for (const storage of desk.storages) {
    try {
      const checked = await readPart(part, { ...backupOf(desk), storage })
      checked.on('data', (chunk: Buffer) => progress(chunk.length))
      return await pipeline(checked, createWriteStream(to, { highWaterMark: 1024 * 1024 }), { signal })
    } catch (error) {
      if (signal.aborted) throw error
      failure = error
    }
  }
  throw failure
}

/** A stream that was begun cannot be gone on with from another storage: the first one that has the part counts. */
async function openPart(desk: Desk, part: Part): Promise<Readable> {
  let failure: unknown
  for (const storage of desk.storages) {
    try {
      return await readPart(part, { ...backupOf(desk), storage })
    } catch (error) {
      desk.context.signal.throwIfAborted()
      failure = error
    }
  }
  throw failure
}

async function work(desk: Desk, order: EngineOrder): Promise<unknown> {
  const engine = engineNamed(order.engine)
  if (!engine.work) throw new JobError('bug', `engine ${engine.name} gives orders but carries none out`)
  const beside = order.beside && (await openFolder(desk, order.beside))
  const written: Part[] = []
  const readable = new Map((order.parts ?? []).map((part) => [ownPath(part).slice(order.strip?.length ?? 0), part]))
  const result = await engine.work(order.order, {
    ...desk.context,
    get beside() {
      if (beside) return beside
      throw new JobError('bug', `an order of ${engine.name} has no place, but needs one`)
    },
    write: async (path, data, options = {}) => {
      if (order.path === undefined) throw new JobError('bug', `an order of ${engine.name} writes, but names no path`)
      const { storages, context } = desk
      const target = { ...backupOf(desk), path: `${order.path}/${path}`, storages, onBytes: context.progress }
      const part = await writePart({ ...target, data, ...options })
      written.push(part)
      return part
    },
    read: async (path) => {
      const part = readable.get(path)
      if (!part) throw new JobError('verification', `the backup has no part ${order.strip ?? ''}${path}`)
      return openPart(desk, part)
    },
  })
  if (order.path !== undefined) await writeList(desk, order.path, written)
  return result
}

/** Written last: the coordinator believes it, not what we say. */
async function writeList(desk: Desk, path: string, parts: Part[]): Promise<void> {
  const list = Buffer.from(`${JSON.stringify(parts, null, 1)}\n`)
  const { plan, backupId } = desk.hello
  for (const storage of desk.storages)
    await storage.put(partsKey(plan, backupId, path), list, { size: list.length, signal: desk.context.signal })
}
