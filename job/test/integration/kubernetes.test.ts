import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { apply, cluster, kubeconfigAs, kubectl, makeNamespace } from '../servers/kubernetes.ts'
import { openWorkspace, secrets, succeeds, type Workspace } from './harness.ts'
import { remembersRequests } from './memory.ts'

const missing = cluster.kubeconfig ? undefined : 'no KUBECONFIG'
if (missing) console.log(`objects of Kubernetes: skipped, ${missing}`)

const group = 'holdfast-test.example.org'
const objects = [
  { resource: 'secrets' },
  { resource: 'configmaps', selector: 'app=web' },
  { resource: 'services', names: ['web', 'headless'] },
  { resource: `doors.${group}` },
]

let space: Workspace
let dir: string
let namespace: { name: string; remove(): Promise<void> }

describe.skipIf(missing !== undefined)('objects of Kubernetes', () => {
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'hf-objects-'))
    await apply([door])
    await kubectl(['wait', `crd/doors.${group}`, '--for=condition=Established', '--timeout=60s'])
  })

  afterAll(async () => {
    await kubectl(['delete', 'crd', `doors.${group}`, '--wait=false'])
    await rm(dir, { recursive: true, force: true })
  })

  beforeEach(async () => {
    namespace = await makeNamespace('objects')
    space = await openWorkspace()
    space.env.KUBECONFIG = cluster.kubeconfig as string
    space.env.HOLDFAST_POD_NAMESPACE = namespace.name
    plan({})
    await apply(seeded(namespace.name))
  })

  afterEach(async () => {
    await namespace.remove()
    await space.remove()
  })

  test('come back as they were, in another namespace, too', async () => {
    const before = await held()
    await succeeds(space.holdfast('backup', 'nightly'))
    const other = await makeNamespace('objects')
    try {
      space.env.HOLDFAST_POD_NAMESPACE = other.name
      const { stdout } = await succeeds(space.holdfast('restore', 'back'))
      expect(stdout).toContain('objects 6')
      expect(await held(other.name)).toEqual(before)
      expect((await succeeds(space.holdfast('restore', 'back'))).stdout).toContain('already restored')
    } finally {
      await other.remove()
    }
  })

  test('that are there stay, and what is missing is made', async () => {
    await succeeds(space.holdfast('backup', 'nightly'))
    await kubectl(['-n', namespace.name, 'delete', 'secret', 'seed'])
    await kubectl(['-n', namespace.name, 'patch', 'configmap', 'web', '-p', '{"data":{"color":"changed"}}'])
    const { stdout } = await succeeds(space.holdfast('restore', 'back', '--output', 'json'))
    expect(JSON.parse(stdout).steps.objects).toMatchObject({
      create: { created: 1, replaced: 0, skipped: 5 },
      prove: { objects: 6, different: 1 },
    })
    expect((await held()).find((one) => one.metadata.name === 'web' && one.kind === 'ConfigMap')?.data.color).toBe(
      'changed',
    )
  })

  test('are restored once by a request, and are no backup while one is unfinished', async () => {
    space.values.restores.once = { ...(space.values.restores.back as object), token: 'memory' }
    const change = (round: number) =>
      kubectl(['-n', namespace.name, 'patch', 'configmap', 'web', '-p', `{"data":{"color":"${round}"}}`])
    await remembersRequests(space, { change, reach: held })
    const markers = async () =>
      JSON.parse(await kubectl(['-n', namespace.name, 'get', 'configmap', 'holdfast-restores', '-o', 'json'])).data
    const found = Object.values((await markers()) as Record<string, string>).map((text) => JSON.parse(text))
    const last = found.find(({ state }) => state === 'finished')
    const data = JSON.stringify({ data: { [last.request]: JSON.stringify({ ...last, state: 'begun' }) } })
    await kubectl(['-n', namespace.name, 'patch', 'configmap', 'holdfast-restores', '-p', data])
    const half = await space.holdfast('backup', 'nightly')
    expect([half.code, half.summary.error]).toEqual([25, expect.stringContaining('at work or did not end')])
  })

  test('that are there are replaced with overwrite', async () => {
    const before = await held()
    await succeeds(space.holdfast('backup', 'nightly'))
    await kubectl(['-n', namespace.name, 'patch', 'configmap', 'web', '-p', '{"data":{"color":"changed","more":"x"}}'])
    const { stdout } = await succeeds(space.holdfast('restore', 'back', '--overwrite', '--output', 'json'))
    expect(JSON.parse(stdout).steps.objects).toMatchObject({ create: { created: 0, replaced: 6, skipped: 0 } })
    expect(await held()).toEqual(before)
  })

  test('lie in the storage without what belongs to the server, as kubectl can make them', async () => {
    const { summary } = await succeeds(space.holdfast('backup', 'nightly'))
    const shown = await space.manifest('nightly', summary.backup as string)
    expect(JSON.stringify(shown)).not.toContain(Buffer.from(secrets.app).toString('base64'))
    expect(shown.sources[0]).toMatchObject({ engine: 'kubernetes', server: { product: 'Kubernetes' } })
    expect(shown.sources[0]?.facts).toMatchObject({ namespace: namespace.name, consistency: 'per-kind' })
  })

  test('that are chosen alone are restored', async () => {
    await succeeds(space.holdfast('backup', 'nightly'))
    await kubectl(['-n', namespace.name, 'delete', 'secret,configmap,service', '--all'])
    plan({ target: { objects: [{ resource: 'secrets', names: ['seed'] }] } })
    await succeeds(space.holdfast('restore', 'back'))
    expect((await held()).map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual([
      'Door front',
      'Secret seed',
    ])
  })

  test.each([
    ['Secrets without plaintext', { plaintext: false }, 2, /plaintext/],
    [
      'a name that is not there',
      { objects: [{ resource: 'configmaps', names: ['nobody'] }] },
      20,
      /no configmaps nobody/,
    ],
    ['labels that nothing has', { objects: [{ resource: 'configmaps', selector: 'app=no' }] }, 20, /has none of them/],
    ['a resource that is none', { objects: [{ resource: 'windows.example.org' }] }, 2, /knows no/],
    ['objects of the cluster', { objects: [{ resource: 'nodes' }] }, 2, /belong to the cluster/],
  ])('are not backed up with %s', async (_, values, code, error) => {
    plan({ source: values })
    const ran = await space.holdfast('backup', 'nightly')
    expect(ran.code, ran.stderr).toBe(code)
    expect(ran.summary.error).toMatch(error)
  })

  test('need the right to read them, and no more', async () => {
    await apply(account(namespace.name))
    const token = (await kubectl(['-n', namespace.name, 'create', 'token', 'reader'])).trim()
    space.env.KUBECONFIG = kubeconfigAs(token, dir)
    const ran = await space.holdfast('backup', 'nightly')
    expect(ran.code).toBe(22)
    expect(ran.summary.error).toMatch(/reader.* may not list secrets/)
    plan({ source: { objects: [{ resource: 'secrets', names: ['seed'] }] } })
    await succeeds(space.holdfast('backup', 'nightly'))
  })
})

