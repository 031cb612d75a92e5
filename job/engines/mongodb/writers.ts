import type { MongoFacts } from './facts.ts'
import type { Selection } from './selection.ts'
import type { Target } from './values.ts'

/** Faster by a quarter to a third for one large collection, also on two processors. */
const usual = 2
/** A writer of mongorestore gathers a thousand documents before it writes, and no more than this. */
const batchBytes = 48_000_000
/** Of all of them together. One writer of each of four collections with large documents, as mongorestore has by itself, may hold that. */
const heldBytes = 200_000_000

/**
 * Pure: how many writers each collection of an archive has. Several would mix the documents of a capped collection, which has their order;
 * an earlier backup does not say which are.
 */
export function writersFor(
  { insertionWorkers, parallelCollections, extraOptions }: Target,
  { collections }: Selection,
  { database, collectionsAtOnce = Number.POSITIVE_INFINITY }: MongoFacts['archives'][number],
): number {
  const coming = collections.filter((one) => database === null || one.database === database)
  if (coming.some(({ capped }) => capped !== false)) return 1
  if (insertionWorkers !== undefined) return insertionWorkers
  const others = extraOptions.some((option) => /^(-j|--numParallelCollections)/.test(option))
  const atOnce = others ? Number.POSITIVE_INFINITY : Math.max(parallelCollections, collectionsAtOnce)
  const batches = coming.map(({ thousandBytes = batchBytes }) => Math.min(thousandBytes, batchBytes))
  const held = batches.sort((a, b) => b - a).slice(0, atOnce)
  return usual * held.reduce((sum, bytes) => sum + bytes, 0) > heldBytes ? 1 : usual
}
