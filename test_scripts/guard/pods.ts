/** Pods as the job makes them, and what may be changed in one. */

import type { V1Container, V1Pod, V1PodSpec } from '@kubernetes/client-node'
import { parse } from 'yaml'
import { type Template, workerBeside, workerWithRoom } from '../../job/kubernetes/template.ts'
import { type Account, admin, backup, dryRun, namespace, release, restore } from './accounts.ts'

export type Change = (pod: V1Pod, spec: V1PodSpec, worker: V1Container) => unknown

export async function goodPods(): Promise<[string, Account, V1Pod][]> {
  const token = (audience: string) => (pod: V1Pod) => {
    pod.spec?.volumes?.push({
      name: 'token',
      projected: { sources: [{ serviceAccountToken: { audience, path: 't' } }] },
    })
    container(pod).volumeMounts?.push({ name: 'token', mountPath: '/var/run/secrets/cloud' })
    container(pod).env?.push({ name: 'AWS_ROLE_ARN', value: 'arn:aws:iam::1:role/backup' })
  }
  return [
    ['a worker beside a data node', backup, await nightlyPod()],
    ['a worker beside a data node of a named StatefulSet', backup, await fewPod()],
    ['a worker beside a data node whose claim the values name', backup, await nightlyPod({ claim: 'old-data-node' })],
    ['a worker of a restore', restore, await standbyPod()],
    [
      'a worker of the release before an upgrade',
      backup,
      await nightlyPod({}, (_, _spec, container) => {
        container.image = 'holdfast:0.0.9'
      }),
    ],
    [
      'a worker that the cluster labels',
      backup,
      await nightlyPod({}, ({ metadata }) => Object.assign(metadata?.labels ?? {}, { 'cost-center': '7' })),
    ],
    ['a worker with the identity of EKS', backup, await nightlyPod({}, token('sts.amazonaws.com'))],
    ['a worker with the identity of Azure', restore, await standbyPod(token('api://AzureADTokenExchange'))],
  ]
}

export async function nightlyPod({ claim = 'rondb-ndbmtd-node-group-0-0' } = {}, change?: Change): Promise<V1Pod> {
  return beside({ plan: 'nightly', volume: 'rondb-ndbmtd', folder: 'ndb/backups/BACKUP', claim }, change)
}

async function fewPod(): Promise<V1Pod> {
  return beside({ plan: 'few', volume: 'data', folder: 'BACKUP/here', claim: 'data-ndb-1' })
}

interface Beside {
  plan: string
  volume: string
  folder: string
  claim: string
}

async function beside({ plan, volume, folder, claim }: Beside, change?: Change): Promise<V1Pod> {
  const template = await templateOf(`backup-${plan}`)
  const owner: V1Pod = {
    spec: {
      nodeName: 'node-1',
      containers: [],
      tolerations: [{ key: 'ndb', operator: 'Exists' }],
      securityContext: { runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, supplementalGroups: [2000] },
      volumes: [{ name: volume, persistentVolumeClaim: { claimName: claim } }],
    },
  }
  const place = { access: 'volume', pod: { address: '10.0.0.1', names: [] }, volume, folder } as const
  return changed(workerBeside({ ...making(template), place, owner }), change)
}

export async function standbyPod(change?: Change): Promise<V1Pod> {
  return changed(workerWithRoom({ ...making(await templateOf('restore-standby')), room: 2 ** 30 }), change)
}

function making(template: Template) {
  const job = { name: 'now', uid: '00000000-0000-0000-0000-000000000001' }
  return { template, name: `${template.names}-0`, job, backupId: '1795218000', run: 'guards' }
}

async function templateOf(workload: string): Promise<Template> {
  const { data } = await admin.core.readNamespacedConfigMap({ namespace, name: `${release}-${workload}` })
  return parse(data?.['workers.yaml'] ?? '')
}

function changed(pod: V1Pod, change: Change | undefined): V1Pod {
  change?.(pod, pod.spec as V1PodSpec, container(pod))
  return pod
}

function container(pod: V1Pod): V1Container {
  return pod.spec?.containers[0] as V1Container
}

export async function make(account: Account, body: V1Pod): Promise<void> {
  await account.core.createNamespacedPod({ namespace, body, dryRun })
}
