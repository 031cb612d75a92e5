import type { Readable } from 'node:stream'
import { z } from 'zod'
import type { Catalog } from '../catalog/catalog.ts'
import { partKey, partsKey, sourcePath } from '../catalog/layout.ts'
import type { BackupFacts, Order, Sink } from '../engine.ts'
import { JobError } from '../errors.ts'
import { Part } from '../manifest.ts'
import { readAll, type Storage } from '../storage.ts'
import { externalPlace, takeIn } from './external.ts'
import { writePart } from './parts.ts'
import type { Progress } from './progress.ts'
import type { Workers } from './workers.ts'

interface Options {
  catalogs: Catalog[]
  id: string
  source: string
  engine: string
  workers: Workers
  progress: Progress
  signal: AbortSignal
}

export interface SourceSink extends Sink {
  /** All parts so far, under their paths in the backup. */
  parts(): Part[]
  /** Takes over what a failed run of the same id had written before it kept its facts. */
  takeUp(): Promise<void>
}

/** The sink of one source on every storage of the plan. */
export function openSink({ catalogs, id, source, engine, workers, progress, signal }: Options): SourceSink {
  const storages = catalogs.map((catalog) => catalog.storage)
  const plan = catalogs[0]?.plan as string
  const parts = new Map<string, Part>()
  const pathOf = (path: string) => sourcePath({ source, engine, path })
  const listKey = partKey(plan, id, pathOf('parts.json'))

  function keep(part: Part): Part {
    if (parts.has(part.path)) throw new JobError('bug', `part ${part.path} was written twice`)
    parts.set(part.path, part)
    return part
  }

  async function delegate(order: Order): Promise<never> {
    if (order.do === 'download' || order.path === undefined) return (await workers.order(order)) as never
    const path = pathOf(order.path)
    const said = await workers.order({ ...order, path })
    const stored = await readParts(storages, partsKey(plan, id, path))
    for (const part of stored) keep(part)
    return (order.do === 'upload' ? stored : said) as never
  }

  return {
    write: async (path: string, data: Readable, options = {}) => {
      const onBytes = (bytes: number) => progress.add(path, bytes)
      return keep(await writePart({ plan, id, path: pathOf(path), data, storages, signal, ...options, onBytes }))
    },
    delegate,
    external: async (path) => {
      const folder = pathOf(path)
      const { storage, place } = externalPlace(storages, partKey(plan, id, folder))
      const others = storages.filter((one) => one !== storage)
      const onBytes = (bytes: number) => progress.add(path, bytes)
      const taken = () => takeIn({ plan, id, folder, storage, others, signal, onBytes })
      return { place, parts: async () => (await taken()).map(keep) }
    },
    keepFacts: async (facts: BackupFacts) => {
      const list = Buffer.from(`${JSON.stringify([...parts.values()], null, 1)}\n`)
      for (const catalog of catalogs) {
        await catalog.storage.put(listKey, list, { size: list.length, signal })
        await catalog.keepFacts({ id, source, facts, signal })
      }
    },
    parts: () => [...parts.values()],
    takeUp: async () => {
      for (const part of await readParts(storages, listKey)) keep(part)
    },
  }
}

/** A list of parts that all storages agree on: workers write it last, and it is believed instead of what they said. */
async function readParts(storages: Storage[], key: string): Promise<Part[]> {
  const lists = await Promise.all(storages.map(async (storage) => (await readAll(storage, key)).toString('utf8')))
  const [list = '[]'] = lists
  if (lists.some((other) => other !== list)) throw new JobError('storage', `the storages disagree about ${key}`)
  return z.array(Part).parse(JSON.parse(list))
}
