import type { V1Lease } from '@kubernetes/client-node'
import type { Logger } from 'pino'
import { JobError, textOf } from '../errors.ts'
import { type Pacing, realPacing } from '../storages/backoff.ts'
import { ApiError, type AskOptions } from './ask.ts'
import type { Cluster } from './client.ts'
import { type Holder, type Holding, holdingOf, type LeaseRecord, leaseRecord } from './lease-record.ts'

/**
 * One run at a time: whoever holds the Lease of its plan may run. As in client-go's leader election, a holder is judged by whether its
 * record changes before our eyes and never by the times in it, so clocks need not agree.
 */
export interface Held {
  /** Aborted, with a JobError, when the lease is ours no longer: stop at once. */
  readonly lost: AbortSignal
  /** Call it when everything that the lease guards has stopped. Takes a few seconds at most; never rejects. */
  release(): Promise<void>
}

export interface HoldOptions {
  cluster: Pick<Cluster, 'coordination' | 'namespace'>
  holder: Holder
  /** Of the Lease. */
  labels?: Record<string, string>
  /** Wait for the holder's end. Otherwise `busy` is thrown as soon as the holder is seen to be alive. */
  wait: boolean
  signal: AbortSignal
  log: Logger
  times?: LeaseTimes
  clock?: Clock
}

/** Milliseconds. */
export interface LeaseTimes {
  /** A holder whose record did not change for so long is gone. Whole seconds: the record says it to others. */
  duration: number
  /** A holder that could not renew for so long gives up; the rest of the duration is for stopping what it began. */
  deadline: number
  renew: number
  /** Between two looks at a holder, and two tries to renew. */
  retry: number
}

/** Deadline and duration as 2 to 3, as in client-go. */
const leaseTimes: LeaseTimes = { duration: 45_000, deadline: 30_000, renew: 10_000, retry: 2_000 }

/** A parameter, so that tests decide. */
export interface Clock extends Pacing {
  /** Written into the record for people; nothing depends on it. */
  now(): Date
  /** Milliseconds gone by, whatever is done to the time of day. */
  ticks(): number
}

const realClock: Clock = { ...realPacing, now: () => new Date(), ticks: () => performance.now() }

/** How long one answer may take, in milliseconds, when another try follows soon. */
const answerMs = 5_000

interface Context extends Required<HoldOptions> {
  name: string
  record: LeaseRecord
}

interface Taken {
  lease: V1Lease
  /** The tick when this version was asked for: others saw it later. */
  at: number
}

/** Takes the Lease of that name, and keeps it until it is released. */
export async function hold(name: string, options: HoldOptions): Promise<Held> {
  const { times = leaseTimes, clock = realClock, labels = {}, cluster, holder } = options
  const record = leaseRecord({ name, cluster, holder, labels, duration: times.duration, now: clock.now })
  const context = { ...options, name, times, clock, labels, record }
  return keep(context, await acquire(context))
}

async function acquire(context: Context): Promise<Taken> {
  const { record, holder, clock, times, signal } = context
  const limits = { signal, pacing: clock }
  let seen: { holding: Holding | undefined; at: number } | undefined
  let alive = false
  let told: string | undefined
  for (;;) {
    const current = await record.read(limits)
    const holding = current && holdingOf(current)
    if (!seen || seen.holding?.record !== holding?.record) {
      alive ||= seen !== undefined
      seen = { holding, at: clock.ticks() }
    }
    if (!holding || holding.identity === holder.identity || clock.ticks() - seen.at >= holding.duration) {
      const at = clock.ticks()
      const lease = await record.take(current, limits)
      // one that was long in coming is old already: it is taken again
      if (lease && clock.ticks() - at < times.renew) return { lease, at }
      // somebody wrote in between: whoever it is lives
      alive = true
    } else {
      if (alive && !waitsFor(holding, context)) throw busy(holding, context)
      if (told !== holding.identity) tell(holding, context)
      told = holding.identity
    }
    await pause(times.retry, context)
  }
}

/** The next pod of a Job is made while the last one still stops: it carries on with the same request, so it waits. */
function waitsFor({ job }: Holding, { wait, holder }: Context): boolean {
  return wait || (job !== undefined && job === holder.job)
}

