import type { Storage } from '../storage.ts'
import { seats } from './parallel.ts'

const gates = new WeakMap<Storage, () => Promise<() => void>>()

/**
 * Resolves when all these storages have memory for one more stream, to what ends its turn. A stream that goes to several storages holds some
 * of the memory of each while it waits for the others': more streams than fit could wait for each other for ever.
 */
export async function turnIn(storages: readonly Storage[]): Promise<() => void> {
  const ends: (() => void)[] = []
  // always in the order of the plan, so that no two wait for each other here
  for (const storage of storages) {
    const { streams } = storage.features
    if (streams === undefined) continue
    const gate = gates.get(storage) ?? seats(streams)
    gates.set(storage, gate)
    ends.push(await gate())
  }
  return () => {
    for (const end of ends) end()
  }
}
