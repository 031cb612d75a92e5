// Tries on a real cluster what the chart's accounts can do: test_scripts/guards installs the release.
//
//   node test_scripts/guards.ts NAMESPACE RELEASE
//
// Requests are made with the tokens of the accounts. Pods are those that the job would make, with one thing wrong. Nearly
// everything is a dry run, which passes the same admission.
import { setTimeout as pause } from 'node:timers/promises'
import {
  AdmissionregistrationV1Api,
  ApiException,
  Attach,
  AuthorizationV1Api,
  BatchV1Api,
  CoordinationV1Api,
  CoreV1Api,
  EventsV1Api,
  Exec,
  KubeConfig,
  NodeV1Api,
  PatchStrategy,
  RbacAuthorizationV1Api,
  setHeaderOptions,
  type V1Container,
  type V1Job,
  V1MicroTime,
  type V1Pod,
  type V1PodSpec,
  type V1Volume,
} from '@kubernetes/client-node'
import { parse } from 'yaml'
import { type Template, workerBeside, workerWithRoom } from '../job/kubernetes/template.ts'

const [namespace = '', release = ''] = process.argv.slice(2)
const other = `${namespace}-other`
const dryRun = 'All'
const tally = { passed: 0, failed: 0 }

type Account = Awaited<ReturnType<typeof accountNamed>>
type Change = (pod: V1Pod, spec: V1PodSpec, worker: V1Container) => unknown

const config = new KubeConfig()
config.loadFromDefault()
const admin = clients(config)
const backup = await accountNamed(`${release}-backup`)
const restore = await accountNamed(`${release}-restore`)
const worker = await accountNamed(`${release}-worker`)

await untilGuarded()
await typeChecks()
await rights()
await requests()
await podsInRestrictedNamespace()
await withRuntimeClass(podsRefusedByThePolicy)
await jobs()
console.log(`${tally.passed} passed, ${tally.failed} failed, 0 skipped`)
process.exitCode = tally.failed === 0 ? 0 : 1

/** A rule that names a field which this Kubernetes does not have would refuse everything. */
async function typeChecks(): Promise<void> {
  const api = config.makeApiClient(AdmissionregistrationV1Api)
  const ours = async () => {
    const { items } = await api.listValidatingAdmissionPolicy()
    return items.filter(({ spec }) => JSON.stringify(spec?.matchConditions).includes(`:${namespace}:`))
  }
  await until('the rules were checked', async () => (await ours()).every(({ status }) => status?.typeChecking))
  const checked = (await ours()).map(({ status }) =>
    status?.typeChecking?.expressionWarnings?.map((one) => one.warning),
  )
  same('the API server knows all fields that the rules name', checked.flat(), [undefined, undefined, undefined])
}

// --- what the accounts may do, to the letter ---

async function rights(): Promise<void> {
  await core().createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'nobody' } } })
  const everybody = await rightsOf(await accountNamed('nobody'))
  const beyond = async (account: Account) => (await rightsOf(account)).filter((right) => !everybody.includes(right))
  const workers = names(`${release}-backup-few-worker`, `${release}-backup-nightly-worker`)
  const restoreWorkers = names(`${release}-restore-standby-worker`)
  const dataNodes = ['ndb-0', 'ndb-1', 'node-group-0-0', 'node-group-0-1']
  same('the account of backups may do this and nothing else', await beyond(backup), [
    ...ofRun(['few', 'inside', 'nightly'].map((plan) => `${release}-backup-${plan}`)),
    ...ofWorkers(workers),
    ...dataNodes.map((pod) => `get pods ${pod}`),
    ...each(['create', 'get'], 'pods/exec', ['node-group-0-0', 'node-group-0-1']),
  ])
  same('the account of restores may do this and nothing else', await beyond(restore), [
    ...ofRun([`${release}-restore-standby`]),
    ...ofWorkers(restoreWorkers),
  ])
  same('the account of workers may do what every account may', await beyond(worker), [])
}

