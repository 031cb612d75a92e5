import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { partKey, partsKey } from '../catalog/layout.ts'
import type { DownloadOrder, EngineOrder, Order, UploadOrder } from '../engine.ts'
import { engineNamed } from '../engines/index.ts'
import { JobError } from '../errors.ts'
import { type Copy, openShelf, type Shelf } from '../io/copies.ts'
import { anyOf, type Copies, type Destinations, openDestinations } from '../io/destinations.ts'
import { contentIn } from '../io/hash-aside.ts'
import { listOf } from '../io/kept.ts'
import { errorOf, failureOf, type Outcome } from '../io/outcome.ts'
import { inParallel } from '../io/parallel.ts'
import { contentOf, ownPath, readPart, writePart } from '../io/parts.ts'
import { store } from '../io/pipeline.ts'
import { Part } from '../manifest.ts'
import { backupOf, type Desk, openFolder } from './desk.ts'

/** Files of one folder that are sent at once: enough to keep the line full, few enough for bounded memory. */
const filesAtOnce = 3

/** What an order asks for, done at a worker's desk. Those of a sink or a reader are answered with an Outcome. */
export async function carryOut(desk: Desk, order: Order): Promise<unknown> {
  const failed = desk.unopened.filter(({ storage }) => order.storages?.includes(storage))
  const warnings: string[] = []
  const lists: Outcome['lists'] = {}
  const { signal, progress } = desk.context
  const working: Working = {
    desk,
    to: openDestinations({
      storages: desk.storages.filter(({ name }) => order.storages?.includes(name)),
      signal,
      onDrop: ({ name }, error) => failed.push(failureOf(name, error)),
    }),
    shelf: openShelf({
      ...backupOf(desk),
      warn: (message) => warnings.push(message),
      onBytes: (_, bytes) => progress(bytes),
    }),
    lists,
  }
  refuseNowhere(desk, order)
  const value = await todo(working, order)
  return order.storages || order.copies ? ({ value, failed, lists, warnings } satisfies Outcome) : value
}

/** Storages that cannot be opened are passed over as long as there is another one. */
function refuseNowhere({ storages, unopened: [first] }: Desk, { storages: to, copies = [] }: Order): void {
  if (!first) return
  const opened = (name: string) => storages.some((one) => one.name === name)
  const reachable = copies.every((held) => held.some(({ storage }) => opened(storage)))
  if (!reachable || (to && !to.some(opened))) throw errorOf(first)
}

/** What one order is carried out with. */
interface Working {
  desk: Desk
  to: Destinations
  shelf: Shelf
  lists: Outcome['lists']
}

function todo(working: Working, order: Order): Promise<unknown> {
  if (order.do === 'upload') return upload(working, order)
  if (order.do === 'download') return download(working, order)
  return work(working, order)
}

async function upload(working: Working, order: UploadOrder): Promise<Part[]> {
  const { desk, to } = working
  const { signal, progress } = desk.context
  const beside = await openFolder(desk, order.beside)
  const files = await beside.files(order.folder)
  const before = order.resume ? await storedBefore(desk, to, order) : new Map()
  const parts = await inParallel(files, filesAtOnce, async ({ path: name, size }) => {
    const path = `${order.path}/${name}`
    const key = partKey(desk.hello.plan, desk.hello.backupId, path)
    const data = () => beside.read(`${order.folder}/${name}`)
    const there = to.only(({ storage }) => before.get(storage.name)?.get(path) === size)
    const kept = await intact({ key, path, data, size, there, signal })
    const missing = to.only(({ storage }) => !kept.has(storage.name))
    const sent = await store({ key, path, data, size, to: missing, signal, onBytes: progress })
    return new Map([...kept, ...sent])
  })
  await writeLists(working, order.path, parts)
  return parts.map(anyOf)
}

/** By storage, the sizes of what it has already below an order's path. */
async function storedBefore(desk: Desk, to: Destinations, { path }: UploadOrder): Promise<Map<string, Sizes>> {
  const { plan, backupId } = desk.hello
  const folder = partKey(plan, backupId, '')
  return to.each(async ({ storage }) => {
    const found: Sizes = new Map()
    for await (const entry of storage.list(`${folder}${path}/`)) {
      if (entry.kind === 'object') found.set(entry.key.slice(folder.length), entry.size)
    }
    return found
  })
}

type Sizes = Map<string, number>

