import { setTimeout as pause } from 'node:timers/promises'
import { PatchStrategy, setHeaderOptions, type V1LabelSelector } from '@kubernetes/client-node'
import { environment } from '../config.ts'
import { JobError } from '../errors.ts'
import type { ExecHook, HookActions, ScaleHook } from '../hooks.ts'
import { lastLines } from '../io/process.ts'
import { ask, unless } from './ask.ts'
import { type Cluster, connect } from './client.ts'
import { execute } from './exec.ts'
import { labelled, readPod } from './pods.ts'

const lookEveryMs = 500

interface Context {
  cluster: Cluster
  /** Name of the ConfigMap that keeps how many replicas there were, for whoever comes after a killed run. */
  record: string
}

/** Hooks that need Kubernetes, in the namespace that we run in. `run`: what no other run is called that may be at work. */
export function hookActions(run: string, cluster: Cluster = connect(environment.kubernetes)): HookActions {
  const context = { cluster, record: `${environment.kubernetes.lease ?? run}-scaled` }
  return {
    exec: (hook, signal) => exec(cluster, hook, signal),
    scale: (hook, signal) => scale(context, hook, signal),
    scaleBack: (hook, signal) => scaleBack(context, hook, signal),
  }
}

async function exec(cluster: Cluster, hook: ExecHook, signal: AbortSignal): Promise<void> {
  const { pod, container } = await chosen(cluster, hook, signal)
  const { exitCode, stdout, stderr } = await execute({ cluster, pod, container, command: hook.command, signal })
  if (exitCode === 0) return
  const said = lastLines(stderr.trim() ? stderr : stdout.toString('utf8').slice(-4096))
  throw new JobError('server', `it ended with ${exitCode} in pod ${pod}: ${said}`)
}

async function chosen(cluster: Cluster, { pod, selector, container }: ExecHook, signal: AbortSignal) {
  const pods =
    selector === undefined ? [await readPod(cluster, pod as string, signal)] : await labelled(cluster, selector, signal)
  const ready = pods.find((one) =>
    one?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
  )
  const found = ready ?? (selector === undefined ? pods[0] : undefined)
  if (!found)
    throw new JobError(
      'server',
      `no pod ${selector === undefined ? pod : `with ${selector} is ready`} in namespace ${cluster.namespace}`,
    )
  return { pod: found.metadata?.name as string, container: container ?? (found.spec?.containers[0]?.name as string) }
}

/** The number of before is kept first: a run that is killed in between has changed nothing, and undoing that changes nothing. */
async function scale(context: Context, hook: ScaleHook, signal: AbortSignal): Promise<void> {
  const { wanted } = await workloadOf(context.cluster, hook, signal)
  const kept = await readRecord(context, signal)
  if (kept[keyOf(hook)] === undefined) await writeRecord(context, { ...kept, [keyOf(hook)]: String(wanted) }, signal)
  await setReplicas(context.cluster, hook, hook.replicas, signal)
  await until(context.cluster, hook, signal, ({ running }) => running === hook.replicas)
  await podsEnded(context.cluster, hook, signal)
}

/** A workload counts a pod no longer when it was told to end; it may write for as long as its grace lasts. */
async function podsEnded(cluster: Cluster, hook: ScaleHook, signal: AbortSignal): Promise<void> {
  const { selector } = await workloadOf(cluster, hook, signal)
  for (;;) {
    const pods = await labelled(cluster, selector, signal)
    const alive = pods.filter(({ status }) => !['Succeeded', 'Failed'].includes(status?.phase ?? ''))
    if (alive.length <= hook.replicas) return
    await pause(lookEveryMs, undefined, { signal })
  }
}

async function scaleBack(context: Context, hook: ScaleHook, signal: AbortSignal): Promise<boolean> {
  const { [keyOf(hook)]: before, ...others } = await readRecord(context, signal)
  if (before === undefined) return false
  await setReplicas(context.cluster, hook, Number(before), signal)
  await writeRecord(context, others, signal)
  await until(context.cluster, hook, signal, ({ ready }) => ready >= Number(before))
  return true
}

