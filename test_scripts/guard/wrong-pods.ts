/** Pods with one thing wrong: what, the message that refuses it, and the change. */

import type { V1Container, V1PodSpec, V1Volume } from '@kubernetes/client-node'
import { namespace, release } from './accounts.ts'
import type { Change } from './pods.ts'

export function wrongPods(): [string, RegExp, Change][] {
  return [
    ['of another name', /no worker pod is named thief/, rename('thief')],
    ['beyond workers.max', /no worker pod is named .*-worker-2/, rename(`${release}-backup-nightly-worker-2`)],
    [
      'of a generated name',
      /no worker pod is named .*-worker-/,
      ({ metadata }) =>
        Object.assign(metadata ?? {}, { name: undefined, generateName: 'guards-backup-nightly-worker-' }),
    ],
    ['with a label that a Service may select', /no such labels: app=mysqld/, label({ app: 'mysqld' })],
    ['with another value of a label', /no such labels: rondbService=ndbmtd/, label({ rondbService: 'ndbmtd' })],
    [
      'without the labels that NetworkPolicies select',
      /have the labels app.kubernetes.io\/name/,
      ({ metadata }) => Object.assign(metadata ?? {}, { labels: {} }),
    ],
    [
      'with the account of backups',
      /run as .*-worker, not as .*-backup/,
      set({ serviceAccountName: `${release}-backup` }),
    ],
    ['with the default account', /run as .*-worker, not as default/, set({ serviceAccountName: 'default' })],
    ['with a token', /get no token/, set({ automountServiceAccountToken: true })],
    ['that leaves the token to its account', /get no token/, set({ automountServiceAccountToken: undefined })],
    ['with a second container', /one container/, (_, spec, own) => spec.containers.push({ ...own, name: 'second' })],
    [
      'with an init container',
      /one container/,
      (_, spec, own) => Object.assign(spec, { initContainers: [{ ...own, name: 'first' }] }),
    ],
    ['of another image', /not busybox/, contain({ image: 'busybox' })],
    ['of an image whose name begins like ours', /not holdfast-evil:1/, contain({ image: 'holdfast-evil:1' })],
    [
      'of an image of our name elsewhere',
      /not evil.example\/holdfast:1/,
      contain({ image: 'evil.example/holdfast:1' }),
    ],
    ['of an image below ours', /not holdfast:5000\/evil/, contain({ image: 'holdfast:5000/evil' })],
    ['with another command', /run \/app\/holdfast worker/, contain({ command: ['sh', '-c', 'cat /secrets/*/*'] })],
    ["with the image's own command", /run \/app\/holdfast worker/, contain({ command: undefined })],
    [
      'with more words after the command',
      /run \/app\/holdfast worker/,
      contain({ command: ['/app/holdfast', 'worker', 'x'] }),
    ],
    ['with arguments', /run \/app\/holdfast worker/, contain({ args: ['--secrets-dir', '/'] })],
    ['with a hook', /no hooks/, contain({ lifecycle: { postStart: { exec: { command: ['sh'] } } } })],
    ['with a probe', /no hooks and no probes/, contain({ livenessProbe: { exec: { command: ['sh'] } } })],
    ['with a readiness probe', /no hooks and no probes/, contain({ readinessProbe: { exec: { command: ['sh'] } } })],
    ['with a startup probe', /no hooks and no probes/, contain({ startupProbe: { exec: { command: ['sh'] } } })],
    ["in the machine's network", /network, processes or ports/, set({ hostNetwork: true })],
    ["among the machine's processes", /network, processes or ports/, set({ hostPID: true })],
    ["with the machine's shared memory", /network, processes or ports/, set({ hostIPC: true })],
    [
      'with a port of the machine',
      /network, processes or ports/,
      contain({ ports: [{ containerPort: 1, hostPort: 1 }] }),
    ],
    ['past the scheduler', /no nodeName/, set({ nodeName: 'node-1' })],
    ['of another runtime', /runtimeClassName/, set({ runtimeClassName: namespace })],
    ['with a device', /resourceClaims/, set({ resourceClaims: [{ name: 'gpu', resourceClaimName: 'gpu' }] })],
    ['that pushes others away', /priority of the system/, set({ priorityClassName: 'system-node-critical' })],
    ['that is privileged', /no privileges/, secure({ privileged: true, allowPrivilegeEscalation: true })],
    ['that may escalate', /no privileges/, secure({ allowPrivilegeEscalation: true })],
    ['that does not say it may not escalate', /no privileges/, secure({ allowPrivilegeEscalation: undefined })],
    ['with a capability', /no privileges/, secure({ capabilities: { add: ['SYS_PTRACE'] } })],
    [
      "with the machine's /proc unmasked",
      /no privileges/,
      (_, spec, own) => {
        spec.hostUsers = false
        Object.assign(own.securityContext ?? {}, { procMount: 'Unmasked' })
      },
    ],
    ['without seccomp', /no privileges/, secure({ seccompProfile: { type: 'Unconfined' } })],
    ['all without seccomp', /no privileges/, set({ securityContext: { seccompProfile: { type: 'Unconfined' } } })],
    ['with a folder of the machine', /wrong: x/, volume({ hostPath: { path: '/' } })],
    ['with a volume of NFS', /wrong: x/, volume({ nfs: { server: 's', path: '/' } })],
    ['with a volume of CSI', /wrong: x/, volume({ csi: { driver: 'secrets-store.csi.k8s.io' } })],
    ['with another image as a volume', /wrong: x/, volume({ image: { reference: 'evil' } })],
    [
      'with a token for the API server',
      /volume x has more than tokens/,
      projected({ serviceAccountToken: { path: 't' } }),
    ],
    [
      'with a token for anybody else',
      /volume x has more than tokens/,
      projected({ serviceAccountToken: { path: 't', audience: 'vault' } }),
    ],
    ['with a Secret among others', /volume x has more than tokens/, projected({ secret: { name: 'mysql-passwords' } })],
    [
      'with another Secret',
      /do not mount the Secret mysql-passwords/,
      volume({ secret: { secretName: 'mysql-passwords' } }),
    ],
    [
      'with a Secret of restores',
      /do not mount the Secret rondb-restore/,
      volume({ secret: { secretName: 'rondb-restore' } }),
    ],
    ['with another ConfigMap', /do not mount the ConfigMap settings/, volume({ configMap: { name: 'settings' } })],
    ['with another claim', /do not mount the claim data-mysqld-0/, claim('data-mysqld-0')],
    [
      'with the claim of a data node beyond the named StatefulSet',
      /do not mount the claim data-ndb-2/,
      claim('data-ndb-2', 'BACKUP'),
    ],
    [
      "with all of a data node's volume",
      /only this folder is mounted: .*; wrong: \/x/,
      claim('rondb-ndbmtd-node-group-0-0'),
    ],
    ["with another folder of a data node's volume", /wrong: \/x/, claim('rondb-ndbmtd-node-group-0-0', 'ndb')],
    ["with all of a named StatefulSet's volume", /wrong: \/x/, claim('data-ndb-0')],
    ['with all of a claim that the values name', /wrong: \/x/, claim('old-data-node')],
    [
      "with a computed folder of a data node's volume",
      /wrong: \/x/,
      (_, spec, own) => {
        spec.volumes?.push({ name: 'x', persistentVolumeClaim: { claimName: 'rondb-ndbmtd-node-group-0-0' } })
        own.volumeMounts?.push({ name: 'x', mountPath: '/x', subPathExpr: '$(TMPDIR)' })
      },
    ],
    [
      'with a block device',
      /volumes of worker pods/,
      (_, spec, own) => {
        spec.volumes?.push({ name: 'x', persistentVolumeClaim: { claimName: 'rondb-ndbmtd-node-group-0-0' } })
        own.volumeDevices = [{ name: 'x', devicePath: '/dev/x' }]
      },
    ],
    [
      'with a variable of another Secret',
      /no such environment variables .*: KEY/,
      variable({ secretKeyRef: { name: 'mysql-passwords', key: 'root' } }),
    ],
    [
      'with a variable of another ConfigMap',
      /no such environment variables .*: KEY/,
      variable({ configMapKeyRef: { name: 'settings', key: 'root' } }),
    ],
    [
      'with all variables of a Secret',
      /no such environment variables/,
      contain({ envFrom: [{ secretRef: { name: 's3-keys' } }] }),
    ],
  ]
}

