/** What the accounts may do, by their Roles. */

import { Attach, Exec, type V1Job, V1MicroTime } from '@kubernetes/client-node'
import { type Account, accountNamed, admin, backup, dryRun, namespace, release, restore, worker } from './accounts.ts'
import { allowed, refused, same } from './tally.ts'

/** To the letter. */
export async function rights(): Promise<void> {
  await admin.core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'nobody' } } })
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
    ...ofHooks(),
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

function ofHooks(): string[] {
  return [
    'get pods app-0',
    ...each(['create', 'get'], 'pods/exec', ['app-0']),
    'list pods',
    'get statefulsets.apps queue',
    'patch statefulsets/scale.apps queue',
    'create configmaps',
    ...each(['delete', 'get', 'update'], 'configmaps', [`${release}-backup-few-scaled`]),
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

/** Requests that have nothing to do with admission. */
export async function requests(): Promise<void> {
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
  await refused('a run may run programs in the pods that hooks name', /: 404$/, () => exec(backup, 'app-0'))
  await refused('a run cannot change what it scales', /cannot patch resource "statefulsets" in/, () =>
    backup.apps.patchNamespacedStatefulSet({ namespace, name: 'queue', body: [] }),
  )
  await refused('a run cannot read ConfigMaps', /cannot get resource "configmaps"/, () =>
    backup.core.readNamespacedConfigMap({ namespace, name: 'settings' }),
  )
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
