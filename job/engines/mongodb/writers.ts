import type { Chosen, Selection } from './selection.ts'
import type { Target } from './values.ts'

/** Faster by a quarter to a third for one large collection, also on two processors. */
const usual = 2
/** What a writer of mongorestore gathers at most before it writes. */
const batch = { documents: 1000, bytes: 48_000_000 }
/** Of all of them together. One writer of each of four collections with large documents, as mongorestore has by itself, may hold that. */
const heldBytes = 200_000_000

/**
 * Pure: how many writers each collection of an archive has. Several would mix the documents of a capped collection, which has their order;
 * an earlier backup does not say which are.
 */
export function writersFor(
  { insertionWorkers, parallelCollections }: Target,
  { collections }: Selection,
  { database }: Selection['archives'][number],
): number {
  const coming = collections.filter((one) => database === null || one.database === database)
  if (coming.some(({ capped }) => capped !== false)) return 1
  if (insertionWorkers !== undefined) return insertionWorkers
  const batches = coming.map(batchOf).sort((a, b) => b - a)
  const held = batches.slice(0, parallelCollections).reduce((sum, bytes) => sum + bytes, 0)
  return usual * held > heldBytes ? 1 : usual
}

/** Bytes that one writer of it gathers. */
function batchOf({ documents, bytes = Number.POSITIVE_INFINITY }: Chosen): number {
  const average = documents === 0 ? 0 : bytes / documents
  return Math.min(bytes, batch.documents * average, batch.bytes)
}
