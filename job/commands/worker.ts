import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Logger } from 'pino'
import { z } from 'zod'
import { partKey, partsKey } from '../catalog/layout.ts'
import { secretPath, secretReader } from '../config.ts'
import type { DownloadOrder, EngineOrder, Folder, Order, Place, UploadOrder, WorkContext } from '../engine.ts'
import { engineNamed } from '../engines/index.ts'
import { JobError, textOf } from '../errors.ts'
import { localFolder } from '../io/folder.ts'
import { inParallel } from '../io/parallel.ts'
import { type Backup, ownPath, readPart, writePart } from '../io/parts.ts'
import { store, tap } from '../io/pipeline.ts'
import { type FromWorker, type Hello, heartbeatMs, messages, silenceMs, type ToWorker } from '../io/protocol.ts'
import { Part } from '../manifest.ts'
import type { Storage } from '../storage.ts'
import { openStorage, placeOf, StorageValues } from '../storages/index.ts'

interface Streams {
  input: Readable
  output: Writable
  log: Logger
  /** Aborted when the worker is told to stop: uploads are taken back before it ends. */
  signal: AbortSignal
}

/** Files of one folder that are sent at once: enough to keep the line full, few enough for bounded memory. */
const filesAtOnce = 3

/** How often progress is told, not with every chunk. */
const progressMs = 250

/**
 * The worker's life: hello, then orders until its input ends; those of one name in turn, those of others beside them. Then, or when
 * nothing is heard for a minute, everything it started is aborted: a dead coordinator leaves nobody behind.
 */
export async function worker({ input, output, log, signal }: Streams): Promise<void> {
  const abort = new AbortController()
  const send = (message: FromWorker) => output.write(`${JSON.stringify(message)}\n`)
  let heard = Date.now()
  // the input of a pod stays open when nobody is at its other end
  const end = (reason: Error) => {
    abort.abort(reason)
    input.destroy()
  }
  const pulse = setInterval(() => {
    send({ type: 'heartbeat' })
    if (Date.now() - heard > silenceMs) end(new JobError('interrupted', 'the coordinator is silent'))
  }, heartbeatMs)
  signal.addEventListener('abort', () => end(signal.reason))
  output.on('error', () => end(new JobError('interrupted', 'the coordinator is gone')))

  const done = new Map<string, number>()
  const tell = () => {
    for (const [name, bytes] of done) send({ type: 'progress', worker: name, bytes })
    done.clear()
  }
  const teller = setInterval(tell, progressMs)

  let desk: Promise<Desk> | undefined
  // an order may be given again after a broken connection: it is carried out once, and its answer said again
  const answers = new Map<number, Promise<FromWorker>>()
  const queues = new Map<string, Promise<void>>()
  try {
    for await (const message of messages<ToWorker>(input)) {
      heard = Date.now()
      // said again after a broken connection
      if (message.type === 'hello' && !desk) {
        desk = openDesk({ hello: message.hello, signal: abort.signal, log })
        // why it cannot be opened is the answer to every order
        desk.catch(() => {})
      }
      if (message.type !== 'order') continue
      const { id, order } = message
      if (answers.has(id)) {
        answers.get(id)?.then(send)
        continue
      }
      const name = order.worker
      const progress = (bytes: number) => void done.set(name, (done.get(name) ?? 0) + bytes)
      const work = async () => carryOut(await deskOf(await (desk as Promise<Desk>), { name, progress }), order)
      const turn = queues.get(name) ?? Promise.resolve()
      const result = turn.then(() => answer(id, work, log))
      answers.set(id, result)
      const answered = result.then((said) => {
        tell()
        send(said)
      })
      queues.set(name, answered)
    }
  } catch (error) {
    // reading ends with an error when it is we who end it
    if (!abort.signal.aborted) throw error
  } finally {
    abort.abort(new JobError('interrupted', 'the coordinator is gone'))
    await Promise.all(queues.values())
    clearInterval(pulse)
    clearInterval(teller)
    await desk?.then(
      (opened) => opened.close(),
      () => {},
    )
  }
}