export function wrongRestorePods(): [string, RegExp, Change][] {
  return [
    [
      'with the claim of a data node',
      /do not mount the claim rondb-ndbmtd-/,
      claim('rondb-ndbmtd-node-group-0-0', 'ndb/backups'),
    ],
    [
      'with a claim that the values name',
      /do not mount the claim old-data-node/,
      claim('old-data-node', 'ndb/backups'),
    ],
    ['with the claim of a storage it does not use', /do not mount the claim backups/, claim('backups')],
    [
      'with a Secret of backups',
      /do not mount the Secret rondb-backup/,
      volume({ secret: { secretName: 'rondb-backup' } }),
    ],
    [
      'with a copy of a claim',
      /volume scratch is not a new, empty one/,
      room({ dataSource: { kind: 'PersistentVolumeClaim', name: 'data-mysqld-0' } }),
    ],
    [
      'with a copy of a snapshot',
      /volume scratch is not a new, empty one/,
      room({ dataSourceRef: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'data' } }),
    ],
    ['with a volume that is there', /volume scratch is not a new, empty one/, room({ volumeName: 'pv-of-mysqld' })],
    ['with a chosen volume', /volume scratch is not a new, empty one/, room({ selector: { matchLabels: { a: 'b' } } })],
    ['with a volume of another class', /volume scratch is not a new, empty one/, room({ storageClassName: 'host' })],
    [
      'with a volume that its driver copies',
      /volume scratch is not a new, empty one/,
      (_, spec) => {
        const template = spec.volumes?.find(({ ephemeral }) => ephemeral)?.ephemeral?.volumeClaimTemplate
        Object.assign(template ?? {}, {
          metadata: { annotations: { 'trident.netapp.io/cloneFromPVC': 'data-mysqld-0' } },
        })
      },
    ],
  ]
}

