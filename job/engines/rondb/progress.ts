import type { Reader, TargetRun } from '../../engine.ts'
import type { Restored } from './native.ts'
import type { Detail } from './target.ts'

/** What steps hand on to later steps of the same restore. */
export interface Progress {
  detail: Detail
  restored: Restored[]
  /** Folder of the SQL parts: read once from the storage, where a prune may remove the backup meanwhile. */
  folder: string
  /** How many ndb_restore were given a slot. */
  slots: number
}

/** One step of a restore; resolves to its figures. */
export type Step = (run: TargetRun, reader: Reader, state: Progress) => Promise<Record<string, unknown>>

export function detailOf(run: TargetRun): Detail {
  return run.state?.detail as Detail
}

export function nodesOf({ facts }: Detail): number[] {
  return facts.topology.nodes.map((node) => node.id)
}

/** Nodes are dealt out over the workers; each takes its own in turn. */
export function workerOf(node: number, { facts, workers }: Detail): string {
  return `restore-${nodesOf({ facts } as Detail).indexOf(node) % workers}`
}
