import type { V1Container, V1Pod, V1PodSecurityContext } from '@kubernetes/client-node'
import { describe, expect, test } from 'vitest'
import { type Template, workerBeside } from '../../kubernetes/template.ts'

const template: Template = {
  names: 'nightly-worker',
  max: 2,
  scratch: {},
  pod: {
    metadata: { labels: { 'app.kubernetes.io/component': 'worker' } },
    spec: { securityContext: { runAsUser: 65532, runAsNonRoot: true }, containers: [{ name: 'worker' }] },
  },
}
const place = { access: 'volume', pod: { address: '10.0.0.7', names: [] }, volume: 'rows', folder: 'BACKUP' } as const

/** The security of a worker beside a pod with these containers. */
function beside(containers: V1Container[], securityContext: V1PodSecurityContext = {}) {
  const volumes = [{ name: 'rows', persistentVolumeClaim: { claimName: 'rows-node-0' } }]
  const owner: V1Pod = { metadata: { name: 'node-0' }, spec: { containers, volumes, securityContext } }
  const making = { template, name: 'nightly-worker-0', job: undefined, backupId: '1', run: 'r' }
  return workerBeside({ ...making, place, owner }).spec?.securityContext
}

describe('a worker beside a data node', () => {
  const mesh = { name: 'istio-proxy', securityContext: { runAsUser: 1337, runAsGroup: 1337 } }
  const volumeMounts = [{ name: 'rows', mountPath: '/srv' }]

  test.each([
    [
      'of its container',
      beside([{ name: 'ndbmtd', volumeMounts, securityContext: { runAsUser: 999, runAsGroup: 998 } }]),
      { runAsUser: 999, runAsGroup: 998 },
    ],
    [
      'of its pod',
      beside([{ name: 'ndbmtd', volumeMounts }], { runAsUser: 999, fsGroup: 998 }),
      { runAsUser: 999, fsGroup: 998 },
    ],
    [
      'and the SELinux level, so that the volume keeps its label',
      beside([{ name: 'ndbmtd', volumeMounts, securityContext: { seLinuxOptions: { level: 's0:c1,c2' } } }]),
      { runAsUser: 65532, seLinuxOptions: { level: 's0:c1,c2' } },
    ],
    [
      'of the container that has the volume, not of a sidecar before it',
      beside([mesh, { name: 'ndbmtd', volumeMounts, securityContext: { runAsUser: 999, runAsGroup: 998 } }]),
      { runAsUser: 999, runAsGroup: 998 },
    ],
    [
      'of the pod, and not of a sidecar before the container that has the volume',
      beside([mesh, { name: 'ndbmtd', volumeMounts }], { runAsUser: 999 }),
      { runAsUser: 999 },
    ],
    [
      'that the values give workers, where it says none',
      beside([{ name: 'ndbmtd', volumeMounts }]),
      { runAsUser: 65532 },
    ],
  ])('takes the ids %s', (_, security, ids) => {
    expect(security).toEqual({ runAsNonRoot: true, fsGroupChangePolicy: 'OnRootMismatch', ...ids })
  })
})
