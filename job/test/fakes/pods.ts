import { ApiException, type CoreV1Api, type V1DeleteOptions, type V1Pod } from '@kubernetes/client-node'
import type { Cluster } from '../../kubernetes/client.ts'

export interface FakePods {
  cluster: Cluster
  /** What there is, by name. */
  pods: Map<string, V1Pod>
  /** Makes a pod that runs, in the place of one that has its name. */
  run(name: string, uid: string, labels?: Record<string, string>, ip?: string): void
}

/** An API server with pods, which go as soon as they are deleted. */
export function fakePods(): FakePods {
  const pods = new Map<string, V1Pod>()

  function found(name: string): V1Pod {
    const pod = pods.get(name)
    if (!pod) throw refusal(404, `pods "${name}" not found`)
    return structuredClone(pod)
  }

  const core = {
    readNamespacedPod: async ({ name }: { name: string }) => found(name),
    listNamespacedPod: async ({ labelSelector }: { labelSelector: string }) => {
      const wanted = labelSelector.split(',').map((one) => one.split('='))
      const has = (pod: V1Pod) => wanted.every(([key = '', value]) => pod.metadata?.labels?.[key] === value)
      return { items: [...pods.values()].filter(has) }
    },
    deleteNamespacedPod: async ({ name, body }: { name: string; body?: V1DeleteOptions }) => {
      const { uid } = found(name).metadata ?? {}
      const wanted = body?.preconditions?.uid
      if (wanted !== undefined && wanted !== uid) throw refusal(409, 'the UID in the precondition does not match')
      pods.delete(name)
    },
    readNamespacedPodLog: async () => '',
  }

  return {
    cluster: { namespace: 'shop', core: core as unknown as CoreV1Api, identity: {} } as Cluster,
    pods,
    run: (name, uid, labels = {}, ip) => {
      const containerStatuses = [{ name: 'worker', state: { running: {} } }]
      const status = { phase: 'Running', containerStatuses, podIPs: [{ ip }] }
      pods.set(name, { metadata: { name, uid, labels }, status } as V1Pod)
    },
  }
}

function refusal(code: number, message: string): ApiException<string> {
  return new ApiException(code, 'Unknown API Status Code!', JSON.stringify({ kind: 'Status', message }), {})
}