function ofRun(leases: string[]): string[] {
  return [
    'create leases.coordination.k8s.io',
    ...each(['get', 'update'], 'leases.coordination.k8s.io', leases),
    'create events.events.k8s.io',
    'patch jobs.batch',
  ]
}

function ofWorkers(pods: string[]): string[] {
  return [
    'create pods',
    'list pods',
    ...each(['delete', 'get'], 'pods', pods),
    ...each(['get'], 'pods/log', pods),
    ...each(['create', 'get'], 'pods/attach', pods),
  ]
}

function each(verbs: string[], resource: string, objects: string[]): string[] {
  return verbs.flatMap((verb) => objects.map((name) => `${verb} ${resource} ${name}`))
}

function names(...all: string[]): string[] {
  return all.flatMap((one) => [`${one}-0`, `${one}-1`])
}

/** What `kubectl auth can-i --list` shows. */
async function rightsOf(account: Account): Promise<string[]> {
  const review = await account.authorization.createSelfSubjectRulesReview({ body: { spec: { namespace } } })
  return (review.status?.resourceRules ?? []).flatMap(({ verbs, apiGroups = [], resources = [], resourceNames }) =>
    verbs.flatMap((verb) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => {
          const right = `${verb} ${group ? `${resource}.${group}` : resource}`
          return resourceNames?.length ? resourceNames.map((name) => `${right} ${name}`) : [right]
        }),
      ),
    ),
  )
}

// --- requests that have nothing to do with admission ---

async function requests(): Promise<void> {
  const pod = `${release}-backup-nightly-worker-0`
  const lease = `${release}-backup-nightly`
  const body = { metadata: { name: lease }, spec: {} }
  const event = { metadata: { name: 'run' }, regarding: { kind: 'Job', name: 'run', namespace } }
  const said = {
    eventTime: new V1MicroTime(),
    reportingController: 'holdfast',
    reportingInstance: 'run',
    type: 'Normal',
  }
  await admin.coordination.createNamespacedLease({ namespace, body: { metadata: { name: 'scheduler' } } })
  await allowed('a run takes its lease', () => backup.coordination.createNamespacedLease({ namespace, body }))
  await allowed('a run renews its lease', async () => {
    const mine = await backup.coordination.readNamespacedLease({ namespace, name: lease })
    await backup.coordination.replaceNamespacedLease({ namespace, name: lease, body: mine })
  })
  await allowed('a run tells what it does', () =>
    backup.events.createNamespacedEvent({
      namespace,
      body: { ...event, ...said, action: 'Backup', reason: 'Started' },
    }),
  )
  await refused("a run cannot read another's lease", /cannot get resource "leases"/, () =>
    backup.coordination.readNamespacedLease({ namespace, name: 'scheduler' }),
  )
  await refused("a restore cannot read a backup's lease", /cannot get resource "leases"/, () =>
    restore.coordination.readNamespacedLease({ namespace, name: lease }),
  )
  await refused('a run cannot read Secrets', /cannot list resource "secrets"/, () =>
    backup.core.listNamespacedSecret({ namespace }),
  )
  await refused('a run cannot make Jobs', /cannot create resource "jobs"/, () =>
    backup.batch.createNamespacedJob({ namespace, body: { metadata: { name: 'mine' } } as V1Job, dryRun }),
  )
  await refused('a run cannot make itself tokens', /cannot create resource "serviceaccounts\/token"/, () =>
    backup.core.createNamespacedServiceAccountToken({
      namespace,
      name: `${release}-restore`,
      body: { spec: { audiences: [] } },
    }),
  )
  await refused('a run cannot delete other pods', /cannot delete resource "pods"/, () =>
    backup.core.deleteNamespacedPod({ namespace, name: 'node-group-0-0' }),
  )
  await refused('a worker has no rights', /cannot list resource "pods"/, () =>
    worker.core.listNamespacedPod({ namespace }),
  )
  // there are no such pods: 404 comes after the right was seen
  await refused('a run may attach to its workers', /: 404$/, () => attach(backup, pod))
  await refused('a run may not attach to other pods', /: 403$/, () => attach(backup, 'node-group-0-0'))
  await refused('a restore may not attach to workers of backups', /: 403$/, () => attach(restore, pod))
  await refused("a run may run programs in data nodes' containers", /: 404$/, () => exec(backup, 'node-group-0-0'))
  await refused('a run may not run programs in workers', /: 403$/, () => exec(backup, pod))
  await refused('a restore may not run programs in data nodes', /: 403$/, () => exec(restore, 'node-group-0-0'))
}

