import type { KubernetesObject } from '../../engine.ts'

/** What the server and its controllers keep, and what means something in one cluster only. */
const ofTheServer = [
  'creationTimestamp',
  'deletionGracePeriodSeconds',
  'deletionTimestamp',
  'finalizers',
  'generation',
  'managedFields',
  'namespace',
  'ownerReferences',
  'resourceVersion',
  'selfLink',
  'uid',
]

/** Annotations that tell what was done in one cluster. */
const ofTheCluster =
  /^(kubectl\.kubernetes\.io\/last-applied-configuration|deployment\.kubernetes\.io\/revision|pv\.kubernetes\.io\/.*|volume(\.beta)?\.kubernetes\.io\/.*)$/

/** Pure: an object as somebody would write it to make it anew. */
export function clean(object: KubernetesObject): KubernetesObject {
  const { status: _, metadata, ...rest } = structuredClone(object)
  for (const key of ofTheServer) delete metadata[key]
  if (metadata.generateName) delete metadata.generateName
  const annotations = Object.entries(metadata.annotations ?? {}).filter(([key]) => !ofTheCluster.test(key))
  delete metadata.annotations
  if (annotations.length > 0) metadata.annotations = Object.fromEntries(annotations)
  const cleaned: KubernetesObject = { ...rest, metadata }
  if (cleaned.kind === 'Service') cleanService(cleaned.spec as Service)
  if (cleaned.kind === 'PersistentVolumeClaim') delete (cleaned.spec as { volumeName?: string }).volumeName
  return cleaned
}

interface Service {
  clusterIP?: string
  clusterIPs?: string[]
  healthCheckNodePort?: number
  ports?: { nodePort?: number }[]
}

/** The next cluster gives other addresses; a Service without one stays without. */
function cleanService(spec: Service): void {
  if (spec.clusterIP !== 'None') {
    delete spec.clusterIP
    delete spec.clusterIPs
  }
  delete spec.healthCheckNodePort
  for (const port of spec.ports ?? []) delete port.nodePort
}

/** What every namespace gets by itself, and the tokens of accounts: taken along only by name. */
export function isOfTheNamespace({ kind, type, metadata }: KubernetesObject): boolean {
  if (kind === 'Secret') return type === 'kubernetes.io/service-account-token'
  return kind === 'ConfigMap' && /^(kube-root-ca\.crt|openshift-service-ca\.crt)$/.test(metadata.name)
}