function tell(holding: Holding, context: Context): void {
  const facts = { lease: context.name, holder: holding.who, since: holding.since }
  if (waitsFor(holding, context)) context.log.info(facts, 'waiting for the run that holds the lease')
  else context.log.info(facts, 'the lease is held: seeing whether its holder is alive')
}

function busy({ who, since }: Holding, { name }: Context): JobError {
  return new JobError('busy', `pod ${who} has held Lease ${name} since ${since}`, {
    hint: `another run is at work: kubectl logs ${who} shows what it does; run again when it has ended`,
  })
}

/** Renews until it is released, or lost. */
function keep(context: Context, taken: Taken): Held {
  const { record, clock, times, log } = context
  const lost = new AbortController()
  const released = new AbortController()
  let { lease, at } = taken

  async function renewAlways(): Promise<void> {
    for (;;) {
      await clock.pause(times.renew, released.signal)
      await renewOnce()
    }
  }

  /** Tries until the deadline: a control plane that restarts must not end a run of hours. */
  async function renewOnce(): Promise<void> {
    let failure: unknown
    for (;;) {
      const left = at + times.deadline - clock.ticks()
      if (left <= 0) throw unrenewed(failure, context)
      try {
        await renew({ signal: released.signal, attempts: 1, timeoutMs: Math.min(answerMs, left) })
        if (failure) log.info({ lease: context.name }, 'the lease is renewed again')
        return
      } catch (error) {
        if (!(error instanceof ApiError)) throw error
        if (!failure) log.warn({ lease: context.name }, `the lease is not renewed: ${textOf(error)}`)
        // a last try that had hardly any time tells less than what was answered before
        if (!failure || left >= answerMs || error.status !== undefined) failure = error
      }
      await clock.pause(times.retry, released.signal)
    }
  }

  async function renew(limits: AskOptions): Promise<void> {
    const sent = clock.ticks()
    const renewed = (await record.renew(lease, limits)) ?? (await renewNewest(limits))
    if (!renewed) throw new ApiError(409, 'somebody else is writing it')
    lease = renewed
    at = sent
  }

  /** Somebody wrote: we did and the answer was lost, a person labelled or removed it, or there is another holder. */
  async function renewNewest(limits: AskOptions): Promise<V1Lease | undefined> {
    const newest = await record.read(limits)
    const holding = newest && holdingOf(newest)
    if (holding && holding.identity !== context.holder.identity) throw overtaken(holding, context)
    return holding ? await record.renew(newest, limits) : await record.take(newest, limits)
  }

  const renewing = renewAlways().catch((error) => {
    if (!released.signal.aborted) lost.abort(error)
  })

  async function release(): Promise<void> {
    released.abort()
    await renewing
    try {
      await freeOwn(lease, context)
    } catch (error) {
      const seconds = times.duration / 1000
      log.warn({ lease: context.name }, `the lease was not released, others must wait ${seconds} s: ${textOf(error)}`)
    }
  }

  return { lost: lost.signal, release }
}

async function freeOwn(lease: V1Lease, { record, holder, clock }: Context): Promise<void> {
  const limits = { signal: AbortSignal.timeout(2 * answerMs), attempts: 3, timeoutMs: answerMs / 2, pacing: clock }
  if (await record.free(lease, limits)) return
  const newest = await record.read(limits)
  if (newest && holdingOf(newest)?.identity === holder.identity) await record.free(newest, limits)
}

function unrenewed(cause: unknown, { name, times }: Context): JobError {
  return new JobError('server', `Lease ${name} could not be renewed for ${times.deadline / 1000} s`, {
    hint: 'the run was stopped, because another one may begin now; see why the API server was away, then run again',
    cause,
  })
}

function overtaken({ who, since }: Holding, { name }: Context): JobError {
  return new JobError('busy', `Lease ${name} was taken over by pod ${who} at ${since}`, {
    hint: 'the run was stopped: this pod had been held up for too long, or somebody edited the Lease',
  })
}

async function pause(ms: number, { clock, signal }: Context): Promise<void> {
  await clock.pause(ms, signal).catch((error) => {
    signal.throwIfAborted()
    throw error
  })
}
