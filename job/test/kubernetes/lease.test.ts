import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { textOf } from '../../errors.ts'
import { type Held, hold } from '../../kubernetes/lease.ts'
import { type FakeClock, fakeClock } from '../fakes/clock.ts'
import { type FakeLeases, fakeLeases } from '../fakes/leases.ts'

const second = 1000

interface World {
  api: FakeLeases
  clock: FakeClock
  said: string[]
}

function world(): World {
  return { api: fakeLeases(), clock: fakeClock(), said: [] }
}

interface Contender {
  identity?: string
  labels?: Record<string, string>
  job?: string
  wait?: boolean
  signal?: AbortSignal
  clock?: FakeClock
}

/** A contender for the lease of a world; `state` tells what became of it. */
function contend(
  { api, clock, said }: World,
  { identity = 'a-pod_1', job, wait = false, labels = {}, ...more }: Contender = {},
) {
  const write = { write: (line: string) => void said.push(JSON.parse(line).msg) }
  const state: { held?: Held; error?: unknown } = {}
  hold('nightly', {
    cluster: { coordination: api.coordination, namespace: 'shop' },
    holder: { identity, job },
    labels,
    wait,
    signal: more.signal ?? new AbortController().signal,
    log: pino({}, write),
    clock: more.clock ?? clock,
  }).then(
    (held) => Object.assign(state, { held }),
    (error) => Object.assign(state, { error }),
  )
  return state
}

/** One that has the lease at once. */
async function holder(at: World, contender: Contender = {}): Promise<Held> {
  const { held } = await settled(at, contend(at, contender))
  if (!held) throw new Error('the lease was not taken')
  return held
}

async function settled<T>({ clock }: World, state: T): Promise<T> {
  await clock.advance(0)
  return state
}

/** The time of a process that can be killed: nothing is heard of it afterwards. */
function mortal(clock: FakeClock) {
  let dead = false
  const pause: FakeClock['pause'] = async (ms, signal) => {
    await clock.pause(ms, signal)
    if (dead) await new Promise(() => {})
  }
  const kill = () => {
    dead = true
  }
  return { clock: { ...clock, pause }, kill }
}

describe('a lease', () => {
  test('is made when it is not there, and says who holds it', async () => {
    const at = world()
    await holder(at, { identity: 'nightly-1-x_9f', job: 'uid-1' })
    expect(at.api.lease()).toMatchObject({
      metadata: { name: 'nightly', namespace: 'shop', annotations: { 'holdfast/job-uid': 'uid-1' } },
      spec: {
        holderIdentity: 'nightly-1-x_9f',
        leaseDurationSeconds: 45,
        leaseTransitions: 0,
        acquireTime: '2026-11-21T00:00:00.000000Z',
        renewTime: '2026-11-21T00:00:00.000000Z',
      },
    })
  })

  test('has the labels that people find it by, also when it was made without them', async () => {
    const at = world()
    await (await holder(at)).release()
    at.api.edit((lease) => ({ ...lease, metadata: { ...lease.metadata, labels: { team: 'shop' } } }))
    await holder(at, { labels: { 'app.kubernetes.io/instance': 'prod' } })
    expect(at.api.lease()?.metadata?.labels).toEqual({ team: 'shop', 'app.kubernetes.io/instance': 'prod' })
    await at.clock.advance(15 * second)
    expect(at.api.lease()?.metadata?.labels).toEqual({ team: 'shop', 'app.kubernetes.io/instance': 'prod' })
  })

  test('is renewed every 10 s for as long as it is held', async () => {
    const at = world()
    const held = await holder(at)
    await at.clock.advance(3600 * second)
    expect(at.api.lease()?.spec).toMatchObject({
      acquireTime: '2026-11-21T00:00:00.000000Z',
      renewTime: '2026-11-21T01:00:00.000000Z',
    })
    expect(held.lost.aborted).toBe(false)
  })

  test('that was released is free at once', async () => {
    const at = world()
    const held = await holder(at)
    await held.release()
    expect(at.api.lease()?.spec?.holderIdentity).toBe('')
    await holder(at, { identity: 'next_1' })
    expect(at.api.lease()?.spec).toMatchObject({ holderIdentity: 'next_1', leaseTransitions: 1 })
  })

  test('is no longer that of the Job whose pod held it before', async () => {
    const at = world()
    await (await holder(at, { job: 'uid-1' })).release()
    await holder(at, { identity: 'by-hand_1' })
    expect(at.api.lease()?.metadata?.annotations).toEqual({ 'holdfast/job-uid': '' })
  })

  test('is not lost at once when the API server was long in giving it', async () => {
    const at = world()
    at.api.trouble = async (operation) => {
      if (operation === 'create') await at.clock.pause(35 * second)
      return undefined
    }
    const state = contend(at)
    await at.clock.advance(90 * second)
    expect(state.held?.lost.aborted).toBe(false)
  })

  test('goes to one of two who come at once', async () => {
    const at = world()
    const both = [contend(at, { identity: 'a_1' }), contend(at, { identity: 'b_1' })]
    await at.clock.advance(2 * second)
    expect(both.filter(({ held }) => held)).toHaveLength(1)
    expect(both.filter(({ error }) => error)).toEqual([{ error: expect.objectContaining({ kind: 'busy' }) }])
  })
})

