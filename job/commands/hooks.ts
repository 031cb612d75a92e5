import { seconds } from '../config.ts'
import { JobError, textOf } from '../errors.ts'
import { type Hook, type Hooks, type HttpHook, type ScaleHook, textOfHook } from '../hooks.ts'
import type { Job } from './job.ts'

export interface Around {
  /** `backup-nightly`, `restore-standby`: for what is kept of it in Kubernetes. */
  run: string
  /** Values path of the hooks, for errors. */
  at: string
  hooks: Hooks | undefined
}

export interface Outcome<T> {
  value: T
  /** A hook after it failed: what was done is done, but somebody must look. */
  failure: JobError | undefined
}

/** How long what must be done at the end may take when the run was told to stop. */
const afterStopMs = 60_000

/**
 * Does `work` between its hooks. Whatever was scaled is scaled back, and the hooks after it run, however it ended; a failure of
 * `work` is thrown, one of those after it is given beside the value.
 */
export async function between<T>(job: Job, { run, at, hooks }: Around, work: () => Promise<T>): Promise<Outcome<T>> {
  if (!hooks) return { value: await work(), failure: undefined }
  let done: { value: T } | undefined
  let thrown: unknown
  try {
    for (const [i, hook] of hooks.before.entries())
      await carryOut(job, { run, hook, at: `${at}.before.${i}`, stop: job.signal })
    done = { value: await work() }
  } catch (error) {
    thrown = error
  }
  const failures = await afterwards(job, { run, at, hooks, success: done !== undefined })
  if (done) return { value: done.value, failure: failures[0] }
  for (const failure of failures) job.warn(textOf(failure))
  throw thrown
}

/** What a killed run left scaled: its workloads have been waiting since. */
export async function repair(job: Job, all: Around[]): Promise<void> {
  for (const { run, at, hooks } of all) {
    for (const { scale, timeout } of scalesOf(hooks)) {
      const actions = await job.hooks(run)
      const back = await actions.scaleBack(scale, within(timeout, job.signal)).catch((error) => {
        job.signal.throwIfAborted()
        throw new JobError('server', `${at}: scaling ${scale.name} back: ${textOf(error)}`, {
          hint: hintOf(error),
          cause: error,
        })
      })
      if (back) job.warn(`${scale.kind} ${scale.name} was still scaled by a run that was killed: it is back`)
    }
  }
}

async function afterwards(
  job: Job,
  { run, at, hooks, success }: { run: string; at: string; hooks: Hooks; success: boolean },
) {
  const failures: JobError[] = []
  const signal = job.signal.aborted ? AbortSignal.timeout(afterStopMs) : job.signal
  const attempt = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work()
    } catch (error) {
      failures.push(new JobError('server', `${what}: ${textOf(error)}`, { hint: hintOf(error), cause: error }))
    }
  }
  for (const { scale, timeout } of scalesOf(hooks).toReversed()) {
    await attempt(`${at}.before: scaling ${scale.name} back`, async () =>
      (await job.hooks(run)).scaleBack(scale, within(timeout, signal)),
    )
  }
  for (const [i, hook] of hooks.after.entries()) {
    if (hook.when !== 'always' && (hook.when === 'success') !== success) continue
    await attempt(`${at}.after.${i}`, () => carryOut(job, { run, hook, at: `${at}.after.${i}`, stop: signal }))
  }
  return failures
}

function scalesOf(hooks: Hooks | undefined): { scale: ScaleHook; timeout: string }[] {
  return hooks?.before.flatMap(({ scale, timeout }) => (scale ? [{ scale, timeout }] : [])) ?? []
}

function within(timeout: string, stop: AbortSignal): AbortSignal {
  return AbortSignal.any([stop, AbortSignal.timeout(seconds(timeout) * 1000)])
}

interface Carrying {
  run: string
  hook: Hook
  at: string
  stop: AbortSignal
}

async function carryOut(job: Job, { run, hook, at, stop }: Carrying): Promise<void> {
  const timeout = AbortSignal.timeout(seconds(hook.timeout) * 1000)
  const signal = AbortSignal.any([stop, timeout])
  job.log.info({ hook: textOfHook(hook) }, 'hook begun')
  try {
    if (hook.http) await call(job, hook.http, at, signal)
    if (hook.exec) await (await job.hooks(run)).exec(hook.exec, signal)
    if ('scale' in hook && hook.scale) await (await job.hooks(run)).scale(hook.scale, signal)
  } catch (error) {
    stop.throwIfAborted()
    const why = timeout.aborted ? `it took longer than ${hook.timeout}` : textOf(error)
    const kind = error instanceof JobError ? error.kind : 'server'
    throw new JobError(kind, `${at}: ${textOfHook(hook)}: ${why}`, { hint: hintOf(error), cause: error })
  }
}

function hintOf(error: unknown): string | undefined {
  return error instanceof JobError ? error.hint : undefined
}

async function call(
  job: Job,
  { url, method, headers, secretHeaders, body }: HttpHook,
  at: string,
  signal: AbortSignal,
) {
  const all = new Headers(headers)
  for (const [name, ref] of Object.entries(secretHeaders))
    all.set(name, job.secret(ref, ref.key, `${at}.http.secretHeaders.${name}`))
  const request = { method, headers: all, signal, ...(body === undefined ? {} : { body }) }
  const answer = await fetch(url, request).catch((cause) => {
    signal.throwIfAborted()
    throw new JobError('server', `there was no answer: ${textOf(cause.cause ?? cause)}`)
  })
  await answer.body?.cancel()
  if (!answer.ok) throw new JobError('server', `the answer was ${answer.status} ${answer.statusText}`)
}
