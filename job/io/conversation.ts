import type { Order } from '../engine.ts'
import { JobError } from '../errors.ts'
import type { Crowd } from './pace.ts'
import type { Progress } from './progress.ts'
import { type FromWorker, type Hello, heartbeatMs, silenceMs, type ToWorker } from './protocol.ts'

/** The coordinator's side of what passes between it and one process of workers, whatever carries the lines. */
export interface Conversation {
  /** Orders of one worker go one after the other. Rejects with the worker's own error, or with why the worker is gone. */
  order(order: Order): Promise<unknown>
  heard(message: FromWorker): void
  /** Says the hello and every order without an answer again: after another line to the same worker was opened, it may have missed them. */
  again(): void
  /** The worker is gone: rejects what waits and all that comes. */
  fail(error: JobError): void
  /** Why the worker is gone; undefined as long as it is not. */
  readonly gone: JobError | undefined
  /** Milliseconds since the worker was heard. */
  silence(): number
  close(): void
}

interface Options {
  /** Of the process, for errors: the worker's own, unless several share it. */
  name: string
  hello: Hello
  progress: Progress
  /** Who shares the limits of the run; the worker is one of them as long as it has an order. */
  crowd?: Crowd | undefined
  /** The run's: when it is aborted, its workers are told to end, and say so. */
  signal: AbortSignal
  send(message: ToWorker): void
  /** Nothing was heard for a minute: the worker must be ended. Without it nobody listens for that. */
  onSilence?: (() => void) | undefined
}

export const retry = 'run again; a backup can be taken up with --resume'

interface Waiting {
  order: Order
  resolve: (value: unknown) => void
  reject: (error: unknown) => void
}

export function converse({ name, hello, progress, crowd, signal, send, onSilence }: Options): Conversation {
  const waiting = new Map<number, Waiting>()
  const queues = new Map<string, Promise<unknown>>()
  let nextId = 1
  let leave: (() => void) | undefined
  let share: ToWorker = { type: 'share', of: 1 }
  let lastHeard = Date.now()
  let gone: JobError | undefined

  const pulse = setInterval(() => {
    send({ type: 'heartbeat' })
    if (!onSilence || Date.now() - lastHeard <= silenceMs) return
    fail(
      new JobError('server', `worker ${name} was silent for ${silenceMs / 1000} s and was ended`, {
        hint: 'the machine is overloaded or the worker hangs; run again',
      }),
    )
    onSilence()
  }, heartbeatMs)
  pulse.unref()

  function fail(error: JobError): void {
    gone ??= error
    clearInterval(pulse)
    for (const { reject } of waiting.values()) reject(gone)
    waiting.clear()
    sharing()
  }

  /** Before an order goes out, and after the last answer came. */
  function sharing(): void {
    if (waiting.size > 0) {
      leave ??= crowd?.join((of) => {
        share = { type: 'share', of }
        send(share)
      })
    } else {
      leave?.()
      leave = undefined
    }
  }

  function heard(message: FromWorker): void {
    lastHeard = Date.now()
    if (message.type === 'progress') progress.add(message.worker, message.bytes)
    if (message.type !== 'result' && message.type !== 'error') return
    const pending = waiting.get(message.id)
    waiting.delete(message.id)
    sharing()
    if (message.type === 'result') pending?.resolve(message.value)
    else pending?.reject(errorOf(pending.order.worker, message))
  }

  function errorOf(worker: string, { kind, message, hint }: Extract<FromWorker, { type: 'error' }>): JobError {
    const stopped = kind === 'terminated' || kind === 'interrupted'
    // the run goes on: its exit code must not say that it was stopped
    if (stopped && !signal.aborted)
      return new JobError('server', `worker ${worker} was ended by somebody else: ${message}`, { hint: retry })
    return new JobError(kind, `worker ${worker}: ${message}`, { hint })
  }

  function ask(order: Order): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (gone) return reject(gone)
      const id = nextId++
      waiting.set(id, { order, resolve, reject })
      sharing()
      send({ type: 'order', id, order })
    })
  }

  send({ type: 'hello', hello })
  return {
    order: (order) => {
      const turn = queues.get(order.worker) ?? Promise.resolve()
      const result = turn.then(() => ask(order))
      const answered = result.catch(() => {})
      queues.set(order.worker, answered)
      return result
    },
    heard,
    again: () => {
      send({ type: 'hello', hello })
      if (leave) send(share)
      for (const [id, { order }] of waiting) send({ type: 'order', id, order })
    },
    fail,
    get gone() {
      return gone
    },
    silence: () => Date.now() - lastHeard,
    close: () => clearInterval(pulse),
  }
}
