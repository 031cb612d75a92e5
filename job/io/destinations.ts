import { JobError } from '../errors.ts'
import type { Part } from '../manifest.ts'
import type { Storage } from '../storage.ts'
import { together } from './parallel.ts'

/** One storage that a run writes to. */
export interface Destination {
  readonly storage: Storage
  /** Aborted, with why, when the storage is out: it gets no more of this run, and no manifest. */
  readonly out: AbortSignal
}

/** The storages that a run writes to. One that fails is out for the rest of the run, and the others go on. */
export interface Destinations {
  /** Those that take part, in the order of the plan; never none. */
  live(): readonly Destination[]
  /** Puts a storage out, and says so once. Throws the error when no other is left: it is the run's. */
  drop(destination: Destination, error: unknown): void
  /** Does the same with all that take part, at once; the answers of those that did it, by the storage's name. */
  each<T>(work: (destination: Destination) => Promise<T>): Promise<Map<string, T>>
  /** Some of them, whatever is left of them: as long as others take part, it may be none. */
  only(chosen: (destination: Destination) => boolean): Destinations
}

/** A part as the storages have it, by their names: bytes and hashes may differ, what they were made of does not. */
export type Copies = ReadonlyMap<string, Part>

interface Options {
  storages: readonly Storage[]
  /** Of the run: what ends because of it is no failure of a storage. */
  signal: AbortSignal
  onDrop(storage: Storage, error: unknown): void
}

export function openDestinations({ storages, signal, onDrop }: Options): Destinations {
  const all = storages.map((storage) => {
    const out = new AbortController()
    return { storage, out: out.signal, abort: (error: unknown) => out.abort(error) }
  })
  const live = () => all.filter(({ out }) => !out.aborted)

  function drop({ storage }: Destination, error: unknown): void {
    const one = live().find((other) => other.storage === storage)
    if (!one) return
    if (live().length === 1) throw error
    one.abort(error)
    onDrop(storage, error)
  }

  const viewOf = (chosen: (destination: Destination) => boolean): Destinations => {
    const chosenLive = () => live().filter(chosen)
    return {
      live: chosenLive,
      drop,
      each: async <T>(work: (destination: Destination) => Promise<T>) => {
        const asked = chosenLive().map(async (destination): Promise<[string, T][]> => {
          try {
            return [[destination.storage.name, await work(destination)]]
          } catch (error) {
            signal.throwIfAborted()
            drop(destination, error)
            return []
          }
        })
        return new Map((await together(asked)).flat())
      },
      only: (further) => viewOf((destination) => chosen(destination) && further(destination)),
    }
  }
  return viewOf(() => true)
}

/** The copy of the storage that comes first: what is said of a part where it does not matter which one. */
export function anyOf(copies: Copies): Part {
  const [part] = copies.values()
  if (part) return part
  throw new JobError('bug', 'a part was stored nowhere')
}

/** Copies that differ in nothing but where they are. */
export function sameIn(destinations: readonly Destination[], part: Part): Copies {
  return new Map(destinations.map(({ storage }) => [storage.name, part]))
}
