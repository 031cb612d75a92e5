// Tries on a real cluster what the chart's accounts can do: test_scripts/guards installs the release.
//
//   node test_scripts/guards.ts NAMESPACE RELEASE
//
// Requests are made with the tokens of the accounts. Pods are those that the job would make, with one thing wrong. Nearly
// everything is a dry run, which passes the same admission.
import {
  AdmissionregistrationV1Api,
  NodeV1Api,
  PatchStrategy,
  RbacAuthorizationV1Api,
  setHeaderOptions,
  type V1Job,
  type V1Pod,
} from '@kubernetes/client-node'
import { admin, backup, config, dryRun, namespace, release, restore } from './guard/accounts.ts'
import { goodPods, make, nightlyPod, standbyPod } from './guard/pods.ts'
import { requests, rights } from './guard/rights.ts'
import { allowed, answer, refused, same, tally, until } from './guard/tally.ts'
import { rename, set, wrongPods, wrongRestorePods } from './guard/wrong-pods.ts'

const other = `${namespace}-other`

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

// --- the cluster ---

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
  await admin.core.patchNamespace({ name: namespace, body }, setHeaderOptions('Content-Type', PatchStrategy.MergePatch))
  await until(`Pod Security ${level} counts`, async () => {
    const body: V1Pod = {
      metadata: { name: 'host' },
      spec: { hostNetwork: true, containers: [{ name: 'a', image: 'a' }] },
    }
    const said = await answer(() => admin.core.createNamespacedPod({ namespace, body, dryRun }))
    return (said === 'done') === (level === 'privileged')
  })
}

async function mayMakePodsElsewhere(): Promise<void> {
  const rbac = config.makeApiClient(RbacAuthorizationV1Api)
  const metadata = { name: 'pods' }
  const rules = [{ apiGroups: [''], resources: ['pods'], verbs: ['create'] }]
  await admin.core.createNamespacedServiceAccount({
    namespace: other,
    body: { metadata: { name: `${release}-worker` } },
  })
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
