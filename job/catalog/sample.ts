import { createHash } from 'node:crypto'
import type { Manifest, Part } from '../manifest.ts'
import { bytesOf, partsOf } from './layout.ts'

export interface Sample {
  /** Of the stored bytes: more than 0, at most 1. */
  fraction: number
  /** The same seed picks the same parts of the same backup. */
  seed: number
}

/**
 * Pure: parts taken by chance until they have the fraction of the bytes, and at least one of every source that has any. A part is read
 * whole or not at all, since its hash is that of all of it.
 */
export function sampleOf(manifest: Manifest, { fraction, seed }: Sample): Part[] {
  const order = (part: Part) => createHash('sha256').update(`${seed} ${manifest.id} ${part.path}`).digest('hex')
  const shuffled = manifest.parts
    .map((part) => ({ part, order: order(part) }))
    .sort((a, b) => (a.order < b.order ? -1 : 1))
    .map(({ part }) => part)
  const chosen = new Set<Part>()
  for (const { name } of manifest.sources) {
    const own = new Set(partsOf(manifest, name))
    const first = shuffled.find((part) => own.has(part))
    if (first) chosen.add(first)
  }
  const wanted = bytesOf(manifest.parts) * fraction
  let bytes = bytesOf([...chosen])
  for (const part of shuffled) {
    if (bytes >= wanted) break
    if (chosen.has(part)) continue
    chosen.add(part)
    bytes += part.size
  }
  return manifest.parts.filter((part) => chosen.has(part))
}
