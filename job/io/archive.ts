import { once } from 'node:events'
import { Readable } from 'node:stream'
import { extract, type Pack, pack } from 'tar-stream'
import { JobError, textOf } from '../errors.ts'

/** One file that goes into an archive. */
export interface Member {
  name: string
  /** Bytes; data of another length is an error. */
  size: number
  modified: Date
  /** Called in its turn. */
  data(): Iterable<Buffer> | AsyncIterable<Buffer>
}

/** One file of an archive. Its data is read to the end before the next one comes. */
export interface Found {
  name: string
  size: number
  data: Readable
}

const buffered = { objectMode: false, highWaterMark: 1024 * 1024 }

/** A tar archive of files, one after the other; a failure of one is the stream's. */
export function packed(members: Iterable<Member>): Readable {
  return Readable.from(packing(members), buffered)
}

async function* packing(members: Iterable<Member>): AsyncGenerator<Buffer> {
  const archive = pack()
  const stop = new AbortController()
  const feeding = feed(archive, members, stop.signal)
  feeding.catch((error) => archive.destroy(error))
  try {
    for await (const chunk of archive) yield chunk as Buffer
    await feeding
  } finally {
    stop.abort()
    await feeding.catch(() => {})
  }
}

async function feed(archive: Pack, members: Iterable<Member>, signal: AbortSignal): Promise<void> {
  for (const { name, size, modified, data } of members) {
    signal.throwIfAborted()
    const entry = archive.entry({ name, size, mtime: modified, mode: 0o640, type: 'file' })
    const finished = once(entry, 'finish', { signal })
    finished.catch(() => {})
    for await (const chunk of data()) if (!entry.write(chunk)) await once(entry, 'drain', { signal })
    entry.end(undefined)
    await finished
  }
  archive.finalize()
}

/** The files of an archive in turn. Throws `verification` for what is no tar, for one that was cut off, and for links and the like. */
export async function* membersOf(source: Readable, where: string): AsyncGenerator<Found> {
  const archive = extract()
  const stop = new AbortController()
  const feeding = (async () => {
    for await (const chunk of source) if (!archive.write(chunk)) await once(archive, 'drain', { signal: stop.signal })
    archive.end(undefined)
  })()
  let fault: unknown
  feeding.catch((error) => {
    fault = error
    archive.destroy(error)
  })
  const explain = (error: unknown) => explained(fault ?? error, where)
  try {
    for await (const entry of archive) {
      const { name, type, size = 0 } = entry.header
      if (type !== 'file')
        throw new JobError('verification', `${where} has ${JSON.stringify(name)}, a ${type}`, { hint: notOurs })
      yield { name, size, data: Readable.from(explaining(entry as AsyncIterable<Buffer>, explain), buffered) }
    }
  } catch (error) {
    throw explain(error)
  } finally {
    stop.abort()
    archive.destroy()
    source.destroy()
  }
}

async function* explaining(data: AsyncIterable<Buffer>, explain: (error: unknown) => unknown): AsyncGenerator<Buffer> {
  try {
    yield* data
  } catch (error) {
    throw explain(error)
  }
}

export const notOurs =
  'only what `holdfast export` wrote is read here; of another copy: unpack --from its folder, or copy it into a storage'

/** The library has no codes for what is wrong with an archive. */
function explained(error: unknown, where: string): unknown {
  if (error instanceof JobError || !(error instanceof Error)) return error
  // the member that was being read, or the archive: whichever is told first
  const early = error.message === 'Unexpected end of data' || (error as { code?: string }).code === 'STREAM_DESTROYED'
  if (early) return cutOff(where, error)
  if (!/^(Invalid|Header exceeds)/.test(error.message)) return error
  return new JobError('verification', `${where} is no tar archive: ${textOf(error)}`, {
    hint: 'decompress or decrypt it first, if it is compressed or encrypted; otherwise it is damaged: bring the file over again',
    cause: error,
  })
}

export function cutOff(where: string, cause?: unknown): JobError {
  return new JobError('verification', `${where} was cut off: it ends before the backup does`, {
    hint: 'bring the file over again, and compare its size',
    cause,
  })
}
