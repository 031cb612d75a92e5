import { PassThrough, type Readable, type Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Order } from '../engine.ts'
import { JobError, PodsMissing, textOf } from '../errors.ts'
import { converse, retry } from './conversation.ts'
import type { Crowd } from './pace.ts'
import { lastLines, startWorker } from './process.ts'
import type { Progress } from './progress.ts'
import { type FromWorker, type Hello, messages, type ToWorker } from './protocol.ts'
import type { Workers } from './workers.ts'

/** How long a worker may take to end what it does. */
const closeMs = 30_000

/** A worker that lives in this process, until its input ends. */
export type Inside = (streams: { input: Readable; output: Writable; signal: AbortSignal }) => Promise<void>

interface Options {
  hello: Hello
  progress: Progress
  crowd?: Crowd | undefined
  signal: AbortSignal
  logLevel: string
  /** The first worker needs no process of its own: that would take a start, and memory for a second job. */
  inside?: Inside
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
      const worker = workers.get(name) ?? open(name, options, workers.size === 0)
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

/** Whatever carries the lines. */
interface Life {
  input: Writable
  output: Readable
  /** How it ended; never rejects. */
  ended: Promise<string>
  kill(): void
}

function open(name: string, options: Options, first: boolean): Worker {
  const { hello, progress, crowd, signal, inside } = options
  const own = first ? inside : undefined
  const { input, output, ended, kill } = own ? lifeInside(own, signal) : lifeOfProcess(options)
  input.on('error', () => {})
  const send = (message: ToWorker) => input.write(`${JSON.stringify(message)}\n`)
  // who stands still with us was not silent
  const conversation = converse({ name, hello, progress, crowd, signal, send, onSilence: own ? undefined : kill })
  const listening = (async () => {
    for await (const message of messages<FromWorker>(output)) conversation.heard(message)
  })()
  const gone = ended.then(async (how) => {
    await listening.catch(() => {})
    conversation.fail(new JobError('server', `worker ${name} ${how}`, { hint: retry }))
  })
  return {
    order: conversation.order,
    close: async () => {
      input.end()
      const late = setTimeout(kill, closeMs)
      await gone
      clearTimeout(late)
    },
  }
}

function lifeOfProcess({ signal, logLevel }: Options): Life {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url))
  const child = startWorker({ args: [main, 'worker', '--log-level', logLevel], signal })
  let tail = ''
  child.stderr.on('data', (chunk: Buffer) => {
    tail = (tail + chunk.toString('utf8')).slice(-4096)
  })
  const ended = child.then((result) => {
    const how = result.signal ? `was ended by ${result.signal}` : `ended with ${result.exitCode}`
    return `${how}: ${lastLines(tail)}`
  })
  return { input: child.stdin, output: child.stdout, ended, kill: () => child.kill('SIGKILL') }
}

function lifeInside(inside: Inside, signal: AbortSignal): Life {
  const [input, output] = [new PassThrough(), new PassThrough()]
  const left = Promise.withResolvers<string>()
  const stop = new AbortController()
  const lived = inside({ input, output, signal: AbortSignal.any([signal, stop.signal]) }).then(
    () => 'ended',
    (error) => `ended: ${textOf(error)}`,
  )
  const ended = Promise.race([lived, left.promise]).finally(() => output.end())
  // what it started is told to end; nobody can end it but itself
  const kill = () => {
    stop.abort(new JobError('interrupted', 'it does not end'))
    setTimeout(() => left.resolve('does not end'), closeMs).unref()
  }
  return { input, output, ended, kill }
}
