import { lookup } from 'node:dns/promises'
import { setTimeout as pause } from 'node:timers/promises'
import type { V1Pod } from '@kubernetes/client-node'
import type { PodChoice } from '../engine.ts'
import { JobError } from '../errors.ts'
import { lastLines } from '../io/process.ts'
import { ApiError, ask } from './ask.ts'
import type { Cluster } from './client.ts'

/** How often a pod is looked at while something is waited for; watching would need a right more, for no gain. */
const lookEveryMs = 500

/** One pod, and never another one that took its name since: names of workers are used again by the next run. */
export interface PodRef {
  name: string
  uid: string
}

export function nameOf(pod: V1Pod): string {
  return pod.metadata?.name ?? ''
}

export function refOf(pod: V1Pod): PodRef {
  return { name: nameOf(pod), uid: pod.metadata?.uid ?? '' }
}

/** The pod that is chosen. Throws `server` naming those that were looked at. */
export async function findPod(cluster: Cluster, choice: PodChoice, signal: AbortSignal): Promise<V1Pod> {
  const pods =
    'names' in choice
      ? await podsNamed(cluster, choice.names, signal)
      : await labelled(cluster, choice.selector, signal)
  const { address } = choice
  return address === undefined
    ? firstRunning(cluster, choice, pods)
    : withAddress(cluster, { ...choice, address }, pods)
}

/** The pod that is beside a claim's volume; undefined when no pod has it mounted on a machine. */
export async function userOf(cluster: Cluster, claim: string, signal: AbortSignal): Promise<V1Pod | undefined> {
  const pods = await labelled(cluster, '', signal)
  const users = pods.filter(
    ({ spec, status }) =>
      spec?.nodeName !== undefined &&
      status?.phase !== 'Succeeded' &&
      status?.phase !== 'Failed' &&
      spec.volumes?.some((volume) => volume.persistentVolumeClaim?.claimName === claim),
  )
  return users.find(isRunning) ?? users[0]
}

function firstRunning(cluster: Cluster, choice: PodChoice, pods: V1Pod[]): V1Pod {
  const running = pods.find(isRunning)
  if (running) return running
  const seen = pods.map((pod) => `${nameOf(pod)} ${pod.status?.phase ?? ''}`).join(', ')
  throw new JobError(
    'server',
    `none of the ${chosenText(choice)} in namespace ${cluster.namespace} runs (there are: ${seen || 'none'})`,
    { hint: 'start one, or choose others with `pods`' },
  )
}

function chosenText(choice: PodChoice): string {
  return 'names' in choice ? `pods ${choice.names.join(', ')}` : `pods with ${choice.selector}`
}

async function withAddress(cluster: Cluster, choice: PodChoice & { address: string }, pods: V1Pod[]): Promise<V1Pod> {
  const addresses = new Set([choice.address, ...(await resolved(choice.address))])
  const found = pods.find((pod) => addressesOf(pod).some((address) => addresses.has(address)))
  if (found) return found
  const seen = pods.map((pod) => `${nameOf(pod)} ${addressesOf(pod).join(' ') || 'without address'}`).join(', ')
  throw new JobError(
    'server',
    `none of the ${chosenText(choice)} in namespace ${cluster.namespace} has the address ${choice.address} (there are: ${seen || 'none'})`,
    {
      hint: "files.dataNodes must choose the data nodes' pods, and the release must be in their namespace",
    },
  )
}

function addressesOf({ status }: V1Pod): string[] {
  return (status?.podIPs ?? []).flatMap(({ ip }) => (ip ? [ip] : []))
}

/** The management server may know its nodes by name. */
async function resolved(address: string): Promise<string[]> {
  return (await lookup(address, { all: true }).catch(() => [])).map((entry) => entry.address)
}

async function podsNamed(cluster: Cluster, names: readonly string[], signal: AbortSignal): Promise<V1Pod[]> {
  const pods = await Promise.all(names.map((name) => readPod(cluster, name, signal)))
  return pods.filter((pod) => pod !== undefined)
}

export async function labelled(
  { core, namespace }: Cluster,
  labelSelector: string,
  signal: AbortSignal,
): Promise<V1Pod[]> {
  const { items } = await ask(
    labelSelector ? `list pods with ${labelSelector}` : 'list pods',
    (options) => core.listNamespacedPod({ namespace, ...(labelSelector ? { labelSelector } : {}) }, options),
    { signal },
  )
  return items
}

/** Undefined when there is none. */
export async function readPod(
  { core, namespace }: Cluster,
  name: string,
  signal?: AbortSignal,
): Promise<V1Pod | undefined> {
  try {
    return await ask(`read pod ${name}`, (options) => core.readNamespacedPod({ namespace, name }, options), { signal })
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return undefined
    throw error
  }
}

/** Undefined when it is gone, also when another one has its name now. */
export async function readThis(
  cluster: Cluster,
  { name, uid }: PodRef,
  signal?: AbortSignal,
): Promise<V1Pod | undefined> {
  const pod = await readPod(cluster, name, signal)
  return pod?.metadata?.uid === uid ? pod : undefined
}

