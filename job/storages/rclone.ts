import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import { getCACertificates } from 'node:tls'
import { JobError, ObjectError } from '../errors.ts'
import type { Body, GetOptions, Listed, PutOptions, Storage, Stored } from '../storage.ts'
import { given } from './given.ts'
import { guarded } from './guarded.ts'
import { chunksOf, openBody } from './incoming.ts'
import type { OpenContext } from './kind.ts'
import { type Rclone, type RcloneTexts, startRclone } from './rclone-daemon.ts'
import { RcloneError } from './rclone-errors.ts'
import { isMissing, itemsIn, look, move, remove, removeEmpty, send, type Ways, waysOf } from './rclone-remote.ts'
import type { RcloneOptions } from './rclone-values.ts'
import { trusted } from './tls.ts'

/** Objects on their way lie here, in the root, and are never listed. */
const tempFolder = '.tmp'
const day = 24 * 3600 * 1000

interface Opened {
  rclone: Rclone
  ways: Ways
}

/** Opens a folder of a remote. Nothing is started before the first use. Throws `configuration`. */
export function openRclone(options: RcloneOptions, context: OpenContext & { name: string }): Storage {
  const { name } = context
  const { remote, path } = options
  const server = { name, at: `${context.at}.rclone`, remote, path }
  const texts = textsOf(options, context)
  let opened: Promise<Opened> | undefined
  let swept: Promise<void> | undefined

  const failed = (text: string, retryable = false) =>
    new JobError('storage', `storage ${name} (${remote}:${path}): ${text}`, { retryable })

  /** Started when it is needed, and again when it has ended by itself. */
  async function use(): Promise<Opened> {
    opened ??= start().catch((error) => {
      opened = undefined
      throw error
    })
    return await opened
  }

  async function start(): Promise<Opened> {
    const rclone = await startRclone(options, texts, server)
    void rclone.ended.then(() => {
      opened = undefined
    })
    try {
      const ways = await waysOf(rclone)
      await requireUsable(rclone, ways)
      await rclone.hideConfig()
      return { rclone, ways }
    } catch (error) {
      await rclone.stop()
      throw error
    }
  }

  /** Whatever is wrong with the remote is better said before a database is asked for anything. */
  async function requireUsable(rclone: Rclone, { buckets, streams }: Ways): Promise<void> {
    const asking = { operation: 'open' }
    const found = await itemsIn(rclone, '', asking)
    if (!found && buckets) throw new RcloneError('bucket not found', { ...server, ...asking })
    if (streams) return
    throw new JobError('configuration', `storage ${name}: the remote ${remote} takes no data of unknown size`, {
      hint: 'rclone would first keep all of it on the disk of the pod: take another remote, or copy backups there later',
    })
  }

  async function put(key: string, body: Body, { size, ifAbsent = false, signal }: PutOptions): Promise<Stored> {
    const data = openBody(body)
    const chunks = chunksOf(data, { key, size, signal })
    try {
      signal?.throwIfAborted()
      const { rclone, ways } = await use()
      if (ifAbsent) await requireAbsent(rclone, key)
      if (ways.buckets) return await store(rclone, key, { key, chunks, signal })
      swept ??= sweep(rclone)
      await swept
      const temp = `${tempFolder}/${randomUUID()}`
      const stored = await store(rclone, temp, { key, chunks, signal })
      await publish(rclone, temp, { key, ifAbsent, signal })
      return stored
    } finally {
      if (!Buffer.isBuffer(data)) data.destroy()
    }
  }

  async function requireAbsent(rclone: Rclone, key: string): Promise<void> {
    if (await look(rclone, key, { operation: `head ${key}` })) throw new ObjectError('ObjectExists', key)
  }

  /** Sends the data to its place and looks whether all of it arrived. */
  async function store(
    rclone: Rclone,
    place: string,
    { key, chunks, signal }: { key: string; chunks: AsyncGenerator<Buffer>; signal: AbortSignal | undefined },
  ): Promise<Stored> {
    const asking = { operation: `put ${key}`, signal }
    // what a bucket does not have whole it does not have; a stream that it has in another form than sent, rclone leaves there
    let isBroken = place !== key
    try {
      const sent = await send(rclone, place, { chunks, ...asking }).catch((error) => {
        isBroken ||= /corrupted on transfer/.test(String(error.cause))
        throw error
      })
      const stored = await look(rclone, place, asking)
      if (stored?.size === sent) return stored
      throw failed(`${key} ${stored ? `has ${stored.size} bytes` : 'is missing'} after ${sent} bytes were stored`, true)
    } catch (error) {
      if (isBroken) await remove(rclone, [place]).catch(() => {})
      throw error
    }
  }

  async function publish(
    rclone: Rclone,
    temp: string,
    { key, ifAbsent, signal }: { key: string; ifAbsent: boolean; signal: AbortSignal | undefined },
  ): Promise<void> {
    try {
      signal?.throwIfAborted()
      if (ifAbsent) await requireAbsent(rclone, key)
      await move(rclone, temp, key, { operation: `put ${key}`, signal })
    } catch (error) {
      await remove(rclone, [temp]).catch(() => {})
      // another writer came between
      if (ifAbsent && !signal?.aborted) await requireAbsent(rclone, key)
      throw error
    }
  }

  /** What the puts of a day ago have left behind. */
  async function sweep(rclone: Rclone): Promise<void> {
    const found = await itemsIn(rclone, tempFolder, { operation: `list ${tempFolder}` }).catch(() => [])
    const old = (found ?? []).filter((item) => item.kind === 'object' && Date.now() - item.modified.getTime() > day)
    await remove(
      rclone,
      old.map(({ key }) => key),
    ).catch(() => {})
  }

  async function get(key: string, { range, signal }: GetOptions = {}): Promise<Readable> {
    signal?.throwIfAborted()
    const asking = { operation: `get ${key}`, signal }
    const { rclone } = await use()
    if (range) await requireRange(rclone, key, range.start)
    const headers = range ? { range: `bytes=${range.start}-${range.end ?? ''}` } : {}
    const answer = await rclone.open(key, headers, asking).catch((error) => {
      throw isMissing(error) ? new ObjectError('ObjectMissing', key, error) : error
    })
    return guarded(answer, {
      what: `storage ${name} (${remote}:${path}): ${asking.operation}`,
      expected: Number(answer.headers['content-length']),
      stallMs: 10_000 * options.timeoutSeconds,
      signal,
      explain: (cause) => failed(`${asking.operation}: the connection to rclone broke: ${String(cause)}`, true),
    })
  }

  /** rclone answers with a negative length. */
  async function requireRange(rclone: Rclone, key: string, start: number): Promise<void> {
    const found = await look(rclone, key, { operation: `head ${key}` })
    if (!found) throw new ObjectError('ObjectMissing', key)
    if (start >= found.size) throw failed(`get ${key}: it has ${found.size} bytes: nothing at ${start}`)
  }

  async function head(key: string): Promise<Stored | undefined> {
    const { rclone } = await use()
    return await look(rclone, key, { operation: `head ${key}` })
  }

  async function* list(prefix: string, { delimiter }: { delimiter?: string } = {}): AsyncIterable<Listed> {
    if (delimiter !== undefined && delimiter !== '/') throw failed(`cannot list by ${delimiter}, only by /`)
    const { rclone } = await use()
    const asking = { operation: `list ${prefix}` }
    const items = async (folder: string, recurse: boolean) =>
      (await itemsIn(rclone, folder, { ...asking, recurse })) ?? []
    const folder = prefix.slice(0, Math.max(0, prefix.lastIndexOf('/')))
    const isDeep = delimiter === undefined
    const isFolder = prefix === '' || prefix.endsWith('/')
    const found = (await items(folder, isDeep && isFolder)).filter(({ key }) => key.startsWith(prefix))
    if (!isDeep || isFolder) return yield* inOrder(found)
    const below = found.filter(({ kind }) => kind === 'folder').map(({ key }) => items(key.slice(0, -1), true))
    return yield* inOrder([...found.filter(({ kind }) => kind === 'object'), ...(await Promise.all(below)).flat()])
  }

  async function removeAll(keys: string[]): Promise<void> {
    if (keys.length === 0) return
    const { rclone, ways } = await use()
    await remove(rclone, keys)
    if (ways.folders) await removeEmpty(rclone, keys)
  }

  return {
    name,
    features: { conditionalPut: false },
    put,
    get,
    head,
    list,
    delete: removeAll,
    async close() {
      const left = await opened?.catch(() => undefined)
      await left?.rclone.stop()
    },
  }
}

function textsOf({ config, configPassword, tls, path }: RcloneOptions, { at, secret }: OpenContext): RcloneTexts {
  const below = `${at}.rclone`
  if (path.split('/').includes('..'))
    throw new JobError('configuration', `${below}.path: ${path} leads out of its folder`)
  return {
    config: secret(config, config.key, `${below}.config`),
    ...given({
      configPassword: configPassword && secret(configPassword, configPassword.key, `${below}.configPassword`),
    }),
    // as other storages trust: the image has none that rclone would find
    trusted: trusted(tls, { at: `${below}.tls`, secret }) ?? getCACertificates('default'),
  }
}

/** As S3 lists: by the bytes of the keys. */
function* inOrder(items: Listed[]): Iterable<Listed> {
  const sortable = items.map((item) => ({ item, bytes: Buffer.from(item.key) }))
  sortable.sort((a, b) => Buffer.compare(a.bytes, b.bytes))
  for (const { item } of sortable) if (!item.key.startsWith(`${tempFolder}/`)) yield item
}
