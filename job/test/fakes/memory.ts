import { JobError, ObjectError } from '../../errors.ts'
import { lending } from '../../io/lending.ts'
import type { GetOptions, Listed, Storage, Stored } from '../../storage.ts'
import { chunksOf, openBody } from '../../storages/incoming.ts'

export interface MemoryStorage extends Storage {
  /** What is stored, for tests to look at and to damage. */
  readonly objects: Map<string, { bytes: Buffer; modified: Date }>
}

/** A storage in a Map. `now` is the clock of its objects. */
export function memoryStorage({ name = 'memory', now = () => new Date() } = {}): MemoryStorage {
  const objects: MemoryStorage['objects'] = new Map()

  function storedOf(key: string): Stored | undefined {
    const found = objects.get(key)
    return found && { size: found.bytes.length, modified: found.modified }
  }

  async function* list(prefix: string, { delimiter }: { delimiter?: string } = {}): AsyncIterable<Listed> {
    let folder: string | undefined
    const keys = [...objects.keys()].filter((key) => key.startsWith(prefix))
    for (const key of keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
      const end = delimiter === undefined ? -1 : key.indexOf(delimiter, prefix.length)
      const stored = storedOf(key)
      if (end < 0 && stored) yield { kind: 'object', key, size: stored.size, modified: stored.modified as Date }
      if (end < 0 || key.slice(0, end + 1) === folder) continue
      folder = key.slice(0, end + 1)
      yield { kind: 'folder', key: folder }
    }
  }

  return {
    name,
    features: { conditionalPut: true },
    objects,
    async put(key, body, { size, ifAbsent, signal }) {
      const chunks: Buffer[] = []
      for await (const chunk of chunksOf(openBody(body), { key, size, signal })) chunks.push(Buffer.from(chunk))
      if (ifAbsent && objects.has(key)) throw new ObjectError('ObjectExists', key)
      objects.set(key, { bytes: Buffer.concat(chunks), modified: now() })
      return storedOf(key) as Stored
    },
    async get(key, { range, signal }: GetOptions = {}) {
      signal?.throwIfAborted()
      const found = objects.get(key)
      if (!found) throw new ObjectError('ObjectMissing', key)
      if (range && range.start >= found.bytes.length)
        throw new JobError('storage', `${key} has nothing at ${range.start}`)
      const bytes = range ? found.bytes.subarray(range.start, (range.end ?? Number.POSITIVE_INFINITY) + 1) : found.bytes
      // whoever reads the loans is told by them
      const stream = lending(loansOf(bytes, 65_536, signal)).on('error', () => {})
      const abort = () => stream.destroy(signal?.reason)
      signal?.addEventListener('abort', abort, { once: true })
      return stream.once('close', () => signal?.removeEventListener('abort', abort))
    },
    head: async (key) => storedOf(key),
    list,
    async delete(keys) {
      for (const key of keys) objects.delete(key)
    },
    async close() {},
  }
}

/** Each is spoilt as soon as it was used, for whoever kept it. */
export async function* loansOf(bytes: Buffer, size: number, signal?: AbortSignal): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) {
    signal?.throwIfAborted()
    const loan = Buffer.from(bytes.subarray(at, at + size))
    yield loan
    loan.fill(0xee)
  }
}
