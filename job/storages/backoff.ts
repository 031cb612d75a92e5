import { setTimeout } from 'node:timers/promises'

/** Time and chance, so that tests need neither. */
export interface Pacing {
  /** Waits some milliseconds; rejects at once when the signal aborts. */
  pause(ms: number, signal?: AbortSignal): Promise<void>
  random(): number
}

export const realPacing: Pacing = {
  pause: (ms, signal) => setTimeout(ms, undefined, signal ? { signal } : {}),
  random: Math.random,
}

/** Milliseconds before attempt `attempt + 1`: doubling from a quarter of a second to 16 s, the second half of it by chance. */
export function backoff(attempt: number, random: () => number): number {
  return Math.min(16_000, 250 * 2 ** (attempt - 1)) * (0.5 + random() / 2)
}
