import type { ConfigurationOptions } from '@kubernetes/client-node'
import type { Logger } from 'pino'
import type { Order, Place } from '../engine.ts'
import { JobError, textOf } from '../errors.ts'
import { type Conversation, converse, retry } from '../io/conversation.ts'
import type { Crowd } from '../io/pace.ts'
import type { Progress } from '../io/progress.ts'
import type { Hello } from '../io/protocol.ts'
import type { Workers } from '../io/workers.ts'
import { ApiError, ask } from './ask.ts'
import type { Cluster } from './client.ts'
import { type Look, openLine } from './line.ts'
import {
  endOf,
  findPod,
  isRunning,
  numberedPods,
  type PodRef,
  readPod,
  readThis,
  refOf,
  removePod,
  untilRunning,
  userOf,
} from './pods.ts'
import { placeInside, type Template, workerBeside, workerWithClaim, workerWithRoom } from './template.ts'

interface Options {
  cluster: Cluster
  template: Template
  hello: Hello
  /** An id of this run alone. */
  run: string
  progress: Progress
  crowd?: Crowd | undefined
  log: Logger
  signal: AbortSignal
  /** For orders that need no pod: files here, or read through a container. */
  local: Workers
}

interface PodWorker {
  order(order: Order): Promise<unknown>
  close(): Promise<void>
}

/** A worker takes back its uploads before it ends. */
const graceSeconds = 30

/** Workers as pods: beside the volume that the order names, or anywhere with a volume of their own. */
export function podWorkers(options: Options): Workers {
  const { cluster, template, signal, local } = options
  const workers = new Map<string, Promise<PodWorker>>()
  let cleared: Promise<void> | undefined

  function workerFor(order: Order): Promise<PodWorker> {
    const key = `${order.worker} ${JSON.stringify(order.beside ?? null)}`
    const known = workers.get(key)
    if (known) return known
    const index = workers.size
    cleared ??= clear(cluster, template, signal)
    const started = cleared.then(() => start(options, { order, name: podName(template, index) }))
    workers.set(key, started)
    return started
  }

  return {
    order: async (order) => {
      if (order.beside?.access === 'local' || order.beside?.access === 'exec') return local.order(order)
      const worker = await workerFor(order)
      return worker.order(order.beside ? ({ ...order, beside: placeInside(order.beside) } as Order) : order)
    },
    close: async () => {
      const started = await Promise.allSettled(workers.values())
      await Promise.all(started.map((one) => (one.status === 'fulfilled' ? one.value.close() : undefined)))
      workers.clear()
      await local.close()
    },
  }
}

function podName({ names, max }: Template, index: number): string {
  if (index < max) return `${names}-${index}`
  throw new JobError('configuration', `workers.max: ${max} worker pods are not enough`, {
    hint: 'raise workers.max to the number of data nodes: the Role names that many pods',
  })
}

/** Workers of a run that was killed may still be at work, with nobody who heeds them. */
async function clear(cluster: Cluster, { names, pod }: Template, signal: AbortSignal): Promise<void> {
  // other labels change with the chart's version
  const stable = Object.entries(pod.metadata.labels).filter(([key]) => /\/(name|instance|component)$/.test(key))
  const left = await numberedPods(cluster, { names, labels: Object.fromEntries(stable), signal })
  await Promise.all(left.map((pod) => removePod(cluster, pod, { graceSeconds, signal })))
}

async function start(options: Options, { order, name }: { order: Order; name: string }): Promise<PodWorker> {
  const { cluster, template, signal, log, hello, progress, crowd } = options
  const pod = await create(options, { order, name })
  const onReason = (reason: string) => log.info({ pod: name, reason }, 'waiting for a worker pod')
  try {
    await untilRunning(cluster, pod, { signal, onReason })
  } catch (error) {
    await removePod(cluster, pod, { graceSeconds: 0 }).catch(() => {})
    throw error
  }
  log.info({ pod: name, worker: order.worker }, 'worker pod started')
  const line = openLine(cluster, { pod: name, container: template.pod.spec.containers[0]?.name ?? 'worker' })
  const conversation = converse({
    name: order.worker,
    hello,
    progress,
    crowd,
    signal,
    send: line.send,
    onSilence: line.hangUp,
  })
  const stop = () =>
    conversation.fail(
      signal.reason instanceof JobError ? signal.reason : new JobError('interrupted', textOf(signal.reason)),
    )
  signal.addEventListener('abort', stop, { once: true })
  const kept = line.keep(conversation, (until) =>
    look({ cluster, pod, worker: order.worker, conversation, signal: until }),
  )
  return {
    order: conversation.order,
    close: async () => {
      signal.removeEventListener('abort', stop)
      line.hangUp()
      conversation.close()
      await kept
      await removePod(cluster, pod, { graceSeconds }).catch((error) =>
        log.warn({ pod: name }, `a worker pod stays: ${textOf(error)}`),
      )
    },
  }
}

async function create(options: Options, { order, name }: { order: Order; name: string }): Promise<PodRef> {
  const { cluster, template, hello, signal, run } = options
  const { core, namespace, identity } = cluster
  const making = { template, name, job: identity.job, backupId: hello.backupId, run }
  const body = order.beside
    ? await besideIts(cluster, { place: order.beside, making, signal })
    : workerWithRoom({ ...making, room: order.do === 'download' ? order.room : 0 })
  try {
    const request = (settings: ConfigurationOptions) => core.createNamespacedPod({ namespace, body }, settings)
    return refOf(await ask(`create worker pod ${name}`, request, { signal }))
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 409)) throw error
    // the answer to our own request was lost, or a pod has the name that is none of our workers
    const there = await readPod(cluster, name, signal)
    if (there?.metadata?.annotations?.['holdfast/run'] === run) return refOf(there)
    throw new JobError('server', `a pod ${name} is in the way of a worker`, {
      hint: `kubectl -n ${namespace} delete pod ${name}`,
    })
  }
}

interface Beside {
  place: Place
  making: Omit<Parameters<typeof workerBeside>[0], 'place' | 'owner'>
  signal: AbortSignal
}

async function besideIts(cluster: Cluster, { place, making, signal }: Beside) {
  if (place.access === 'claim')
    return workerWithClaim({ ...making, place, user: await userOf(cluster, place.claim, signal) })
  if (place.access !== 'volume') throw new JobError('bug', `a worker pod is not needed for access ${place.access}`)
  const owner = await findPod(cluster, place.pod, signal)
  return workerBeside({ ...making, place, owner })
}

interface Watched {
  cluster: Cluster
  pod: PodRef
  worker: string
  conversation: Conversation
  signal: AbortSignal
}

/** Whether the worker itself is gone, which its conversation is told, or only the connection to it. */
async function look({ cluster, pod, worker, conversation, signal }: Watched): Promise<Look> {
  try {
    const there = await readThis(cluster, pod, signal)
    if (there && isRunning(there)) return 'running'
    const how = await endOf(cluster, pod.name, there)
    conversation.fail(new JobError('server', `worker ${worker} (pod ${pod.name}) ${how}`, { hint: retry }))
    return 'ended'
  } catch {
    return 'unknown'
  }
}
