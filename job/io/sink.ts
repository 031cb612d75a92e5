import { createHash, type KeyObject } from 'node:crypto'
import type { Readable } from 'node:stream'
import { z } from 'zod'
import type { Catalog } from '../catalog/catalog.ts'
import { partKey, partsKey, sourcePath } from '../catalog/layout.ts'
import type { BackupFacts, Order, Sink } from '../engine.ts'
import { JobError } from '../errors.ts'
import { Part } from '../manifest.ts'
import { readAll, type Storage } from '../storage.ts'
import { anyOf, type Copies, type Destination, type Destinations } from './destinations.ts'
import { externalPlace, takeIn } from './external.ts'
import { keptList, readKept } from './kept.ts'
import { errorOf, type Outcome } from './outcome.ts'
import { contentOf, ownPath, unwrapped, writePart } from './parts.ts'
import type { Progress } from './progress.ts'
import type { Workers } from './workers.ts'

interface Options {
  /** Of all the plan's storages that take part. */
  catalogs: Catalog[]
  to: Destinations
  id: string
  source: string
  engine: string
  /** Of compression, when the plan says one. */
  level?: number | undefined
  /** Of a plan that signs: what a failed run kept counts only with its signature. */
  key?: KeyObject | undefined
  workers: Workers
  progress: Progress
  signal: AbortSignal
}

export interface SourceSink extends Sink {
  /** All parts so far as this storage has them, under their paths in the backup. */
  parts(storage: Storage): Part[]
  /** Takes over what a failed run of the same id had written before it kept its facts. */
  takeUp(facts: BackupFacts): Promise<void>
}

/** The sink of one source on every storage of the plan. */
export function openSink({
  catalogs,
  to,
  id,
  source,
  engine,
  level,
  key,
  workers,
  progress,
  signal,
}: Options): SourceSink {
  const plan = catalogs[0]?.plan as string
  const written = new Map<string, Copies>()
  const pathOf = (path: string) => sourcePath({ source, engine, path })
  const listKey = partKey(plan, id, pathOf('parts.json'))
  const partsIn = ({ name }: Storage) => [...written.values()].flatMap((copies) => copies.get(name) ?? [])

  function keep(copies: Copies): Part {
    const part = anyOf(copies)
    const path = ownPath(part)
    if (written.has(path)) throw new JobError('bug', `part ${path} was written twice`)
    written.set(path, copies)
    return unwrapped(part)
  }

  /** Of every storage: workers write their lists last, and those count, when they are still what was written. */
  async function takeLists(key: string, hashes: Outcome['lists']): Promise<Part[]> {
    const lists = await to.each(({ storage }) => readParts(storage, key, hashes))
    return together(lists, key).map(keep)
  }

  async function delegate(order: Order): Promise<never> {
    if (order.do === 'download' || order.path === undefined) return (await workers.order(order)) as never
    const path = pathOf(order.path)
    const live = to.live()
    const storages = live.map(({ storage }) => storage.name)
    const { value, failed, lists } = (await workers.order({ ...order, path, storages })) as Outcome
    for (const failure of failed) to.drop(named(live, failure.storage), errorOf(failure))
    const stored = await takeLists(partsKey(plan, id, path), lists)
    return (order.do === 'upload' ? stored : value) as never
  }

  return {
    write: async (path: string, data: Readable, options = {}) => {
      const onBytes = (bytes: number) => progress.add(path, bytes)
      return keep(await writePart({ plan, id, path: pathOf(path), data, level, to, signal, ...options, onBytes }))
    },
    delegate,
    external: async (path) => {
      const folder = pathOf(path)
      const { storage, place } = externalPlace(
        to.live().map(({ storage }) => ({ storage, encrypted: storage.encryption !== undefined })),
        partKey(plan, id, folder),
      )
      const onBytes = (bytes: number) => progress.add(path, bytes)
      const taken = () => takeIn({ plan, id, folder, storage, to, signal, onBytes })
      return { place, parts: async () => (await taken()).map(keep) }
    },
    keepFacts: async (facts: BackupFacts) => {
      await to.each(async ({ storage }) => {
        const list = keptList({ plan, id, source, parts: partsIn(storage), facts }, key)
        await storage.put(listKey, list, { size: list.length, signal })
        await catalogOf(catalogs, storage).keepFacts({ id, source, facts, signal })
      })
    },
    parts: partsIn,
    takeUp: async (facts) => {
      const lists = await to.each(async ({ storage }) => {
        const where = `storage ${storage.name}: ${listKey}`
        return readKept(await readAll(storage, listKey, signal), { plan, id, source, facts, key, where })
      })
      together(lists, listKey).map(keep)
    },
  }
}

function catalogOf(catalogs: readonly Catalog[], storage: Storage): Catalog {
  return catalogs.find((catalog) => catalog.storage === storage) as Catalog
}

function named(destinations: readonly Destination[], name: string): Destination {
  return destinations.find(({ storage }) => storage.name === name) as Destination
}

async function readParts(storage: Storage, key: string, hashes: Outcome['lists']): Promise<Part[]> {
  const bytes = await readAll(storage, key)
  // what is listed gets into the manifest, under its signature
  if (createHash('sha256').update(bytes).digest('hex') !== hashes[storage.name])
    throw new JobError('storage', `storage ${storage.name}: ${key} is not what the worker wrote there`, {
      hint: 'something else writes to this folder of the storage: find out what, then take a new backup',
    })
  return z.array(Part).parse(JSON.parse(bytes.toString('utf8')))
}

/** The copies of each part; all storages must have the same ones, of the same content. */
function together(lists: ReadonlyMap<string, Part[]>, key: string): Copies[] {
  const copies = new Map<string, Map<string, Part>>()
  for (const [storage, parts] of lists) {
    for (const part of parts) copies.set(ownPath(part), (copies.get(ownPath(part)) ?? new Map()).set(storage, part))
  }
  const all = [...copies.values()]
  if (all.every((part) => part.size === lists.size && isOneContent([...part.values()]))) return all
  throw new JobError('storage', `the storages disagree about ${key}`)
}

function isOneContent(parts: Part[]): boolean {
  return new Set(parts.map((part) => contentOf(part).sha256)).size === 1
}
