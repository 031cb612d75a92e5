import { readFileSync } from 'node:fs'
import { posix } from 'node:path'
import type { V1Pod, V1PodSecurityContext, V1PodSpec } from '@kubernetes/client-node'
import { parse } from 'yaml'
import { z } from 'zod'
import type { Place } from '../engine.ts'
import { JobError } from '../errors.ts'
import type { Identity } from './client.ts'
import { nameOf } from './pods.ts'

/** What the chart says of the worker pods of a run: HOLDFAST_WORKERS. */
const Template = z.strictObject({
  /** Workers are `<names>-0` … `<names>-<max − 1>`: RBAC names them. */
  names: z.string().min(1),
  max: z.int().min(1),
  scratch: z.strictObject({ storageClassName: z.string().optional() }).default({}),
  /** A whole Pod but for its name. */
  pod: z.looseObject({
    metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }),
    spec: z.looseObject({ containers: z.array(z.looseObject({ name: z.string() })).min(1) }),
  }),
})
export type Template = z.infer<typeof Template>

/** An upgrade changes the file while Jobs of the release before it go on: their workers have their own image. */
export function readTemplate(file: string, image?: string): Template {
  const template = parsed(file)
  const [container] = template.pod.spec.containers
  if (container && image !== undefined) container.image = image
  return template
}

function parsed(file: string): Template {
  try {
    return Template.parse(parse(readFileSync(file, 'utf8')))
  } catch (cause) {
    throw new JobError('configuration', `${file} is not a template of worker pods`, {
      hint: 'the chart writes it: install it again, and run again',
      cause,
    })
  }
}

/** Where the worker finds the volume of a data node, and where its own folder is. */
const dataDir = '/data'
const scratchVolume = 'scratch'
const GiB = 2 ** 30

/** The volume is mounted from the folder above the backup folder on: kubelet would make a missing folder as root, and NDB could not write there. */
function mounted({ folder }: { folder: string }): { subPath?: string; folder: string } {
  const above = posix.dirname(folder)
  const here = posix.join(dataDir, posix.basename(folder))
  return above === '.' ? { folder: here } : { subPath: above, folder: here }
}

/** The place as a worker in its pod sees it. */
export function placeInside(place: Place): Place {
  if (place.access === 'volume') return { access: 'local', folder: mounted(place).folder }
  if (place.access === 'claim') return { access: 'local', folder: posix.join(dataDir, place.folder) }
  return place
}

interface Making {
  template: Template
  name: string
  job: Identity['job']
  backupId: string
  /** Tells our own workers from those of a run that was killed. */
  run: string
}

/** A worker beside a database's pod: on its machine, with its volume and its ids. */
export function workerBeside({
  place,
  owner,
  ...making
}: Making & { place: Extract<Place, { access: 'volume' }>; owner: V1Pod }): V1Pod {
  const pod = workerPod(making)
  const spec = pod.spec as V1PodSpec
  const { subPath } = mounted(place)
  const container = spec.containers[0] as V1PodSpec['containers'][0]
  spec.volumes = [
    ...(spec.volumes ?? []),
    { name: 'data', persistentVolumeClaim: { claimName: claimOf(owner, place.volume) } },
  ]
  container.volumeMounts = [
    ...(container.volumeMounts ?? []),
    { name: 'data', mountPath: dataDir, ...(subPath ? { subPath } : {}) },
  ]
  spec.affinity = { ...spec.affinity, nodeAffinity: onMachine(owner.spec?.nodeName ?? '') }
  spec.tolerations = [...(spec.tolerations ?? []), ...(owner.spec?.tolerations ?? [])]
  spec.securityContext = {
    ...spec.securityContext,
    ...idsOf(owner, place.volume),
    fsGroupChangePolicy: 'OnRootMismatch',
  }
  return pod
}

/**
 * A worker with a claim: on the machine of the pod that has it mounted, with that pod's ids, or wherever the volume can be had. A
 * volume that is new belongs to root until kubelet gives it to the fsGroup; a backup changes no groups.
 */
