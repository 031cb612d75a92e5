import type { Readable, Writable } from 'node:stream'
import type { Logger } from 'pino'
import { JobError, textOf } from '../errors.ts'
import { type FromWorker, heartbeatMs, messages, silenceMs, type ToWorker } from '../io/protocol.ts'
import { type Desk, deskOf, openDesk } from './desk.ts'
import { carryOut } from './orders.ts'

interface Streams {
  input: Readable
  output: Writable
  log: Logger
  /** Aborted when the worker is told to stop: uploads are taken back before it ends. */
  signal: AbortSignal
  /** How long the coordinator may say nothing, in ms. */
  patience?: number
}

/** How often progress is told, not with every chunk. */
const progressMs = 250

/**
 * The worker's life: hello, then orders until its input ends; those of one name in turn, those of others beside them. Then, or when
 * nothing is heard for a minute, everything it started is aborted: a dead coordinator leaves nobody behind.
 */
export async function worker({ input, output, log, signal, patience = silenceMs }: Streams): Promise<void> {
  const abort = new AbortController()
  const send = (message: FromWorker) => output.write(`${JSON.stringify(message)}\n`)
  let heard = Date.now()
  // the input of a pod stays open when nobody is at its other end
  const end = (reason: Error) => {
    abort.abort(reason)
    input.destroy()
  }
  const pulse = setInterval(() => {
    send({ type: 'heartbeat' })
    if (Date.now() - heard > patience) end(new JobError('interrupted', 'the coordinator is silent'))
  }, heartbeatMs)
  signal.addEventListener('abort', () => end(signal.reason))
  if (signal.aborted) end(signal.reason)
  output.on('error', () => end(new JobError('interrupted', 'the coordinator is gone')))

  const done = new Map<string, number>()
  const tell = () => {
    for (const [name, bytes] of done) send({ type: 'progress', worker: name, bytes })
    done.clear()
  }
  const teller = setInterval(tell, progressMs)

  let desk: Promise<Desk> | undefined
  let sharers = 1
  // an order may be given again after a broken connection: it is carried out once, and its answer said again
  const answers = new Map<number, Promise<FromWorker>>()
  const queues = new Map<string, Promise<void>>()
  try {
    for await (const message of messages<ToWorker>(input)) {
      heard = Date.now()
      // said again after a broken connection
      if (message.type === 'hello' && !desk) {
        desk = openDesk({ hello: message.hello, signal: abort.signal, log, sharers: () => sharers })
        // why it cannot be opened is the answer to every order
        desk.catch(() => {})
      }
      if (message.type === 'share') sharers = message.of
      if (message.type !== 'order') continue
      const { id, order } = message
      if (answers.has(id)) {
        answers.get(id)?.then(send)
        continue
      }
      const name = order.worker
      const progress = (bytes: number) => void done.set(name, (done.get(name) ?? 0) + bytes)
      const work = async () => carryOut(await deskOf(await (desk as Promise<Desk>), { name, progress }), order)
      const turn = queues.get(name) ?? Promise.resolve()
      const result = turn.then(() => answer(id, work, log))
      answers.set(id, result)
      const answered = result.then((said) => {
        tell()
        send(said)
      })
      queues.set(name, answered)
    }
  } catch (error) {
    // reading ends with an error when it is we who end it
    if (!abort.signal.aborted) throw error
  } finally {
    abort.abort(new JobError('interrupted', 'the coordinator is gone'))
    await Promise.all(queues.values())
    clearInterval(pulse)
    clearInterval(teller)
    await desk?.then(
      (opened) => opened.close(),
      () => {},
    )
  }
}

async function answer(id: number, work: () => Promise<unknown>, log: Logger): Promise<FromWorker> {
  try {
    return { type: 'result', id, value: (await work()) ?? null }
  } catch (error) {
    if (!(error instanceof JobError)) log.error(error instanceof Error ? error.stack : String(error))
    const { kind, hint } = error instanceof JobError ? error : { kind: 'bug' as const, hint: undefined }
    return { type: 'error', id, kind, message: textOf(error), hint }
  }
}
