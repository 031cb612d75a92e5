import { type Destinations, openDestinations } from '../../io/destinations.ts'
import type { Storage } from '../../storage.ts'

/** Storages to write to, and why some of them are out. */
export function destinationsOf(
  storages: readonly Storage[],
  signal = new AbortController().signal,
): Destinations & { failures: Map<string, unknown> } {
  const failures = new Map<string, unknown>()
  const to = openDestinations({ storages, signal, onDrop: ({ name }, error) => failures.set(name, error) })
  return { ...to, failures }
}
