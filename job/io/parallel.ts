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

/** Work that brings more of it. */
export interface Task {
  /** The heaviest is begun first; of two that weigh the same, the one that was there first. */
  weight: number
  /** Resolves to what can be begun now. */
  run(): Promise<readonly Task[]>
}

/** Runs tasks, and what they bring, `limit` at a time. Failures as `inParallel` has them; the first also aborts `stop`, for those that run. */
export async function runTasks(tasks: readonly Task[], limit: number, stop?: AbortController): Promise<void> {
  const waiting = [...tasks]
  const running = new Set<Promise<void>>()
  const errors: unknown[] = []
  const begin = () => {
    const [task] = waiting.splice(heaviest(waiting), 1) as [Task]
    const ran = task
      .run()
      .then(
        (more) => void waiting.push(...more),
        (error) => {
          errors.push(error)
          stop?.abort(error)
        },
      )
      .finally(() => running.delete(ran))
    running.add(ran)
  }
  for (;;) {
    while (errors.length === 0 && running.size < limit && waiting.length > 0) begin()
    if (running.size === 0) break
    await Promise.race(running)
  }
  if (errors.length > 0) throw errors[0]
}

function heaviest(tasks: readonly Task[]): number {
  return tasks.reduce((best, { weight }, i) => (weight > (tasks[best] as Task).weight ? i : best), 0)
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