/** The client fails with the answer of the API server to the request for a websocket. */
async function attach({ config }: Account, pod: string): Promise<void> {
  await new Attach(config).attach(namespace, pod, 'worker', process.stdout, process.stderr, null, false)
}

async function exec({ config }: Account, pod: string): Promise<void> {
  await new Exec(config).exec(namespace, pod, 'ndbmtd', ['ls'], process.stdout, process.stderr, null, false)
}

// --- pods that the job makes, where `restricted` Pod Security is enforced ---

async function podsInRestrictedNamespace(): Promise<void> {
  await enforce('restricted')
  for (const [title, account, pod] of await goodPods()) {
    await allowed(`${title} is made in a restricted namespace`, () => make(account, pod))
  }
  await refused(
    'a worker beside a data node of root is refused there',
    /violates PodSecurity .*runAsUser=0/,
    async () => make(backup, await nightlyPod({}, set({ securityContext: { runAsUser: 0 } }))),
  )
  const pod = await nightlyPod({}, ({ metadata }) => {
    // there is no such Job: its pod would be swept away
    delete metadata?.ownerReferences
  })
  const name = pod.metadata?.name ?? ''
  await allowed('a worker is made, seen, read and deleted', async () => {
    await backup.core.createNamespacedPod({ namespace, body: pod })
    await backup.core.listNamespacedPod({ namespace })
    await backup.core.readNamespacedPod({ namespace, name })
    await backup.core.deleteNamespacedPod({ namespace, name, gracePeriodSeconds: 0 })
  })
}