interface Kept {
  key: string
  path: string
  data: () => Readable
  size: number
  there: Destinations
  signal: AbortSignal
}

/** The copies of the storages that have exactly these bytes. */
async function intact({ key, path, data, size, there, signal }: Kept): Promise<Copies> {
  if (there.live().length === 0) return new Map()
  const here = await contentIn(data(), { size })
  const found = await there.each(async ({ storage }) => contentIn(await storage.get(key, { signal }), { size }))
  const same = [...found].filter(([, { sha256 }]) => sha256 === here.sha256)
  return new Map(same.map(([storage]) => [storage, { path, ...here }]))
}

async function download({ desk, shelf }: Working, order: DownloadOrder): Promise<void> {
  const parts = heldOf(desk, order)
  await refuseFull(desk, parts)
  await inParallel(parts, filesAtOnce, async (copies) => {
    const to = join(desk.context.folder, ownPath((copies[0] as Copy).part).slice(order.strip.length))
    await mkdir(dirname(to), { recursive: true })
    await shelf.use(copies, (copy) => fetchCopy(desk, copy, to))
  })
}

/** What the reader said about who has the parts, with the storages that we have opened. */
function heldOf({ storages }: Desk, { copies = [] }: Order): Copy[][] {
  return copies.map((held) =>
    held.flatMap(({ storage: name, part }) => {
      const storage = storages.find((one) => one.name === name)
      return storage ? [{ storage, part: Part.parse(part) }] : []
    }),
  )
}

async function refuseFull({ context, hello }: Desk, parts: Copy[][]): Promise<void> {
  const bytes = parts.reduce((sum, [copy]) => sum + contentOf((copy as Copy).part).size, 0)
  const { bavail, bsize } = await statfs(context.folder)
  if (bavail * bsize > bytes) return
  throw new JobError(
    'configuration',
    `${hello.staging} has ${Math.round((bavail * bsize) / 1e6)} MB free, the files need ${Math.round(bytes / 1e6)} MB`,
    { hint: 'name a larger folder with `staging` of the target, or with --tmp-dir' },
  )
}

async function fetchCopy(desk: Desk, { storage, part }: Copy, to: string): Promise<void> {
  const { signal, progress } = desk.context
  const checked = await readPart(part, { ...backupOf(desk), storage, onBytes: progress })
  await pipeline(checked, createWriteStream(to, { highWaterMark: 1024 * 1024 }), { signal })
}

async function work(working: Working, order: EngineOrder): Promise<unknown> {
  const { desk, to, shelf } = working
  const engine = engineNamed(order.engine)
  if (!engine.work) throw new JobError('bug', `engine ${engine.name} gives orders but carries none out`)
  const beside = order.beside && (await openFolder(desk, order.beside))
  const written: Copies[] = []
  const readable = new Map(
    heldOf(desk, order).map((copies) => [ownPath((copies[0] as Copy).part).slice(order.strip?.length ?? 0), copies]),
  )
  const result = await engine.work(order.order, {
    ...desk.context,
    get beside() {
      if (beside) return beside
      throw new JobError('bug', `an order of ${engine.name} has no place, but needs one`)
    },
    write: async (path, data, options = {}) => {
      if (order.path === undefined) throw new JobError('bug', `an order of ${engine.name} writes, but names no path`)
      const { progress } = desk.context
      const target = { ...backupOf(desk), path: `${order.path}/${path}`, to, onBytes: progress }
      const copies = await writePart({ ...target, data, level: desk.hello.level, ...options })
      written.push(copies)
      return anyOf(copies)
    },
    read: async (path) => {
      const copies = readable.get(path)
      if (!copies) throw new JobError('verification', `the backup has no part ${order.strip ?? ''}${path}`)
      return shelf.read(copies)
    },
  })
  if (order.path !== undefined) await writeLists(working, order.path, written)
  return result
}

/** Written last, to each storage its own: the coordinator reads it there, and compares it with the hash that we say. */
async function writeLists({ desk, to, lists }: Working, path: string, parts: Copies[]): Promise<void> {
  const key = partsKey(desk.hello.plan, desk.hello.backupId, path)
  await to.each(async ({ storage, out }) => {
    const list = listOf(parts.flatMap((copies) => copies.get(storage.name) ?? []))
    lists[storage.name] = createHash('sha256').update(list).digest('hex')
    await storage.put(key, list, { size: list.length, signal: AbortSignal.any([desk.context.signal, out]) })
  })
}
