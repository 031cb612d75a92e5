import { ApiException, type ConfigurationOptions, Observable, type RequestContext } from '@kubernetes/client-node'
import { JobError, textOf } from '../errors.ts'
import { backoff, type Pacing, realPacing } from '../storages/backoff.ts'

/** What the API server answered instead of what was asked for. Status: of HTTP; undefined when no answer came. */
export class ApiError extends JobError {
  readonly status: number | undefined

  constructor(status: number | undefined, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super('server', message, { ...options, retryable: status === undefined || passing.includes(status) })
    this.status = status
  }
}

export interface AskOptions {
  signal?: AbortSignal | undefined
  /** How often to try what may succeed later, the first time included: 8 times, about 25 s, unless told. */
  attempts?: number
  /** How long one answer may take. */
  timeoutMs?: number
  pacing?: Pacing
}

/** Too many requests, and what a control plane says while it restarts. */
const passing = [429, 500, 502, 503, 504]

/**
 * One request to the API server, with a timeout, made again when it may succeed later. Its failure is an ApiError; `what` says what
 * was wanted: `read Lease nightly`. A write whose answer was lost is made again too: its caller must know a 409 of its own making.
 */
export async function ask<T>(
  what: string,
  request: (options: ConfigurationOptions) => Promise<T>,
  { signal, attempts = 8, timeoutMs = 10_000, pacing = realPacing }: AskOptions = {},
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    const timeout = AbortSignal.timeout(Math.ceil(timeoutMs))
    try {
      return await request(until(signal ? AbortSignal.any([signal, timeout]) : timeout))
    } catch (error) {
      signal?.throwIfAborted()
      const explained = explain(what, timeout.aborted ? new Error(`no answer within ${timeoutMs / 1000} s`) : error)
      if (!explained.retryable || attempt >= attempts) throw explained
    }
    await pacing.pause(backoff(attempt, pacing.random), signal).catch((stopped) => {
      signal?.throwIfAborted()
      throw stopped
    })
  }
}

/** Undefined when the answer has one of these statuses. */
export async function unless<T>(statuses: number[], request: Promise<T>): Promise<T | undefined> {
  try {
    return await request
  } catch (error) {
    if (error instanceof ApiError && statuses.includes(error.status ?? 0)) return undefined
    throw error
  }
}

/** The client takes a signal only by a middleware. */
function until(signal: AbortSignal): ConfigurationOptions {
  const pre = (request: RequestContext) => {
    request.setSignal(signal)
    return new Observable(Promise.resolve(request))
  }
  const post = <T>(response: T) => new Observable(Promise.resolve(response))
  return { middleware: [{ pre, post }], middlewareMergeStrategy: 'append' }
}

/** Anything a client's call throws, as an ApiError. */
export function explain(what: string, error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (!(error instanceof ApiException)) {
    return new ApiError(undefined, `could not ${what}: the API server cannot be reached`, {
      hint: "look at the control plane, and whether the namespace's NetworkPolicies let this pod reach it",
      cause: error,
    })
  }
  const said = messageOf(error.body)
  if (error.code === 401) {
    return new ApiError(401, `could not ${what}: the API server does not accept this pod's token`, {
      hint: 'the ServiceAccount was removed or replaced while the pod ran: run again',
    })
  }
  const missing = error.code === 403 ? missingRight(said) : undefined
  if (missing) {
    return new ApiError(403, `could not ${what}: ${missing}`, {
      hint: "the chart's Role has this right: leave rbac.create on, or add it to the Role of your own",
    })
  }
  return new ApiError(error.code, `could not ${what}: ${said || `the API server answered ${error.code}`}`)
}

/** A refusal of RBAC, from the server's text: it names everything. Other refusals (quota, Pod Security) have other texts. */
function missingRight(said: string): string | undefined {
  const match =
    /User "([^"]+)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?/.exec(said)
  if (!match) return undefined
  const [, user = '', verb, resource, group, namespace] = match
  const account = /^system:serviceaccount:([^:]+):(.+)$/.exec(user)
  const who = account ? `ServiceAccount ${account[2]} of namespace ${account[1]}` : user
  const where = namespace ? ` in namespace ${namespace}` : ''
  return `${who} may not ${verb} ${resource}${group ? `.${group}` : ''}${where}`
}

/** The client hands the body of an error as text. */
function messageOf(body: unknown): string {
  try {
    const status = typeof body === 'string' ? JSON.parse(body) : body
    return textOf(status?.message ?? '')
  } catch {
    return textOf(String(body)).slice(0, 300)
  }
}
