import { describe, expect, test } from 'vitest'
import { openCrowd, openPace, type Pace, paceAmong } from '../../io/pace.ts'
import { type FakeClock, fakeClock } from '../fakes/clock.ts'

const KiB = 1024

/** Takes without end, as a stream would; resolves never. */
function stream(pace: Pace, bytes = KiB, signal?: AbortSignal): { taken: number; ended: Promise<unknown> } {
  const counted = { taken: 0, ended: Promise.resolve() as Promise<unknown> }
  counted.ended = (async () => {
    for (;;) {
      await pace.take(bytes, signal)
      counted.taken += bytes
    }
  })().catch((error) => error)
  return counted
}

/** Bytes that went between two moments. */
async function during(clock: FakeClock, ms: number, streams: { taken: number }[]): Promise<number[]> {
  const before = streams.map(({ taken }) => taken)
  await clock.advance(ms)
  return streams.map(({ taken }, i) => taken - (before[i] as number))
}

const sum = (numbers: number[]) => numbers.reduce((all, one) => all + one, 0)

test.each([1, 2, 7])('%i streams together move what the limit allows, each the same', async (count) => {
  const clock = fakeClock()
  const pace = openPace({ limit: () => 100 * KiB, clock })
  const streams = Array.from({ length: count }, () => stream(pace))
  const moved = await during(clock, 60_000, streams)
  expect(sum(moved) / (6000 * KiB)).toBeCloseTo(1, 2)
  for (const one of moved) expect(one / (sum(moved) / count)).toBeCloseTo(1, 1)
})

test('in no minute more than the limit and what may go at once', async () => {
  const clock = fakeClock()
  const pace = openPace({ limit: () => 100 * KiB, clock })
  await clock.advance(3_600_000)
  const one = stream(pace)
  expect(sum(await during(clock, 1000, [one]))).toBeLessThanOrEqual(127 * KiB)
})

test('a chunk larger than a second allows goes, and what comes after it waits the longer', async () => {
  const clock = fakeClock()
  const pace = openPace({ limit: () => KiB, clock })
  await pace.take(600 * KiB)
  let second = false
  pace.take(1).then(() => {
    second = true
  })
  await clock.advance(599_000)
  expect(second).toBe(false)
  await clock.advance(2000)
  expect(second).toBe(true)
})

test('first come, first served', async () => {
  const clock = fakeClock()
  const pace = openPace({ limit: () => KiB, clock })
  const order: number[] = []
  for (const i of [0, 1, 2, 3]) pace.take(KiB).then(() => order.push(i))
  await clock.advance(10_000)
  expect(order).toEqual([0, 1, 2, 3])
})

test('an abort ends the wait at once, with its reason', async () => {
  const clock = fakeClock()
  const pace = openPace({ limit: () => KiB, clock })
  await pace.take(1000 * KiB)
  const stop = new AbortController()
  const waiting = pace.take(1, stop.signal)
  stop.abort(new Error('stopped by SIGTERM'))
  await expect(waiting).rejects.toThrow('stopped by SIGTERM')
  await expect(pace.take(1, stop.signal)).rejects.toThrow('stopped by SIGTERM')
})

test('without a limit nothing waits, and when one begins nothing has to be paid for', async () => {
  const clock = fakeClock()
  let limit: number | undefined
  const pace = openPace({ limit: () => limit, clock })
  for (let i = 0; i < 1000; i++) await pace.take(1024 * KiB)
  limit = KiB
  await pace.take(KiB)
  let next = false
  pace.take(KiB).then(() => {
    next = true
  })
  await clock.advance(1001)
  expect(next).toBe(true)
})

test('who waits goes on within a second when the hours of the limit end', async () => {
  const clock = fakeClock()
  const begun = clock.now().getTime()
  const pace = openPace({ limit: (now) => (now.getTime() - begun < 10_000 ? KiB : undefined), clock })
  await pace.take(3600 * KiB)
  let gone = false
  pace.take(1).then(() => {
    gone = true
  })
  await clock.advance(9000)
  expect(gone).toBe(false)
  await clock.advance(2000)
  expect(gone).toBe(true)
})

test('bytes that do not wait are paid for by those after them', async () => {
  const clock = fakeClock()
  const pace = openPace({ limit: () => KiB, clock })
  pace.charge(10 * KiB)
  let gone = false
  pace.take(1).then(() => {
    gone = true
  })
  await clock.advance(9000)
  expect(gone).toBe(false)
  await clock.advance(1100)
  expect(gone).toBe(true)
})

test.each([
  [KiB, 4 * KiB],
  [1024 * KiB, 64 * KiB],
  [2 ** 30, 512 * KiB],
])('pieces at %i bytes a second are of %i', (limit, piece) => {
  expect(openPace({ limit: () => limit }).piece()).toBe(piece)
})

describe('processes that share a limit', () => {
  /** A worker as it sees itself: it is told how many share. */
  function worker(clock: FakeClock, crowd: ReturnType<typeof openCrowd>) {
    let sharers = 0
    const pace = openPace({ limit: () => 100 * KiB, clock, sharers: () => sharers })
    const leave = crowd.join((count) => {
      sharers = count
    })
    return { moving: stream(pace), leave }
  }

  test('move the limit together, whoever comes and goes', async () => {
    const clock = fakeClock()
    const crowd = openCrowd()
    const first = worker(clock, crowd)
    expect(sum(await during(clock, 60_000, [first.moving])) / (6000 * KiB)).toBeCloseTo(1, 1)
    const second = worker(clock, crowd)
    const own = paceAmong(crowd, () => 100 * KiB, clock)
    const close = own.open()
    const coordinator = stream(own)
    await clock.advance(1000)
    const three = await during(clock, 60_000, [first.moving, second.moving, coordinator])
    expect(sum(three) / (6000 * KiB)).toBeCloseTo(1, 1)
    for (const one of three) expect(one / (2000 * KiB)).toBeCloseTo(1, 1)
    close()
    second.leave()
    await clock.advance(1000)
    expect(sum(await during(clock, 60_000, [first.moving])) / (6000 * KiB)).toBeCloseTo(1, 1)
  })

  test('do not count a coordinator without a stream', () => {
    const crowd = openCrowd()
    const counts: number[] = []
    crowd.join((count) => counts.push(count))
    const own = paceAmong(crowd, () => KiB, fakeClock())
    const [one, other] = [own.open(), own.open()]
    one()
    one()
    expect(counts).toEqual([1, 2])
    other()
    expect(counts).toEqual([1, 2, 1])
  })
})