describe('a run that comes second', () => {
  test('ends as busy as soon as the holder is seen to renew, and names it', async () => {
    const at = world()
    await holder(at, { identity: 'nightly-1-x_9f' })
    await at.clock.advance(3 * second)
    const second_ = contend(at, { identity: 'by-hand_1' })
    await at.clock.advance(6 * second)
    expect(second_).toEqual({})
    await at.clock.advance(2 * second)
    expect(second_.error).toMatchObject({
      kind: 'busy',
      message: 'pod nightly-1-x has held Lease nightly since 2026-11-21T00:00:00Z',
      hint: expect.stringContaining('kubectl logs nightly-1-x'),
    })
  })

  test('takes over when the holder is gone, and not a moment before', async () => {
    const at = world()
    const { clock, kill } = mortal(at.clock)
    await holder(at, { clock })
    kill()
    const next = contend(at, { identity: 'next_1' })
    await at.clock.advance(45 * second - 1)
    expect(next).toEqual({})
    await at.clock.advance(2 * second)
    expect(next.held?.lost.aborted).toBe(false)
    expect(at.api.lease()?.spec).toMatchObject({ holderIdentity: 'next_1', leaseTransitions: 1 })
  })

  test.each([
    ['an hour ahead', 3600 * second],
    ['an hour behind', -3600 * second],
  ])('is not misled by a holder whose clock is %s', async (_, skewMs) => {
    const at = world()
    const { now } = fakeClock({ skewMs })
    const { clock, kill } = mortal({ ...at.clock, now: () => new Date(now().getTime() + at.clock.ticks()) })
    await holder(at, { clock })
    const early = contend(at, { identity: 'early_1' })
    await at.clock.advance(12 * second)
    expect(early.error).toMatchObject({ kind: 'busy' })
    kill()
    const next = contend(at, { identity: 'next_1' })
    await at.clock.advance(44 * second)
    expect(next).toEqual({})
    await at.clock.advance(3 * second)
    expect(next.held).toBeDefined()
  })

  test('counts from its own first look, not from the last renewal', async () => {
    const at = world()
    const { clock, kill } = mortal(at.clock)
    await holder(at, { clock })
    kill()
    await at.clock.advance(40 * second)
    const next = contend(at, { identity: 'next_1' })
    await at.clock.advance(44 * second)
    expect(next).toEqual({})
  })

  test('takes it when the holder releases it while looking', async () => {
    const at = world()
    const held = await holder(at)
    const next = contend(at, { identity: 'next_1' })
    await at.clock.advance(1 * second)
    await held.release()
    await at.clock.advance(2 * second)
    expect(next.held).toBeDefined()
  })

  test('waits for the end of the holder when it was told to, and says so once', async () => {
    const at = world()
    const held = await holder(at)
    const next = contend(at, { identity: 'next_1', wait: true })
    await at.clock.advance(3600 * second)
    expect(next).toEqual({})
    expect(at.said).toEqual(['waiting for the run that holds the lease'])
    await held.release()
    await at.clock.advance(2 * second)
    expect(next.held).toBeDefined()
  })

  test('waits, told or not, for another pod of its own Job', async () => {
    const at = world()
    const held = await holder(at, { identity: 'nightly-1-x_1', job: 'uid-1' })
    const next = contend(at, { identity: 'nightly-1-y_1', job: 'uid-1' })
    await at.clock.advance(60 * second)
    expect(next).toEqual({})
    await held.release()
    await at.clock.advance(2 * second)
    expect(next.held).toBeDefined()
  })

  test('does not take a missing Job for its own', async () => {
    const at = world()
    await holder(at, { identity: 'by-hand_1' })
    const next = contend(at, { identity: 'by-hand_2' })
    await at.clock.advance(12 * second)
    expect(next.error).toMatchObject({ kind: 'busy' })
  })

  test('ends its waiting when it is stopped', async () => {
    const at = world()
    await holder(at)
    const stop = new AbortController()
    const next = contend(at, { identity: 'next_1', wait: true, signal: stop.signal })
    await at.clock.advance(5 * second)
    stop.abort(new Error('stopped by SIGTERM'))
    await at.clock.advance(0)
    expect(textOf(next.error)).toBe('stopped by SIGTERM')
  })
})

