import { createHash, type KeyObject } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { partKey } from '../../catalog/layout.ts'
import { JobError, ObjectError } from '../../errors.ts'
import { lending, piecesOf } from '../../io/lending.ts'
import { formatManifest, type Manifest, signManifest } from '../../manifest.ts'
import { type Body, type Listed, readAll, type Storage } from '../../storage.ts'
import { filesystemStorage } from '../../storages/filesystem.ts'
import { openBody } from '../../storages/incoming.ts'
import { loansOf } from '../fakes/memory.ts'

/** A storage in memory that remembers every call and lets a test come in between. */
export interface Store extends Storage {
  objects: Map<string, Buffer>
  /** `put nightly/5.json`, in order. */
  calls: string[]
  /** Called before an operation is carried out; throws what the operation is to fail with. */
  before: (call: string) => void | Promise<void>
  /** Called after it was carried out: throwing here loses the answer. */
  after: (call: string) => void | Promise<void>
  /** What listings say of the last change of every object. */
  modified: Date
}

export function memoryStore({ name = 'main', conditionalPut = true } = {}): Store {
  const objects = new Map<string, Buffer>()
  const during = async <T>(call: string, work: () => T | Promise<T>): Promise<T> => {
    store.calls.push(call)
    await store.before(call)
    const result = await work()
    await store.after(call)
    return result
  }
  const store: Store = {
    name,
    features: { conditionalPut },
    objects,
    calls: [],
    modified: new Date(0),
    before: () => {},
    after: () => {},
    put: (key, body, { ifAbsent, signal }) =>
      during(`put ${key}`, async () => {
        signal?.throwIfAborted()
        const bytes = await bytesOf(body)
        if (ifAbsent && objects.has(key)) throw new ObjectError('ObjectExists', key)
        objects.set(key, bytes)
        return { size: bytes.length }
      }),
    get: (key) =>
      during(`get ${key}`, () => {
        const bytes = objects.get(key)
        if (!bytes) throw new ObjectError('ObjectMissing', key)
        return lending(loansOf(bytes, 1000))
      }),
    head: (key) =>
      during(`head ${key}`, () => {
        const bytes = objects.get(key)
        return bytes && { size: bytes.length }
      }),
    list: (prefix, { delimiter } = {}) => listed(prefix, delimiter),
    delete: (keys) =>
      during(`delete ${keys.join(' ')}`, () => {
        for (const key of keys) objects.delete(key)
      }),
    close: async () => {},
  }
  return store

  async function* listed(prefix: string, delimiter?: string): AsyncIterable<Listed> {
    await during(`list ${prefix}`, () => {})
    const seen = new Set<string>()
    for (const key of [...objects.keys()].filter((one) => one.startsWith(prefix)).sort()) {
      const cut = delimiter ? key.indexOf(delimiter, prefix.length) : -1
      const folder = key.slice(0, cut + 1)
      if (cut < 0) yield { kind: 'object', key, size: objects.get(key)?.length ?? 0, modified: store.modified }
      else if (!seen.has(folder)) yield { kind: 'folder', key: folder }
      seen.add(folder)
    }
  }
}

async function bytesOf(body: Body): Promise<Buffer> {
  const data = openBody(body)
  return Buffer.isBuffer(data)
    ? data
    : Buffer.concat(await Array.fromAsync(piecesOf(data), (piece) => Buffer.from(piece)))
}

/** The storages that what is not about faults must hold on. */
export const storages: { kind: string; open: () => Promise<{ storage: Storage; end: () => Promise<void> }> }[] = [
  { kind: 'memory', open: async () => ({ storage: memoryStore(), end: async () => {} }) },
  {
    kind: 'filesystem',
    open: async () => {
      const root = await mkdtemp(join(tmpdir(), 'holdfast-catalog-'))
      const end = () => rm(root, { recursive: true, force: true })
      return { storage: filesystemStorage({ name: 'main', root }), end }
    },
  },
]

/** As after an aborted connection: nobody knows what became of the request. */
export function reset(): JobError {
  return new JobError('storage', 'connection reset', { retryable: true })
}

export const signal = new AbortController().signal

export function manifestOf(id: string, more: Partial<Manifest> = {}): Manifest {
  const started = new Date(Number(id) * 1000)
  return {
    format: 1,
    id,
    plan: 'nightly',
    started: started.toISOString(),
    finished: new Date(started.getTime() + 90_000).toISOString(),
    jobVersion: '0.1.0',
    conditionalPut: true,
    sources: [
      {
        name: 'rondb',
        engine: 'rondb',
        server: { product: 'RonDB', version: '24.10.1' },
        tools: {},
        facts: { gcp: 27 },
      },
    ],
    parts: [],
    warnings: [],
    ...more,
  }
}

/** Stores a whole backup: its parts, its started.json, its manifest, which `key` signs. */
export async function putBackup(
  storage: Storage,
  id: string,
  parts: Record<string, string> = {},
  key?: KeyObject,
): Promise<Manifest> {
  const unsigned = manifestOf(id, {
    parts: Object.entries(parts).map(([path, text]) => ({ path, size: Buffer.byteLength(text), sha256: hash(text) })),
  })
  const manifest = key ? signManifest(unsigned, key) : unsigned
  for (const [path, text] of Object.entries(parts)) await putText(storage, partKey('nightly', id, path), text)
  await putText(storage, `nightly/${id}/started.json`, JSON.stringify(startedOf(id)))
  await storage.put(`nightly/${id}.json`, formatManifest(manifest), {})
  return manifest
}

export async function putText(storage: Storage, key: string, text: string): Promise<void> {
  await storage.put(key, Buffer.from(text), {})
}

export function startedOf(id: string) {
  return { run: `run-${id}`, plan: 'nightly', started: new Date(Number(id) * 1000).toISOString(), sources: ['rondb'] }
}

export async function keysOf(storage: Storage, prefix = ''): Promise<string[]> {
  return Array.fromAsync(storage.list(prefix), ({ key }) => key)
}

export async function textAt(storage: Storage, key: string): Promise<string> {
  return (await readAll(storage, key)).toString('utf8')
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
