import { setTimeout } from 'node:timers/promises'

/** Time, so that tests need none. */
export interface PaceClock {
  now(): Date
  /** Milliseconds that only ever grow. */
  ticks(): number
  /** Rejects when the signal aborts. */
  pause(ms: number, signal?: AbortSignal): Promise<void>
}

export const realClock: PaceClock = {
  now: () => new Date(),
  ticks: () => performance.now(),
  pause: (ms, signal) => setTimeout(ms, undefined, signal ? { signal } : {}),
}

/** What one process may move of what its run may move. All its streams share it. */
export interface Pace {
  /** A stream begins; returns what ends it. */
  open(): () => void
  /** Resolves when these bytes may go, first come first served; rejects with the signal's reason at once when it aborts. */
  take(bytes: number, signal?: AbortSignal): Promise<void>
  /** Bytes that are not held back, but that those after them wait for. */
  charge(bytes: number): void
  /** How many bytes are best taken at once, so that they flow. */
  piece(): number
}

/** Those who share the limit of a run: whoever moves bytes now. */
export interface Crowd {
  /** Tells everyone how many there are now, whoever comes as well. Returns what leaves it. */
  join(tell: (count: number) => void): () => void
}

export function openCrowd(): Crowd {
  const members = new Set<(count: number) => void>()
  const tellAll = () => {
    for (const tell of members) tell(members.size)
  }
  return {
    join: (tell) => {
      members.add(tell)
      tellAll()
      return () => {
        if (members.delete(tell)) tellAll()
      }
    },
  }
}

/** Of the coordinator: it is one of those who share as long as it has a stream open. */
export function paceAmong(crowd: Crowd, limit: Options['limit'], clock = realClock): Pace {
  let sharers = 1
  let leave: (() => void) | undefined
  return openPace({
    limit,
    clock,
    sharers: () => sharers,
    onBusy: () => {
      leave = crowd.join((count) => {
        sharers = count
      })
    },
    onIdle: () => leave?.(),
  })
}

interface Options {
  /** Of the whole run, in bytes a second; undefined when there is none at that time. */
  limit(now: Date): number | undefined
  clock?: PaceClock
  /** How many share the limit. */
  sharers?: () => number
  onBusy?: () => void
  onIdle?: () => void
}

/** What may go at once after a silence. */
const burstSeconds = 0.25
/** The limit, or one's share of it, may have changed by then. */
const longestMs = 1000
const pieces = { least: 4 * 1024, most: 512 * 1024, perSecond: 16 }

/**
 * A token bucket whose tokens are paid after they were used: a chunk may be larger than what a second allows, and those after it wait the
 * longer. Everyone has a place in the line, which moves on at the pace that holds at the moment.
 */
export function openPace({ limit, clock = realClock, sharers = () => 1, onBusy, onIdle }: Options): Pace {
  let streams = 0
  /** Bytes that were asked for so far, and how many of them time has paid. */
  let asked = 0
  let paid = 0
  let last = clock.ticks()

  const rate = () => {
    const whole = limit(clock.now())
    return whole === undefined ? Number.POSITIVE_INFINITY : whole / sharers()
  }

  function settle(): number {
    const [now, perSecond] = [clock.ticks(), rate()]
    const earned = now > last ? (perSecond * (now - last)) / 1000 : 0
    paid = perSecond === Number.POSITIVE_INFINITY ? asked : Math.min(paid + earned, asked + perSecond * burstSeconds)
    last = now
    return perSecond
  }

  return {
    open: () => {
      if (streams++ === 0) onBusy?.()
      let ended = false
      return () => {
        if (ended) return
        ended = true
        if (--streams === 0) onIdle?.()
      }
    },
    take: async (bytes, signal) => {
      settle()
      const place = asked
      asked += bytes
      for (;;) {
        signal?.throwIfAborted()
        const perSecond = settle()
        if (paid >= place) return
        await clock.pause(Math.min(longestMs, ((place - paid) / perSecond) * 1000), signal).catch((stopped) => {
          signal?.throwIfAborted()
          throw stopped
        })
      }
    },
    charge: (bytes) => {
      settle()
      asked += bytes
    },
    piece: () => {
      const perSecond = rate()
      if (perSecond === Number.POSITIVE_INFINITY) return perSecond
      return Math.round(Math.min(pieces.most, Math.max(pieces.least, perSecond / pieces.perSecond)))
    },
  }
}
