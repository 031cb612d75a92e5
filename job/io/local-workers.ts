import { fileURLToPath } from 'node:url'
import type { Order } from '../engine.ts'
import { JobError, PodsMissing } from '../errors.ts'
import { converse, retry } from './conversation.ts'
import type { Crowd } from './pace.ts'
import { lastLines, startWorker } from './process.ts'
import type { Progress } from './progress.ts'
import { type FromWorker, type Hello, messages } from './protocol.ts'
import type { Workers } from './workers.ts'

/** How long a worker may take to end what it does. */
const closeMs = 30_000

interface Options {
  hello: Hello
  progress: Progress
  crowd?: Crowd | undefined
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
    order: async (order) => {
      if (order.beside?.access === 'claim') throw new PodsMissing(order.beside.claim)
      const name = processOf(order)
      const worker = workers.get(name) ?? startLocal(name, options)
      workers.set(name, worker)
      return worker.order(order)
    },
    close: async () => {
      await Promise.all([...workers.values()].map((worker) => worker.close()))
      workers.clear()
    },
  }
}

/** All that is read through containers shares one: others would cost memory with each data node, and the API server is slower than one. */
function processOf({ worker, beside }: Order): string {
  return beside?.access === 'exec' ? 'exec' : worker
}

function startLocal(name: string, { hello, progress, crowd, signal, logLevel }: Options): Worker {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url))
  const child = startWorker({ args: [main, 'worker', '--log-level', logLevel], signal })
  let tail = ''
  child.stdin.on('error', () => {})
  child.stderr.on('data', (chunk: Buffer) => {
    tail = (tail + chunk.toString('utf8')).slice(-4096)
  })
  const conversation = converse({
    name,
    hello,
    progress,
    crowd,
    signal,
    send: (message) => child.stdin.write(`${JSON.stringify(message)}\n`),
    onSilence: () => child.kill('SIGKILL'),
  })
  const listening = (async () => {
    for await (const message of messages<FromWorker>(child.stdout)) conversation.heard(message)
  })()
  const ended = child.then(async (result) => {
    await listening.catch(() => {})
    const how = result.signal ? `was ended by ${result.signal}` : `ended with ${result.exitCode}`
    conversation.fail(
      new JobError('server', `worker ${name} ${how}: ${lastLines(tail)}`, {
        hint: retry,
      }),
    )
  })
  return {
    order: conversation.order,
    close: async () => {
      child.stdin.end()
      const kill = setTimeout(() => child.kill('SIGKILL'), closeMs)
      await ended
      clearTimeout(kill)
    },
  }
}