interface Workload {
  /** Labels of its pods, as a list asks for them. */
  selector: string
  wanted: number
  running: number
  ready: number
}

async function until(cluster: Cluster, hook: ScaleHook, signal: AbortSignal, met: (workload: Workload) => boolean) {
  while (!met(await workloadOf(cluster, hook, signal))) await pause(lookEveryMs, undefined, { signal })
}

async function workloadOf(cluster: Cluster, { kind, name }: ScaleHook, signal: AbortSignal): Promise<Workload> {
  const { apps, namespace } = cluster
  const found = await unless(
    [404],
    ask(
      `read ${kind} ${name}`,
      async (how) =>
        kind === 'Deployment'
          ? apps.readNamespacedDeployment({ namespace, name }, how)
          : apps.readNamespacedStatefulSet({ namespace, name }, how),
      { signal },
    ),
  )
  if (!found) throw new JobError('configuration', `there is no ${kind} ${name} in namespace ${namespace}`)
  const { metadata, spec, status } = found
  // numbers of another generation tell nothing of what was asked for now
  const current = status?.observedGeneration === metadata?.generation
  const count = (replicas: number | undefined) => (current ? (replicas ?? 0) : Number.NaN)
  return {
    selector: selectorText(spec?.selector),
    wanted: spec?.replicas ?? 1,
    running: count(status?.replicas),
    ready: count(status?.readyReplicas),
  }
}

/** Pure: `app=web,tier in (a,b),!old`. */
export function selectorText({ matchLabels = {}, matchExpressions = [] }: V1LabelSelector = {}): string {
  const labels = Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`)
  const expressions = matchExpressions.map(({ key, operator, values = [] }) => {
    if (operator === 'Exists') return key
    if (operator === 'DoesNotExist') return `!${key}`
    return `${key} ${operator === 'In' ? 'in' : 'notin'} (${values.join(',')})`
  })
  return [...labels, ...expressions].join(',')
}

/** Through the subresource: whoever may change the workload itself may run anything in its name. */
async function setReplicas(
  { apps, namespace }: Cluster,
  { kind, name }: ScaleHook,
  replicas: number,
  signal: AbortSignal,
) {
  const body = { spec: { replicas } }
  await ask(
    `scale ${kind} ${name} to ${replicas}`,
    async (how) => {
      const merge = setHeaderOptions('Content-Type', PatchStrategy.MergePatch, how)
      if (kind === 'Deployment') await apps.patchNamespacedDeploymentScale({ namespace, name, body }, merge)
      else await apps.patchNamespacedStatefulSetScale({ namespace, name, body }, merge)
    },
    { signal },
  )
}

function keyOf({ kind, name }: ScaleHook): string {
  return `${kind}.${name}`
}

async function readRecord({ cluster, record }: Context, signal: AbortSignal): Promise<Record<string, string>> {
  const { core, namespace } = cluster
  const read = ask(
    `read ConfigMap ${record}`,
    (how) => core.readNamespacedConfigMap({ namespace, name: record }, how),
    { signal },
  )
  return (await unless([404], read))?.data ?? {}
}

/** Nobody else writes it: its run holds the Lease. */
async function writeRecord({ cluster, record: name }: Context, data: Record<string, string>, signal: AbortSignal) {
  const { core, namespace } = cluster
  const body = { metadata: { name, namespace }, data }
  const what = `write ConfigMap ${name}`
  if (Object.keys(data).length === 0) {
    await unless(
      [404],
      ask(`delete ConfigMap ${name}`, (how) => core.deleteNamespacedConfigMap({ namespace, name }, how), { signal }),
    )
    return
  }
  const replaced = ask(what, (how) => core.replaceNamespacedConfigMap({ namespace, name, body }, how), { signal })
  if (await unless([404], replaced)) return
  await ask(what, (how) => core.createNamespacedConfigMap({ namespace, body }, how), { signal })
}
