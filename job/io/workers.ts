import { fileURLToPath } from 'node:url'
import type { Order } from '../engine.ts'
import { JobError } from '../errors.ts'
import { lastLines, startWorker } from './process.ts'
import type { Progress } from './progress.ts'
import { type FromWorker, type Hello, heartbeatMs, messages, silenceMs, type ToWorker } from './protocol.ts'

/** Workers of one run by name. Here each is a child process; where the data is on other machines, a pod. */
export interface Workers {
  /** Carries an order out; orders of one worker go one after the other. Rejects with the worker's own error. */
  order(order: Order): Promise<unknown>
  /** Ends all workers and awaits them. */
  close(): Promise<void>
}

/** How long a worker may take to end what it does. */
const closeMs = 30_000

interface Options {
  hello: Hello
  progress: Progress
  signal: AbortSignal
  logLevel: string
}

interface Worker {
  order(order: Order): Promise<unknown>
  close(): Promise<void>
}

export function localWorkers(options: Options): Workers {
  const workers = new Map<string, Worker>()
  return {
    order: (order) => {
      const worker = workers.get(order.worker) ?? startLocal(order.worker, options)
      workers.set(order.worker, worker)
      return worker.order(order)
    },
    close: async () => {
      await Promise.all([...workers.values()].map((worker) => worker.close()))
      workers.clear()
    },
  }
}

function startLocal(name: string, { hello, progress, signal, logLevel }: Options): Worker {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url))
  const child = startWorker({ args: [main, 'worker', '--log-level', logLevel], signal })
  const waiting = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: unknown) => void; name: string }
  >()
  let nextId = 1
  let tail = ''
  let heard = Date.now()
  let gone: JobError | undefined

  const send = (message: ToWorker) => child.stdin.write(`${JSON.stringify(message)}\n`)
  const fail = (error: JobError) => {
    gone ??= error
    for (const { reject } of waiting.values()) reject(gone)
    waiting.clear()
  }

  child.stdin.on('error', () => {})
  child.stderr.on('data', (chunk: Buffer) => {
    tail = (tail + chunk.toString('utf8')).slice(-4096)
  })
  const pulse = setInterval(() => {
    send({ type: 'heartbeat' })
    if (Date.now() - heard <= silenceMs) return
    fail(
      new JobError('server', `worker ${name} was silent for ${silenceMs / 1000} s and was ended`, {
        hint: 'the machine is overloaded or the worker hangs; run again',
      }),
    )
    child.kill('SIGKILL')
  }, heartbeatMs)
  pulse.unref()

  const listening = (async () => {
    for await (const message of messages<FromWorker>(child.stdout)) {
      heard = Date.now()
      if (message.type === 'progress') progress.add(name, message.bytes)
      if (message.type !== 'result' && message.type !== 'error') continue
      const pending = waiting.get(message.id)
      waiting.delete(message.id)
      if (message.type === 'result') pending?.resolve(message.value)
      else pending?.reject(new JobError(message.kind, `worker ${name}: ${message.message}`, { hint: message.hint }))
    }
  })()
  // a line that is none is told by the worker's end
  listening.catch(() => {})
  const ended = child.then(async (result) => {
    await listening.catch(() => {})
    clearInterval(pulse)
    const how = result.signal ? `was ended by ${result.signal}` : `ended with ${result.exitCode}`
    fail(
      new JobError('server', `worker ${name} ${how}: ${lastLines(tail)}`, {
        hint: 'run again; a backup can be taken up with --resume',
      }),
    )
  })

  send({ type: 'hello', hello })
  let queue: Promise<unknown> = Promise.resolve()
  return {
    order: (order) => {
      const result = queue.then(
        () =>
          new Promise((resolve, reject) => {
            if (gone) return reject(gone)
            const id = nextId++
            waiting.set(id, { resolve, reject, name: order.do })
            send({ type: 'order', id, order })
          }),
      )
      queue = result.catch(() => {})
      return result
    },
    close: async () => {
      child.stdin.end()
      const kill = setTimeout(() => child.kill('SIGKILL'), closeMs)
      await ended
      clearTimeout(kill)
    },
  }
}