export function rename(name: string): Change {
  return ({ metadata }) => Object.assign(metadata ?? {}, { name })
}

function label(labels: Record<string, string>): Change {
  return ({ metadata }) => Object.assign(metadata?.labels ?? {}, labels)
}

export function set(fields: Partial<Record<keyof V1PodSpec, unknown>>): Change {
  return (_, spec) => Object.assign(spec, fields)
}

function contain(fields: Partial<Record<keyof V1Container, unknown>>): Change {
  return (_, _spec, own) => Object.assign(own, fields)
}

function secure(fields: Partial<Record<keyof NonNullable<V1Container['securityContext']>, unknown>>): Change {
  return (_, _spec, own) => Object.assign(own.securityContext ?? {}, fields)
}

function volume(source: Partial<V1Volume>): Change {
  return (_, spec) => spec.volumes?.push({ name: 'x', ...source })
}

function projected(source: object): Change {
  return volume({ projected: { sources: [source] } })
}

function claim(claimName: string, subPath?: string): Change {
  return (_, spec, own) => {
    spec.volumes?.push({ name: 'x', persistentVolumeClaim: { claimName } })
    own.volumeMounts?.push({ name: 'x', mountPath: '/x', ...(subPath ? { subPath } : {}) })
  }
}

function variable(valueFrom: object): Change {
  return (_, _spec, own) => own.env?.push({ name: 'KEY', valueFrom })
}

function room(fields: object): Change {
  return (_, spec) =>
    Object.assign(spec.volumes?.find(({ ephemeral }) => ephemeral)?.ephemeral?.volumeClaimTemplate?.spec ?? {}, fields)
}
