import type { CoordinationV1Api } from '@kubernetes/client-node'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { type Clock, hold } from '../../kubernetes/lease.ts'
import { fakeClock } from '../fakes/clock.ts'
import { fakeLeases } from '../fakes/leases.ts'

const second = 1000
const hours = 4

/** Numbers from 0 to 1 that are the same in every run of the test. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Contenders for one lease, as bad as they come: each is killed, cut off from the API server or loses answers now and then, has a clock
 * that is off and runs too fast or too slow, and needs some time to stop when it lost the lease.
 */
test.each([1, 2, 3, 4, 5])('two never run at once, whatever happens to them (%d)', async (seed) => {
  const chance = random(seed)
  const clock = fakeClock()
  const api = fakeLeases()
  const working = new Set<string>()
  const seen = { together: 0, runs: 0, kills: 0, lost: 0, failed: 0 }
  let cutOff: string | undefined

  function coordinationOf(who: string): CoordinationV1Api {
    const call = (operation: keyof CoordinationV1Api) => async (request: never) => {
      const away = () => {
        if (cutOff === who || cutOff === 'everybody') throw new TypeError('fetch failed')
      }
      await clock.pause(chance() * second)
      away()
      const answer = await (api.coordination[operation] as (request: never) => Promise<unknown>)(request)
      await clock.pause(chance() * second)
      away()
      if (chance() < 0.05) throw new TypeError('fetch failed')
      return answer
    }
    const names = ['readNamespacedLease', 'createNamespacedLease', 'replaceNamespacedLease'] as const
    return Object.fromEntries(names.map((name) => [name, call(name)])) as unknown as CoordinationV1Api
  }

  function clockOf(killed: () => boolean): Clock {
    const rate = 0.97 + chance() * 0.06
    const skewMs = (chance() - 0.5) * 7200 * second
    return {
      random: chance,
      now: () => new Date(clock.now().getTime() + skewMs),
      ticks: () => clock.ticks() * rate,
      pause: async (ms, signal) => {
        await clock.pause(ms / rate, signal)
        if (killed()) await new Promise(() => {})
      },
    }
  }

  async function live(who: string): Promise<void> {
    for (let life = 1; ; life++) {
      let dead = false
      const own = clockOf(() => dead)
      const held = await hold('nightly', {
        cluster: { coordination: coordinationOf(who), namespace: 'shop' },
        holder: { identity: `${who}_${life}` },
        wait: true,
        signal: new AbortController().signal,
        log: pino({ level: 'silent' }),
        clock: own,
      }).catch(() => undefined)
      if (!held) {
        seen.failed++
        continue
      }
      seen.runs++
      working.add(who)
      if (working.size > 1) seen.together++
      await own.pause(chance() * 120 * second, held.lost).catch(() => {})
      if (held.lost.aborted) {
        seen.lost++
        await own.pause(chance() * 8 * second)
      }
      working.delete(who)
      if (chance() < 0.3) {
        dead = true
        seen.kills++
      } else await held.release()
    }
  }

  for (const who of ['a', 'b', 'c']) void live(who)
  for (let minute = 0; minute < hours * 60; minute++) {
    cutOff = [undefined, undefined, 'a', 'b', 'c', 'everybody'][Math.floor(chance() * 6)]
    await clock.advance(60 * second)
  }
  expect(seen.together).toBe(0)
  // it was tried hard enough
  expect(seen.runs).toBeGreaterThan(hours * 15)
  expect(seen.kills).toBeGreaterThan(10)
  expect(seen.lost).toBeGreaterThan(10)
})