async function answer(id: number, work: () => Promise<unknown>, log: Logger): Promise<FromWorker> {
  try {
    return { type: 'result', id, value: (await work()) ?? null }
  } catch (error) {
    if (!(error instanceof JobError)) log.error(error instanceof Error ? error.stack : String(error))
    const { kind, hint } = error instanceof JobError ? error : { kind: 'bug' as const, hint: undefined }
    return { type: 'error', id, kind, message: textOf(error), hint }
  }
}

function carryOut(desk: Desk, order: Order): Promise<unknown> {
  if (order.do === 'upload') return upload(desk, order)
  if (order.do === 'download') return download(desk, order)
  return work(desk, order)
}

/** What a worker has at hand between orders. */
interface Desk {
  hello: Hello
  storages: Storage[]
  context: Omit<WorkContext, 'beside' | 'write' | 'read'>
  close(): Promise<void>
}

async function openDesk({ hello, signal, log }: { hello: Hello; signal: AbortSignal; log: Logger }): Promise<Desk> {
  await sweepDead(hello.staging)
  const folder = await mkdtemp(join(hello.staging, `holdfast-${process.pid}-`)).catch((cause) => {
    throw new JobError('configuration', `no folder for temporary files can be made in ${hello.staging}`, {
      hint: 'name another one with --tmp-dir, or with `staging` of the target',
      cause,
    })
  })
  const secret = secretReader(hello.secretsDir)
  const storages: Storage[] = []
  for (const [name, values] of Object.entries(hello.storages)) {
    const context = {
      at: `storages.${name}`,
      secret,
      secretPath: (ref: { secret: string }, key: string) => secretPath(hello.secretsDir, ref, key),
      volumesDir: hello.volumesDir,
    }
    storages.push(await openStorage({ name, values: StorageValues.parse(values), context }))
  }
  return {
    hello,
    storages,
    context: { signal, secret, log, folder, owner: ownerOf(hello), progress: () => {} },
    close: async () => {
      await Promise.all(storages.map((storage) => storage.close()))
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The plan, and a hash of where the first storage keeps its backups. */
export function ownerOf({ plan, storages }: Pick<Hello, 'plan' | 'storages'>): string {
  const places = Object.values(storages).map((values) => placeOf(StorageValues.parse(values)))
  return `${plan}@${createHash('sha256')
    .update(places[0] ?? '')
    .digest('hex')
    .slice(0, 16)}`
}

/** Workers that share the process share its storages, but not their files. */
async function deskOf(
  desk: Desk,
  { name, progress }: { name: string; progress: (bytes: number) => void },
): Promise<Desk> {
  const folder = join(desk.context.folder, name)
  await mkdir(folder, { recursive: true })
  return { ...desk, context: { ...desk.context, folder, progress } }
}

/** Folders of workers that were killed: their process is gone. */
async function sweepDead(staging: string): Promise<void> {
  for (const name of await readdir(staging).catch(() => [])) {
    const pid = /^holdfast-(\d+)-\w{6}$/.exec(name)?.[1]
    if (pid && !alive(Number(pid))) await rm(join(staging, name), { recursive: true, force: true }).catch(() => {})
  }
}

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
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

function backupOf({ hello, context }: Desk): Backup {
  return { plan: hello.plan, id: hello.backupId, signal: context.signal }
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

/** A volume is reached by a pod beside it, to which it is a local folder; whoever else gets the order cannot carry it out. */
async function openFolder(desk: Desk, place: Place): Promise<Folder> {
  if (place.access === 'local') return localFolder(place.folder, desk.context.signal)
  if (place.access === 'exec') {
    const { containerFolder } = await import('../kubernetes/container.ts')
    return containerFolder(place, { signal: desk.context.signal, scratch: desk.context.folder })
  }
  throw new JobError('configuration', 'files.access: volume needs worker pods, which only a run in Kubernetes has', {
    hint: 'run it with the chart; from elsewhere files.access: exec reads the files, too',
  })
}
