import { partKey, partsOf, sourceFolder } from '../catalog/layout.ts'
import type { DownloadOrder, EngineOrder, Reader } from '../engine.ts'
import { JobError } from '../errors.ts'
import type { Manifest, Part } from '../manifest.ts'
import type { Storage } from '../storage.ts'
import { type Copy, openShelf } from './copies.ts'
import { externalPlace } from './external.ts'
import type { Outcome } from './outcome.ts'
import { contentOf, ownPath, unwrapped } from './parts.ts'
import type { Progress } from './progress.ts'
import type { Workers } from './workers.ts'

/** A backup in one of the storages that have it. */
export interface Held {
  storage: Storage
  manifest: Manifest
}

interface Options {
  /** The same backup, in the order in which the storages are read. */
  held: readonly [Held, ...Held[]]
  source: string
  workers: Workers
  signal: AbortSignal
  progress: Pick<Progress, 'add'>
  warn(message: string): void
}

export interface SourceReader extends Reader {
  /** As a Shelf's. */
  helps(): boolean
}

/** The reader of one source: paths are the engine's own, without the source's folder. */
export function openReader({ held, source, workers, signal, progress, warn }: Options): SourceReader {
  const [{ manifest }] = held
  const { plan, id } = manifest
  const prefix = prefixOf(manifest, source)
  const onBytes = (part: Part, bytes: number) => progress.add(ownPath(part).slice(prefix.length), bytes)
  const shelf = openShelf({ plan, id, signal, warn, onBytes })
  const parts = copiesOf(held, source)

  function copies(path: string): readonly Copy[] {
    const found = parts.get(path)
    if (found) return found
    throw new JobError('verification', `backup ${id} has no part ${prefix}${path}`)
  }

  async function delegate(order: DownloadOrder | EngineOrder): Promise<never> {
    if (order.do === 'engine' && order.parts === undefined) return (await workers.order(order)) as never
    const inBackup = (order.parts ?? []).map(({ path }) => shelf.inOrder(copies(path)))
    const { value, warnings } = (await workers.order({
      ...order,
      parts: inBackup.map(([first]) => (first as Copy).part),
      copies: inBackup.map((all) => all.map(({ storage, part }) => ({ storage: storage.name, part }))),
      strip: `${prefix}${order.strip ?? ''}`,
    })) as Outcome
    for (const warning of warnings) warn(warning)
    return value as never
  }

  return {
    read: async (path) => shelf.read(copies(path)),
    check: async (path) => shelf.check(copies(path)),
    external: async (path) => {
      const below = `${prefix}${path}/`
      const candidates = held.map(({ storage, manifest }) => ({
        storage,
        encrypted: manifest.parts.some((part) => part.age && part.path.startsWith(below)),
      }))
      return externalPlace(candidates, partKey(plan, id, prefix + path)).place
    },
    delegate,
    helps: () => shelf.helps(),
  }
}

/** A source's parts as its engine knows them. */
export function ownParts(manifest: Manifest, source: string): Part[] {
  const prefix = prefixOf(manifest, source)
  return partsOf(manifest, source).map((part) => ({ ...unwrapped(part), path: ownPath(part).slice(prefix.length) }))
}

/** The same, with all storages that have the same content. */
function copiesOf(held: readonly Held[], source: string): Map<string, Copy[]> {
  const found = new Map<string, Copy[]>()
  for (const { storage, manifest } of held) {
    const prefix = prefixOf(manifest, source)
    for (const part of partsOf(manifest, source)) {
      const path = ownPath(part).slice(prefix.length)
      const copies = found.get(path) ?? []
      const [first] = copies
      if (first === undefined ? storage === held[0]?.storage : isSame(first.part, part))
        found.set(path, [...copies, { storage, part }])
    }
  }
  return found
}

function isSame(one: Part, other: Part): boolean {
  return contentOf(one).sha256 === contentOf(other).sha256
}

function prefixOf(manifest: Manifest, source: string): string {
  const engine = manifest.sources.find((one) => one.name === source)?.engine ?? ''
  const folder = sourceFolder(source, engine)
  return folder && `${folder}/`
}
