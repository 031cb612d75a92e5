import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../../kubernetes/lease.ts'

export interface FakeClock extends Clock {
  /** Lets time go by; everything that was to happen in it has happened then. */
  advance(ms: number): Promise<void>
}

/** Time that only goes by when the test says so. Skew: how far the time of day is off. */
export function fakeClock({ skewMs = 0 } = {}): FakeClock {
  let now = 0
  const sleepers = new Set<{ due: number; wake(): void }>()

  /** What runs on promises alone ends within one turn of the event loop. */
  const settle = () => setImmediate()

  return {
    now: () => new Date(Date.UTC(2026, 10, 21) + skewMs + now),
    ticks: () => now,
    random: () => 0.5,
    pause: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason)
        const sleeper = { due: now + ms, wake: resolve }
        sleepers.add(sleeper)
        signal?.addEventListener('abort', () => {
          sleepers.delete(sleeper)
          reject(signal.reason)
        })
      }),
    async advance(ms) {
      const end = now + ms
      for (;;) {
        await settle()
        const [next] = [...sleepers].sort((a, b) => a.due - b.due)
        if (!next || next.due > end) break
        sleepers.delete(next)
        now = next.due
        next.wake()
      }
      now = end
      await settle()
    },
  }
}
