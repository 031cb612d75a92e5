import { partKey, partsOf, sourceFolder } from '../catalog/layout.ts'
import type { DownloadOrder, EngineOrder, Reader } from '../engine.ts'
import { JobError } from '../errors.ts'
import type { Manifest, Part } from '../manifest.ts'
import type { Storage } from '../storage.ts'
import { externalPlace } from './external.ts'
import { ownPath, readPart } from './parts.ts'
import type { Workers } from './workers.ts'

interface Options {
  storage: Storage
  manifest: Manifest
  source: string
  workers: Workers
  signal: AbortSignal
}

/** The reader of one source: paths are the engine's own, without the source's folder. */
export function openReader({ storage, manifest, source, workers, signal }: Options): Reader {
  const prefix = prefixOf(manifest, source)
  const parts = new Map(partsOf(manifest, source).map((part) => [ownPath(part).slice(prefix.length), part]))

  function stored(path: string): Part {
    const part = parts.get(path)
    if (part) return part
    throw new JobError('verification', `backup ${manifest.id} has no part ${prefix}${path}`)
  }

  async function delegate(order: DownloadOrder | EngineOrder): Promise<never> {
    if (order.do === 'engine' && order.parts === undefined) return (await workers.order(order)) as never
    const inBackup = order.parts?.map(({ path }) => stored(path)) ?? []
    return (await workers.order({ ...order, parts: inBackup, strip: `${prefix}${order.strip ?? ''}` })) as never
  }

  return {
    read: async (path) => readPart(stored(path), { plan: manifest.plan, id: manifest.id, signal, storage }),
    external: async (path) => externalPlace([storage], partKey(manifest.plan, manifest.id, prefix + path)).place,
    delegate,
  }
}

/** A source's parts under the paths that its engine gave them. */
export function ownParts(manifest: Manifest, source: string): Part[] {
  const prefix = prefixOf(manifest, source)
  return partsOf(manifest, source).map((part) => ({ ...part, path: ownPath(part).slice(prefix.length) }))
}

function prefixOf(manifest: Manifest, source: string): string {
  const engine = manifest.sources.find((one) => one.name === source)?.engine ?? ''
  const folder = sourceFolder(source, engine)
  return folder && `${folder}/`
}