async function goodPods(): Promise<[string, Account, V1Pod][]> {
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

// --- pods with one thing wrong, where Pod Security does not stand in the way ---

async function podsRefusedByThePolicy(): Promise<void> {
  await enforce('privileged')
  for (const [title, account, pod] of await goodPods()) {
    await allowed(`${title} is made`, () => make(account, pod))
  }
  for (const [what, message, change] of wrongPods()) {
    const pod = await nightlyPod({}, change)
    await refused(`a pod ${what} is refused`, message, () => make(backup, pod))
  }
  for (const [what, message, change] of wrongRestorePods()) {
    const pod = await standbyPod(change)
    await refused(`a pod of a restore ${what} is refused`, message, () => make(restore, pod))
  }
  await refused('a worker of a backup is refused to restores', /no worker pod is named/, async () =>
    make(restore, await nightlyPod()),
  )
  await mayMakePodsElsewhere()
  await refused('a worker in another namespace is refused', /in namespace .* only, not in .*-other/, async () =>
    backup.core.createNamespacedPod({ namespace: other, body: await nightlyPod(), dryRun }),
  )
}

function wrongPods(): [string, RegExp, Change][] {
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

function wrongRestorePods(): [string, RegExp, Change][] {
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

function rename(name: string): Change {
  return ({ metadata }) => Object.assign(metadata ?? {}, { name })
}

function label(labels: Record<string, string>): Change {
  return ({ metadata }) => Object.assign(metadata?.labels ?? {}, labels)
}

function set(fields: Partial<Record<keyof V1PodSpec, unknown>>): Change {
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

// --- Jobs: the account may patch all of them ---

async function jobs(): Promise<void> {
  const mine = `${release}-backup-nightly`
  const { spec } = await admin.batch.readNamespacedCronJob({ namespace, name: mine })
  const template = spec?.jobTemplate
  const body = {
    metadata: { ...template?.metadata, name: 'now', annotations: { owner: 'me' } },
    spec: { ...template?.spec, suspend: true },
  } as V1Job
  await admin.batch.createNamespacedJob({ namespace, body })
  await admin.batch.createNamespacedJob({
    namespace,
    body: { ...body, metadata: { name: 'foreign', labels: { app: 'other' } } },
  })
  await allowed('a run annotates its Job', () =>
    patch('now', { metadata: { annotations: { 'holdfast/backup': '1' } } }),
  )
  const wrong: [string, RegExp, object][] = [
    [
      'an annotation of others',
      /annotations .* begin with holdfast/,
      { annotations: { 'kubectl.kubernetes.io/x': '1' } },
    ],
    ['an annotation that is there', /annotations .* begin with holdfast/, { annotations: { owner: null } }],
    ['its labels', /labels, owners and finalizers/, { labels: { a: 'b' } }],
    ['its finalizers', /labels, owners and finalizers/, { finalizers: ['a/b'] }],
    [
      'its owner',
      /labels, owners and finalizers/,
      { ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'gone', uid: 'gone' }] },
    ],
  ]
  for (const [what, message, metadata] of wrong) {
    await refused(`a run cannot change of its Job ${what}`, message, () => patch('now', { metadata }))
  }
  await refused('a run cannot start a suspended Job', /spec of a Job/, () => patch('now', { spec: { suspend: false } }))
  await refused('a run cannot move the pods of a suspended Job', /spec of a Job/, () =>
    patch('now', { spec: { template: { spec: { nodeSelector: { a: 'b' } } } } }),
  )
  await refused("a run cannot annotate others' Jobs", /Job foreign is not one of release/, () =>
    patch('foreign', { metadata: { annotations: { 'holdfast/backup': '1' } } }),
  )
}

async function patch(name: string, body: object): Promise<void> {
  const merge = setHeaderOptions('Content-Type', PatchStrategy.MergePatch)
  await backup.batch.patchNamespacedJob({ namespace, name, body, dryRun }, merge)
}

// --- pods as the job makes them ---

async function nightlyPod({ claim = 'rondb-ndbmtd-node-group-0-0' } = {}, change?: Change): Promise<V1Pod> {
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

async function standbyPod(change?: Change): Promise<V1Pod> {
  return changed(workerWithRoom({ ...making(await templateOf('restore-standby')), room: 2 ** 30 }), change)
}

function making(template: Template) {
  const job = { name: 'now', uid: '00000000-0000-0000-0000-000000000001' }
  return { template, name: `${template.names}-0`, job, backupId: '1795218000', run: 'guards' }
}

async function templateOf(workload: string): Promise<Template> {
  const { data } = await core().readNamespacedConfigMap({ namespace, name: `${release}-${workload}` })
  return parse(data?.['workers.yaml'] ?? '')
}

function changed(pod: V1Pod, change: Change | undefined): V1Pod {
  change?.(pod, pod.spec as V1PodSpec, container(pod))
  return pod
}

function container(pod: V1Pod): V1Container {
  return pod.spec?.containers[0] as V1Container
}

async function make(account: Account, body: V1Pod): Promise<void> {
  await account.core.createNamespacedPod({ namespace, body, dryRun })
}

// --- the cluster ---

function clients(config: KubeConfig) {
  return {
    config,
    core: config.makeApiClient(CoreV1Api),
    batch: config.makeApiClient(BatchV1Api),
    coordination: config.makeApiClient(CoordinationV1Api),
    events: config.makeApiClient(EventsV1Api),
    authorization: config.makeApiClient(AuthorizationV1Api),
  }
}

function core(): CoreV1Api {
  return admin.core
}

/** With a token of the account, as its pods have one. */
async function accountNamed(name: string) {
  const { status } = await core().createNamespacedServiceAccountToken({
    namespace,
    name,
    body: { spec: { audiences: [], expirationSeconds: 3600 } },
  })
  const cluster = config.getCurrentCluster()
  const own = new KubeConfig()
  own.loadFromClusterAndUser(cluster as NonNullable<typeof cluster>, { name, token: status?.token ?? '' })
  return clients(own)
}

/** The API server takes some seconds until a new policy counts. */
async function untilGuarded(): Promise<void> {
  await until('the policy on pods of backups counts', async () => {
    const pod = await nightlyPod({}, rename('thief'))
    return /ValidatingAdmissionPolicy/.test(await answer(() => make(backup, pod)))
  })
  await until('the policy on pods of restores counts', async () => {
    const pod = await standbyPod(rename('thief'))
    return /ValidatingAdmissionPolicy/.test(await answer(() => make(restore, pod)))
  })
}

async function enforce(level: string): Promise<void> {
  const body = { metadata: { labels: { 'pod-security.kubernetes.io/enforce': level } } }
  await core().patchNamespace({ name: namespace, body }, setHeaderOptions('Content-Type', PatchStrategy.MergePatch))
  await until(`Pod Security ${level} counts`, async () => {
    const body: V1Pod = {
      metadata: { name: 'host' },
      spec: { hostNetwork: true, containers: [{ name: 'a', image: 'a' }] },
    }
    const said = await answer(() => core().createNamespacedPod({ namespace, body, dryRun }))
    return (said === 'done') === (level === 'privileged')
  })
}

async function mayMakePodsElsewhere(): Promise<void> {
  const rbac = config.makeApiClient(RbacAuthorizationV1Api)
  const metadata = { name: 'pods' }
  const rules = [{ apiGroups: [''], resources: ['pods'], verbs: ['create'] }]
  await core().createNamespacedServiceAccount({ namespace: other, body: { metadata: { name: `${release}-worker` } } })
  await rbac.createNamespacedRole({ namespace: other, body: { metadata, rules } })
  const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'pods' }
  const subjects = [{ kind: 'ServiceAccount', name: `${release}-backup`, namespace }]
  await rbac.createNamespacedRoleBinding({ namespace: other, body: { metadata, roleRef, subjects } })
}

/** It belongs to no namespace, so it goes with none. */
async function withRuntimeClass(work: () => Promise<void>): Promise<void> {
  const node = config.makeApiClient(NodeV1Api)
  await node.createRuntimeClass({ body: { metadata: { name: namespace }, handler: 'other' } })
  try {
    await work()
  } finally {
    await node.deleteRuntimeClass({ name: namespace })
  }
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited a minute: ${what}`)
    await pause(200)
  }
}

// --- what came of it ---

async function allowed(title: string, request: () => Promise<unknown>): Promise<void> {
  const said = await answer(request)
  told(title, said === 'done', said)
}

async function refused(title: string, message: RegExp, request: () => Promise<unknown>): Promise<void> {
  const said = await answer(request)
  told(title, message.test(said), said)
}

function same<T>(title: string, found: T[], expected: T[]): void {
  const more = found.filter((one) => !expected.includes(one))
  const less = expected.filter((one) => !found.includes(one))
  told(title, more.length + less.length === 0, `more: ${more.join(', ')}; less: ${less.join(', ')}`)
}

function told(title: string, good: boolean, said: string): void {
  tally[good ? 'passed' : 'failed'] += 1
  console.log(good ? `ok      ${title}` : `FAILED  ${title}: ${said}`)
}

/** `done`, or what the API server said against it. */
async function answer(request: () => Promise<unknown>): Promise<string> {
  try {
    await request()
    return 'done'
  } catch (error) {
    if (error instanceof ApiException) return JSON.parse(String(error.body)).message
    return error instanceof Error ? error.message : String((error as { message?: unknown }).message ?? error)
  }
}