/** The pods with the labels that are named `<names>-<number>`. */
export async function numberedPods(
  cluster: Cluster,
  { names, labels, signal }: { names: string; labels: Record<string, string>; signal: AbortSignal },
): Promise<PodRef[]> {
  const selector = Object.entries(labels).map(([key, value]) => `${key}=${value}`)
  const pods = (await labelled(cluster, selector.join(','), signal)).map(refOf)
  return pods.filter(({ name }) => name.startsWith(`${names}-`) && /^\d+$/.test(name.slice(names.length + 1)))
}

/** Deletes a pod and awaits that it is gone. One that is not there is gone. */
export async function removePod(
  cluster: Cluster,
  pod: PodRef,
  { graceSeconds, signal }: { graceSeconds: number; signal?: AbortSignal },
): Promise<void> {
  const { core, namespace } = cluster
  const { name, uid } = pod
  const body = { gracePeriodSeconds: graceSeconds, preconditions: { uid } }
  try {
    await ask(`delete pod ${name}`, (options) => core.deleteNamespacedPod({ namespace, name, body }, options), {
      signal,
    })
  } catch (error) {
    // 409: another pod has the name
    if (error instanceof ApiError && (error.status === 404 || error.status === 409)) return
    throw error
  }
  const until = Date.now() + graceSeconds * 1000 + 60_000
  while (await readThis(cluster, pod, signal)) {
    if (Date.now() > until) {
      throw new JobError('server', `pod ${name} was deleted but does not go`, {
        hint: `kubectl -n ${namespace} get pod ${name} -o wide: is its machine away? Delete it with --force only when the machine is surely off`,
      })
    }
    await pause(lookEveryMs, undefined, signal ? { signal } : {})
  }
}

/** A cluster may have to add a machine first, and to pull the image. */
const startMs = 10 * 60_000
const hopeless = ['InvalidImageName', 'ErrImageNeverPull']

/** Resolves when the pod's container runs. Throws `server` with Kubernetes' own reason. */
export async function untilRunning(
  cluster: Cluster,
  ref: PodRef,
  { signal, onReason }: { signal: AbortSignal; onReason: (reason: string) => void },
): Promise<void> {
  const { name } = ref
  const until = Date.now() + startMs
  let said = ''
  for (;;) {
    const pod = await readThis(cluster, ref, signal)
    if (pod && isRunning(pod)) return
    const why = pod ? reasonOf(pod) : { reason: 'Deleted', text: 'somebody deleted it' }
    if (!pod || hasEnded(pod) || hopeless.includes(why.reason) || Date.now() > until) {
      const tail = pod && hasEnded(pod) ? `: ${await logTail(cluster, name)}` : ''
      throw new JobError('server', `worker pod ${name} did not start: ${why.text}${tail}`, {
        hint: `kubectl -n ${cluster.namespace} describe pod ${name}`,
      })
    }
    if (why.text !== said) onReason(why.text)
    said = why.text
    await pause(lookEveryMs, undefined, { signal })
  }
}

export function isRunning({ status, metadata }: V1Pod): boolean {
  return metadata?.deletionTimestamp === undefined && status?.containerStatuses?.[0]?.state?.running !== undefined
}

function hasEnded({ status }: V1Pod): boolean {
  return status?.phase === 'Failed' || status?.phase === 'Succeeded'
}

function reasonOf({ status }: V1Pod): { reason: string; text: string } {
  const waiting = status?.containerStatuses?.[0]?.state?.waiting
  if (waiting?.reason && waiting.reason !== 'ContainerCreating') return textOf(waiting.reason, waiting.message)
  const unmet = status?.conditions?.find(
    (condition) => condition.status === 'False' && condition.type === 'PodScheduled',
  )
  if (unmet) return textOf(unmet.reason ?? 'Unscheduled', unmet.message)
  return textOf(status?.reason ?? waiting?.reason ?? status?.phase ?? 'Pending', status?.message)
}

function textOf(reason: string, message: string | undefined) {
  return { reason, text: message ? `${reason}: ${message.slice(0, 300)}` : reason }
}

/** How the container of a pod ended, with the end of its log. */
export async function endOf(cluster: Cluster, name: string, pod: V1Pod | undefined): Promise<string> {
  if (!pod) return 'was deleted'
  const ended = pod.status?.containerStatuses?.[0]?.state?.terminated
  const how = ended
    ? `ended with ${ended.exitCode}${ended.reason ? ` (${ended.reason})` : ''}`
    : (pod.status?.reason ?? 'is being deleted')
  return `${how}: ${await logTail(cluster, name)}`
}

async function logTail({ core, namespace }: Cluster, name: string): Promise<string> {
  const log = await ask(
    `read the log of pod ${name}`,
    (options) => core.readNamespacedPodLog({ namespace, name, tailLines: 200 }, options),
    { attempts: 2 },
  ).catch((error) => String(error.message))
  // the lines for the coordinator are in it, too
  const lines = log.split('\n').filter((line) => !line.startsWith('{"type":'))
  return lastLines(lines.join('\n')) || 'its log is empty'
}
