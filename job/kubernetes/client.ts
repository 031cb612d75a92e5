import { existsSync } from 'node:fs'
import { delimiter } from 'node:path'
import { AppsV1Api, BatchV1Api, CoordinationV1Api, CoreV1Api, EventsV1Api, KubeConfig } from '@kubernetes/client-node'
import type { Surroundings } from '../config.ts'
import { JobError } from '../errors.ts'

/**
 * The API server, and who we are there. This module loads the Kubernetes client (some 40 MB of memory): whoever is not in this
 * folder imports it by `await import(…)`, and only when the surroundings say that we run in Kubernetes.
 */
export interface Cluster {
  /** For attach, exec and watch, which take it instead of an API object. */
  readonly kubeConfig: KubeConfig
  readonly apps: AppsV1Api
  readonly core: CoreV1Api
  readonly batch: BatchV1Api
  readonly coordination: CoordinationV1Api
  readonly events: EventsV1Api
  /** The namespace that we run in. */
  readonly namespace: string
  readonly identity: Identity
}

/** What Kubernetes calls this run. Missing parts were not told: outside a pod, or in a pod that no Job made. */
export interface Identity {
  readonly pod: { name: string; uid: string } | undefined
  readonly job: { name: string; uid: string } | undefined
}

const serviceAccount = '/var/run/secrets/kubernetes.io/serviceaccount'

/** No request is made yet. In a pod the ServiceAccount counts, outside KUBECONFIG. Requests go through `ask`. */
export function connect(surroundings: Surroundings): Cluster {
  const kubeConfig = loadConfig(surroundings)
  return {
    kubeConfig,
    apps: kubeConfig.makeApiClient(AppsV1Api),
    core: kubeConfig.makeApiClient(CoreV1Api),
    batch: kubeConfig.makeApiClient(BatchV1Api),
    coordination: kubeConfig.makeApiClient(CoordinationV1Api),
    events: kubeConfig.makeApiClient(EventsV1Api),
    namespace: surroundings.podNamespace ?? namespaceOf(kubeConfig),
    identity: {
      pod: named(surroundings.podName, surroundings.podUid),
      job: named(surroundings.jobName, surroundings.jobUid),
    },
  }
}

function loadConfig({ kubeconfig }: Surroundings): KubeConfig {
  const config = new KubeConfig()
  if (existsSync(`${serviceAccount}/token`)) {
    config.loadFromCluster()
    return config
  }
  if (kubeconfig === undefined) {
    throw new JobError('configuration', `this pod has no token for the API server (${serviceAccount}/token)`, {
      hint: 'set automountServiceAccountToken: true, outside of Kubernetes KUBECONFIG, or leave out HOLDFAST_LEASE and HOLDFAST_WORKERS (coordination: none)',
    })
  }
  try {
    if (kubeconfig.includes(delimiter)) config.loadFromDefault()
    else config.loadFromFile(kubeconfig)
    return config
  } catch (cause) {
    throw new JobError('configuration', `KUBECONFIG (${kubeconfig}) cannot be read`, { cause })
  }
}

function namespaceOf(config: KubeConfig): string {
  return config.getContextObject(config.getCurrentContext())?.namespace ?? 'default'
}

function named(name: string | undefined, uid: string | undefined) {
  return name === undefined || uid === undefined ? undefined : { name, uid }
}
