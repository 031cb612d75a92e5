/**
 * Runs `work` on every item, `limit` at a time, and gives the results in the order of the items.
 * After a failure nothing more is begun; what runs is awaited, then the first error is thrown.
 */
export async function inParallel<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  const errors: unknown[] = []
  const rest = items.entries()
  const lane = async () => {
    for (const [i, item] of rest) {
      try {
        results[i] = await work(item)
      } catch (error) {
        errors.push(error)
      }
      if (errors.length > 0) return
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane))
  if (errors.length > 0) throw errors[0]
  return results
}

/** Seats for so many at once; who comes later waits in turn. Resolves to what gives the seat back. */
export function seats(count: number): () => Promise<() => void> {
  const waiting: (() => void)[] = []
  let free = count
  return async () => {
    if (free > 0) free -= 1
    else await new Promise<void>((resolve) => waiting.push(resolve))
    return () => {
      const next = waiting.shift()
      if (next) next()
      else free += 1
    }
  }
}

/** Awaits all, then throws the first failure in their order: nothing is left running, and who was faster does not decide what is said. */
export async function together<T extends readonly unknown[]>(works: readonly [...Promises<T>]): Promise<T> {
  for (const settled of await Promise.allSettled(works)) if (settled.status === 'rejected') throw settled.reason
  return Promise.all(works) as Promise<unknown> as Promise<T>
}

type Promises<T extends readonly unknown[]> = { [K in keyof T]: Promise<T[K]> | T[K] }
