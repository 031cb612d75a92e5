import { JobError } from '../errors.ts'
import { backoff, type Pacing } from './backoff.ts'
import { S3Error, type Server, type ServerError } from './s3-errors.ts'

/** A stream cannot be asked for again, so each of its requests is made again for about half a minute. */
export const patience = 8

export interface Asking {
  /** `put nightly/1795218000.json`, for errors. */
  operation: string
  signal?: AbortSignal | undefined
  /** What ends the attempt under way; the signal, unless told. */
  cut?: AbortSignal
  /** How often to try; once, unless told: then `retrying` around the storage decides. */
  attempts?: number
  /** Told of every failure that is followed by another attempt. */
  onRetry?(error: S3Error): void
  /** For the whole answer, however lively the connection. */
  limitMs?: number
}

export type Call<Output> = (options: { abortSignal: AbortSignal }) => Promise<Output>

export interface Requests {
  /** Makes a request, again if need be. Always settles; every failure is a JobError. */
  ask<Output>(asking: Asking, call: Call<Output>): Promise<Output>
  explained(error: unknown, operation: string): JobError
}

export interface RequestOptions {
  server: Server
  /** Limit of an attempt that does not have its own. */
  limitMs: number
  pacing: Pacing
}

export function s3Requests({ server, limitMs, pacing }: RequestOptions): Requests {
  let reached = false

  async function ask<Output>(asking: Asking, call: Call<Output>): Promise<Output> {
    for (let attempt = 1; ; attempt++) {
      try {
        const output = await once({ limitMs, ...asking }, call)
        reached = true
        return output
      } catch (error) {
        asking.signal?.throwIfAborted()
        const failure = explained(error, asking.operation)
        if (!(failure instanceof S3Error && failure.retryable) || attempt >= (asking.attempts ?? 1)) throw failure
        asking.onRetry?.(failure)
        await pacing.pause(backoff(attempt, pacing.random), asking.signal).catch((stopped) => {
          asking.signal?.throwIfAborted()
          throw stopped
        })
      }
    }
  }

  function explained(error: unknown, operation: string): JobError {
    return error instanceof JobError ? error : new S3Error(error as ServerError, { ...server, operation, reached })
  }

  return { ask, explained }
}

/** One attempt. Settles when its signal aborts and when its time is over, whatever the SDK does. */
async function once<Output>(
  { signal, cut = signal, limitMs }: Asking & { limitMs: number },
  call: Call<Output>,
): Promise<Output> {
  signal?.throwIfAborted()
  const stop = new AbortController()
  const abort = () => stop.abort(cut?.reason)
  const late = Object.assign(new Error(`no answer in ${limitMs / 1000} s`), { code: 'ETIMEDOUT' })
  const timer = setTimeout(() => stop.abort(late), limitMs)
  cut?.addEventListener('abort', abort, { once: true })
  try {
    const stopped = new Promise<never>((_, reject) => {
      stop.signal.addEventListener('abort', () => reject(stop.signal.reason), { once: true })
    })
    return await Promise.race([call({ abortSignal: stop.signal }), stopped])
  } finally {
    clearTimeout(timer)
    cut?.removeEventListener('abort', abort)
  }
}