export function workerWithClaim({
  place,
  user,
  ...making
}: Making & { place: Extract<Place, { access: 'claim' }>; user: V1Pod | undefined }): V1Pod {
  const pod = workerPod(making)
  const spec = pod.spec as V1PodSpec
  const container = spec.containers[0] as V1PodSpec['containers'][0]
  spec.volumes = [...(spec.volumes ?? []), { name: 'data', persistentVolumeClaim: { claimName: place.claim } }]
  container.volumeMounts = [
    ...(container.volumeMounts ?? []),
    { name: 'data', mountPath: dataDir, ...(place.readOnly ? { readOnly: true } : {}) },
  ]
  if (user) {
    spec.affinity = { ...spec.affinity, nodeAffinity: onMachine(user.spec?.nodeName ?? '') }
    spec.tolerations = [...(spec.tolerations ?? []), ...(user.spec?.tolerations ?? [])]
  }
  const ids = { ...spec.securityContext, ...(user ? idsOf(user, volumeOf(user, place.claim)) : {}) }
  const groups = [ids.fsGroup, spec.securityContext?.fsGroup]
  spec.securityContext = place.readOnly ? onlyReading(ids, groups) : { ...ids, fsGroupChangePolicy: 'OnRootMismatch' }
  return pod
}

/** The name that a pod gives to the volume of a claim. */
function volumeOf({ spec }: V1Pod, claim: string): string {
  return spec?.volumes?.find((volume) => volume.persistentVolumeClaim?.claimName === claim)?.name ?? ''
}

function onlyReading(
  { fsGroup: _, fsGroupChangePolicy: __, supplementalGroups = [], ...context }: V1PodSecurityContext,
  groups: (number | undefined)[],
): V1PodSecurityContext {
  const all = [...supplementalGroups, ...groups].filter((group) => group !== undefined)
  return { ...context, supplementalGroups: [...new Set(all)] }
}

/** A worker of a restore: its folder is a volume of its own that goes with it. */
export function workerWithRoom({ room, ...making }: Making & { room: number }): V1Pod {
  const pod = workerPod(making)
  const spec = pod.spec as V1PodSpec
  const others = (spec.volumes ?? []).filter((volume) => volume.name !== scratchVolume)
  // file systems keep some room for themselves
  const storage = `${Math.ceil((room * 1.1) / GiB) + 1}Gi`
  const { storageClassName } = making.template.scratch
  const claim = {
    accessModes: ['ReadWriteOnce'],
    resources: { requests: { storage } },
    ...(storageClassName ? { storageClassName } : {}),
  }
  spec.volumes = [...others, { name: scratchVolume, ephemeral: { volumeClaimTemplate: { spec: claim } } }]
  return pod
}

function workerPod({ template, name, job, backupId, run }: Making): V1Pod {
  const pod = structuredClone(template.pod) as unknown as V1Pod
  pod.metadata = {
    ...pod.metadata,
    name,
    annotations: { ...pod.metadata?.annotations, 'holdfast/backup': backupId, 'holdfast/run': run },
    // the garbage collector takes it away with the Job; it is none of the Job's own pods, so not its controller
    ...(job ? { ownerReferences: [{ apiVersion: 'batch/v1', kind: 'Job', name: job.name, uid: job.uid }] } : {}),
  }
  return pod
}

function claimOf(pod: V1Pod, volume: string): string {
  const volumes = pod.spec?.volumes ?? []
  const claim = volumes.find(({ name }) => name === volume)?.persistentVolumeClaim?.claimName
  if (claim !== undefined) return claim
  const claims = volumes.filter((one) => one.persistentVolumeClaim).map((one) => one.name)
  throw new JobError(
    'configuration',
    `files.volume: pod ${nameOf(pod)} has no volume "${volume}" of a claim (there are: ${claims.join(', ') || 'none'})`,
    {
      hint: "it is the volume that the data node's backup folder lies in",
    },
  )
}

/** Not nodeName, which would pass by the scheduler and its checks of volumes. */
function onMachine(node: string) {
  return {
    requiredDuringSchedulingIgnoredDuringExecution: {
      nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [node] }] }],
    },
  }
}

/** The ids that own the files of the volume: those of the container that has it, which a sidecar may stand before. */
function idsOf({ spec }: V1Pod, volume: string): V1PodSecurityContext {
  const pod = spec?.securityContext ?? {}
  const owner = spec?.containers.find(({ volumeMounts = [] }) => volumeMounts.some(({ name }) => name === volume))
  const container = (owner ?? spec?.containers[0])?.securityContext ?? {}
  const ids = {
    runAsUser: container.runAsUser ?? pod.runAsUser,
    runAsGroup: container.runAsGroup ?? pod.runAsGroup,
    fsGroup: pod.fsGroup,
    supplementalGroups: pod.supplementalGroups,
    seLinuxOptions: container.seLinuxOptions ?? pod.seLinuxOptions,
  }
  return Object.fromEntries(Object.entries(ids).filter(([, id]) => id !== undefined))
}