function plan({ source = {}, target = {} }: { source?: object; target?: object }): void {
  space.values.backups.nightly = {
    storages: ['local'],
    sources: [{ name: 'objects', kubernetes: { objects, plaintext: true, ...source } }],
  }
  const wanted = objects.map(({ resource }) => ({ resource }))
  space.values.restores.back = {
    from: { plan: 'nightly', storages: ['local'] },
    targets: [{ name: 'objects', kubernetes: { objects: wanted, ...target } }],
  }
}

interface Held {
  kind: string
  metadata: { name: string; [key: string]: unknown }
  // biome-ignore lint/suspicious/noExplicitAny: objects have any shape
  [key: string]: any
}

/** What the namespace holds of ours, without what is the server's: an account of its own, not that of the engine. */
async function held(name = namespace.name): Promise<Held[]> {
  const kinds = `secrets,configmaps,services,doors.${group}`
  const { items } = JSON.parse(await kubectl(['-n', name, 'get', kinds, '-o', 'json'])) as { items: Held[] }
  return items
    .filter(({ metadata }) => metadata.name !== 'kube-root-ca.crt' && metadata.name !== 'holdfast-restores')
    .map(
      ({ kind, apiVersion, metadata: { name: own, labels, annotations }, data, binaryData, type, immutable, spec }) => {
        const { clusterIP, clusterIPs, ...others } = spec ?? {}
        const marks = { ...(annotations as object) } as Record<string, string>
        delete marks['kubectl.kubernetes.io/last-applied-configuration']
        const headless = clusterIP === 'None' && clusterIPs[0] === 'None'
        return {
          kind,
          apiVersion,
          metadata: { name: own, labels, marks },
          data,
          binaryData,
          type,
          immutable,
          headless,
          others,
        }
      },
    )
    .sort((a, b) => (`${a.kind} ${a.metadata.name}` < `${b.kind} ${b.metadata.name}` ? -1 : 1))
}

const door = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `doors.${group}` },
  spec: {
    group,
    scope: 'Namespaced',
    names: { plural: 'doors', singular: 'door', kind: 'Door' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
}

function seeded(name: string): object[] {
  const metadata = (own: string) => ({
    name: own,
    namespace: name,
    labels: { app: 'web' },
    annotations: { note: 'ü\n---\n' },
  })
  const port = { name: 'http', port: 80 }
  return [
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: metadata('seed'),
      type: 'example.org/own',
      data: { password: Buffer.from(secrets.app).toString('base64'), bytes: '/wD+', yes: 'eWVz' },
    },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: metadata('web'),
      data: { color: 'red', 'no.yaml': 'a: 0x1\n---\nb: "no"\n  \n', number: '1e3', empty: '' },
      binaryData: { bytes: '/wD+' },
    },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('fixed'), data: { a: 'b' }, immutable: true },
    { apiVersion: 'v1', kind: 'Service', metadata: metadata('web'), spec: { selector: { app: 'web' }, ports: [port] } },
    { apiVersion: 'v1', kind: 'Service', metadata: metadata('headless'), spec: { clusterIP: 'None', ports: [port] } },
    {
      apiVersion: `${group}/v1`,
      kind: 'Door',
      metadata: { name: 'front', namespace: name },
      spec: { open: false, since: '2026-01-01', list: [1, 1.5, null, 'on'], nested: { deep: {} } },
    },
  ]
}

function account(name: string): object[] {
  const metadata = { name: 'reader', namespace: name }
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata,
      rules: [
        { apiGroups: [''], resources: ['secrets'], resourceNames: ['seed'], verbs: ['get'] },
        { apiGroups: [''], resources: ['configmaps'], resourceNames: ['holdfast-restores'], verbs: ['get'] },
      ],
    },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reader' },
      subjects: [{ kind: 'ServiceAccount', name: 'reader' }],
    },
  ]
}