describe('a holder', () => {
  test('gets over an API server that is away for 25 s, and says so once', async () => {
    const at = world()
    const held = await holder(at)
    await at.clock.advance(10 * second)
    at.api.trouble = () => 'away'
    await at.clock.advance(25 * second)
    at.api.trouble = undefined
    await at.clock.advance(60 * second)
    expect(held.lost.aborted).toBe(false)
    expect(at.said).toEqual([
      expect.stringMatching(/^the lease is not renewed: .*ECONNREFUSED/),
      'the lease is renewed again',
    ])
  })

  test('has lost what it could not renew for 30 s, which leaves it time to stop', async () => {
    const at = world()
    const held = await holder(at)
    at.api.trouble = () => 'away'
    await at.clock.advance(30 * second - 1)
    expect(held.lost.aborted).toBe(false)
    await at.clock.advance(1)
    expect(held.lost.reason).toMatchObject({
      kind: 'server',
      message: 'Lease nightly could not be renewed for 30 s',
      hint: expect.stringContaining('run again'),
    })
    expect(textOf(held.lost.reason)).toContain('ECONNREFUSED')
  })

  test('counts from when it asked, not from when it was answered', async () => {
    const at = world()
    const held = await holder(at)
    let renewals = 0
    at.api.trouble = async () => {
      if (++renewals > 1) return 'away'
      await at.clock.pause(4 * second)
      return undefined
    }
    await at.clock.advance(40 * second - 1)
    expect(held.lost.aborted).toBe(false)
    await at.clock.advance(1)
    expect(held.lost.aborted).toBe(true)
  })

  test('knows a renewal whose answer was lost for its own', async () => {
    const at = world()
    const held = await holder(at)
    let lost = 0
    at.api.trouble = (operation) => (operation === 'replace' && lost++ === 0 ? 'lost' : undefined)
    await at.clock.advance(60 * second)
    expect(lost).toBeGreaterThan(1)
    expect(held.lost.aborted).toBe(false)
    expect(at.api.lease()?.spec).toMatchObject({ holderIdentity: 'a-pod_1', leaseTransitions: 0 })
  })

  test('has lost what another one holds', async () => {
    const at = world()
    const held = await holder(at)
    at.api.edit((lease) => ({ ...lease, spec: { ...lease.spec, holderIdentity: 'other-pod_1' } }))
    await at.clock.advance(10 * second)
    expect(held.lost.reason).toMatchObject({
      kind: 'busy',
      message: 'Lease nightly was taken over by pod other-pod at 2026-11-21T00:00:00Z',
    })
    await held.release()
    expect(at.api.lease()?.spec?.holderIdentity).toBe('other-pod_1')
  })

  test.each<[string, Parameters<FakeLeases['edit']>[0]]>([
    ['labels', (lease) => ({ ...lease, metadata: { ...lease.metadata, labels: { team: 'shop' } } })],
    ['empties', (lease) => ({ ...lease, spec: { ...lease.spec, holderIdentity: '' } })],
    ['deletes', () => undefined],
  ])('keeps a lease that a person %s', async (_, change) => {
    const at = world()
    const held = await holder(at)
    await at.clock.advance(5 * second)
    at.api.edit(change)
    await at.clock.advance(60 * second)
    expect(held.lost.aborted).toBe(false)
    expect(at.api.lease()?.spec?.holderIdentity).toBe('a-pod_1')
  })

  test('that ends without an API server lets the others wait', async () => {
    const at = world()
    const held = await holder(at)
    at.api.trouble = () => 'away'
    const released = held.release()
    await at.clock.advance(5 * second)
    await released
    expect(at.said.at(-1)).toMatch(/^the lease was not released, others must wait 45 s: .*ECONNREFUSED/)
    expect(held.lost.aborted).toBe(false)
  })

  test('releases a lease whose last renewal it does not know of', async () => {
    const at = world()
    const held = await holder(at)
    at.api.edit((lease) => ({ ...lease, metadata: { ...lease.metadata, labels: { team: 'shop' } } }))
    await held.release()
    expect(at.api.lease()?.spec?.holderIdentity).toBe('')
  })
})
