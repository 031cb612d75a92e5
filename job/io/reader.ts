import type { Readable } from 'node:stream'
import { partKey, partsOf, sourceFolder } from '../catalog/layout.ts'
import type { DownloadOrder, EngineOrder, Reader } from '../engine.ts'
import { JobError } from '../errors.ts'
import type { Manifest, Part } from '../manifest.ts'
import { isMissing, type Storage } from '../storage.ts'
import { verified } from './pipeline.ts'
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
  const parts = new Map(ownParts(manifest, source).map((part) => [part.path, part]))

  async function read(path: string): Promise<Readable> {
    const part = parts.get(path)
    if (!part) throw new JobError('verification', `backup ${manifest.id} has no part ${prefix}${path}`)
    const key = partKey(manifest.plan, manifest.id, `${prefix}${path}`)
    try {
      return verified(await storage.get(key, { signal }), part, `${prefix}${path} in storage ${storage.name}`)
    } catch (error) {
      if (!isMissing(error)) throw error
      throw new JobError('verification', `storage ${storage.name} has no ${prefix}${path}`, {
        hint: 'the backup is damaged: restore another one',
      })
    }
  }

  async function delegate(order: DownloadOrder | EngineOrder): Promise<never> {
    if (order.do === 'engine') return (await workers.order(order)) as never
    const inBackup = order.parts.map((part) => ({ ...part, path: `${prefix}${part.path}` }))
    return (await workers.order({ ...order, parts: inBackup, strip: `${prefix}${order.strip}` })) as never
  }

  return { read, delegate }
}

/** A source's parts under the paths that its engine gave them. */
export function ownParts(manifest: Manifest, source: string): Part[] {
  const prefix = prefixOf(manifest, source)
  return partsOf(manifest, source).map((part) => ({ ...part, path: part.path.slice(prefix.length) }))
}

function prefixOf(manifest: Manifest, source: string): string {
  const engine = manifest.sources.find((one) => one.name === source)?.engine ?? ''
  const folder = sourceFolder(source, engine)
  return folder && `${folder}/`
}
