import type { Readable } from 'node:stream'
import type { Order } from '../engine.ts'
import type { ErrorKind } from '../errors.ts'
import type { Pacing } from '../limits.ts'

/** What passes between a coordinator and its workers: one JSON object a line, both ways. */
export type ToWorker =
  | { type: 'hello'; hello: Hello }
  | { type: 'order'; id: number; order: Order }
  /** How many processes share the limits of the run from now on. */
  | { type: 'share'; of: number }
  | { type: 'heartbeat' }

export type FromWorker =
  | { type: 'progress'; worker: string; bytes: number }
  | { type: 'result'; id: number; value: unknown }
  | { type: 'error'; id: number; kind: ErrorKind; message: string; hint?: string | undefined }
  | { type: 'heartbeat' }

/** What a worker needs to know of the run. No secret: names of mounted files only. */
export interface Hello {
  /** The coordinator's: a worker of another version might understand its orders in another way. */
  version: string
  plan: string
  backupId: string
  /** The values of the storages of this run, in the order of the plan. */
  storages: Record<string, unknown>
  secretsDir: string
  volumesDir: string
  /** The worker makes its own folder in it. */
  staging: string
  /** Of compression, when the plan says one. */
  level?: number | undefined
  /** How fast the run may move bytes. */
  pacing?: Pacing | undefined
}

export const heartbeatMs = 10_000
/** Who hears nothing for so long takes the other side for dead. */
export const silenceMs = 60_000

/**
 * The lines of a stream as messages. What is none is passed over: a line that was cut when a connection broke, or that a library
 * printed. Whoever misses an answer asks again.
 */
export async function* messages<T>(stream: Readable): AsyncGenerator<T> {
  let rest = ''
  stream.setEncoding('utf8')
  for await (const chunk of stream) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const message = parsed(line)
      if (message !== undefined) yield message as T
    }
  }
}

function parsed(line: string): unknown {
  if (!line.startsWith('{')) return undefined
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
