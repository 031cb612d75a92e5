import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { textOf } from '../../errors.ts'
import { connect } from '../../kubernetes/client.ts'
import { type Held, type HoldOptions, hold } from '../../kubernetes/lease.ts'
import { startTcpProxy, type TcpProxy } from '../fakes/tcp-proxy.ts'
import { slowly } from '../patience.ts'
import { apply, cluster, kubeconfigAs, kubeconfigBy, kubectl, makeNamespace } from '../servers/kubernetes.ts'

if (!cluster.kubeconfig) console.log('leases: skipped, no KUBECONFIG')

const seconds = (count: number) => count * 1000
/** As in production, but quicker. */
const times = { duration: seconds(6), deadline: seconds(4), renew: seconds(1), retry: 250 }

describe.skipIf(!cluster.kubeconfig)('a lease on a real API server', () => {
  let dir: string
  let namespace: string
  let remove: () => Promise<void>
  let proxy: TcpProxy
  let proxied: string
  let name: string
  let count = 0
  const cleanUps: (() => unknown)[] = []

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'hf-lease-'))
    const made = await makeNamespace('lease')
    namespace = made.name
    remove = made.remove
    const { server } = kubeconfigBy('unknown', dir)
    proxy = await startTcpProxy({ host: server.hostname, port: Number(server.port || 443) })
    proxied = kubeconfigBy(`127.0.0.1:${proxy.port}`, dir).file
  })

  afterEach(async () => {
    proxy.open()
    for (const cleanUp of cleanUps.splice(0)) await cleanUp()
    name = ''
  })

  afterAll(async () => {
    await proxy?.stop()
    await remove?.()
    await rm(dir, { recursive: true, force: true })
  })

  /** Each test has a lease of its own. */
  function leaseName(): string {
    name ||= `plan-${++count}`
    return name
  }

  interface Contender extends Partial<HoldOptions> {
    kubeconfig?: string
    identity?: string
    said?: string[]
  }

  function contend({ kubeconfig, identity = 'second_1', said = [], ...options }: Contender = {}): Promise<Held> {
    const holding = hold(leaseName(), {
      cluster: connect({ kubeconfig: kubeconfig ?? (cluster.kubeconfig as string), podNamespace: namespace }),
      holder: { identity },
      wait: false,
      signal: new AbortController().signal,
      log: pino({}, { write: (line: string) => void said.push(JSON.parse(line).msg) }),
      times,
      ...options,
    })
    holding.then(
      (held) => cleanUps.push(held.release),
      () => {},
    )
    return holding
  }

  /** A holder that is a process of its own. */
  async function holder({ identity = 'first_1', skewMs = 0 } = {}): Promise<ChildProcess> {
    const options = { kubeconfig: cluster.kubeconfig, namespace, name: leaseName(), identity, times, skewMs }
    const script = join(import.meta.dirname, '../bin/hold.ts')
    const child = spawn(process.execPath, [script, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'] })
    cleanUps.push(() => child.kill('SIGKILL'))
    const [line] = await once(createInterface(child.stdout), 'line')
    expect(line).toBe('held')
    return child
  }

  async function kill(child: ChildProcess): Promise<void> {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async function lease() {
    return JSON.parse(await kubectl(['-n', namespace, 'get', 'lease', leaseName(), '-o', 'json'])).spec
  }

  test('goes to one of two, and the other one is told who has it', async () => {
    const both = await Promise.allSettled([contend({ identity: 'a_1' }), contend({ identity: 'b_1' })])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    const { holderIdentity } = await lease()
    const refused = both.find((one) => one.status === 'rejected')
    expect(refused?.reason).toMatchObject({
      kind: 'busy',
      message: expect.stringMatching(
        new RegExp(
          `^pod ${holderIdentity[0]} has held Lease ${name} since \\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$`,
        ),
      ),
    })
  })

  test('is free at once when it was released', async () => {
    const first = await contend({ identity: 'first_1' })
    await first.release()
    expect(await lease()).toMatchObject({ holderIdentity: '' })
    await contend({ identity: 'second_1' })
    expect(await lease()).toMatchObject({ holderIdentity: 'second_1', leaseTransitions: 1 })
  })

  test('is waited for', async () => {
    const first = await contend({ identity: 'first_1' })
    const said: string[] = []
    const second = contend({ wait: true, said })
    await vi.waitUntil(async () => said.length > 0, slowly)
    const { renewTime } = await lease()
    await vi.waitUntil(async () => (await lease()).renewTime > renewTime, slowly)
    expect(await lease()).toMatchObject({ holderIdentity: 'first_1' })
    await first.release()
    await second
    expect(await lease()).toMatchObject({ holderIdentity: 'second_1' })
    expect(said).toEqual(['waiting for the run that holds the lease'])
  })

  test.each([
    ['', 0],
    [' and its clock was an hour ahead', seconds(3600)],
    [' and its clock was an hour behind', -seconds(3600)],
  ])('is taken over when its holder was killed%s, but not before', async (_, skewMs) => {
    const child = await holder({ skewMs })
    await expect(contend()).rejects.toMatchObject({ kind: 'busy' })
    await kill(child)
    const before = Date.now()
    await contend()
    expect(Date.now() - before).toBeGreaterThanOrEqual(times.duration)
    expect(await lease()).toMatchObject({ holderIdentity: 'second_1', leaseTransitions: 1 })
  })

  test('is lost when somebody else holds it', async () => {
    const { lost } = await contend({ identity: 'first_1' })
    const patch = JSON.stringify({ spec: { holderIdentity: 'thief_1' } })
    await kubectl(['-n', namespace, 'patch', 'lease', name, '--type=merge', '-p', patch])
    await vi.waitUntil(() => lost.aborted, slowly)
    expect(lost.reason).toMatchObject({
      kind: 'busy',
      message: expect.stringContaining(`Lease ${name} was taken over by pod thief`),
    })
  })

  test('is kept while a person labels it', async () => {
    const { lost } = await contend({ identity: 'first_1' })
    await kubectl(['-n', namespace, 'label', 'lease', name, 'team=shop'])
    const { renewTime } = await lease()
    await vi.waitUntil(async () => (await lease()).renewTime > renewTime, slowly)
    expect(lost.aborted).toBe(false)
  })

  test('is kept when the API server is away for a moment', async () => {
    const said: string[] = []
    const { lost } = await contend({ identity: 'first_1', kubeconfig: proxied, said })
    proxy.close()
    await vi.waitUntil(() => said.length > 0, slowly)
    proxy.open()
    const { renewTime } = await lease()
    await vi.waitUntil(async () => (await lease()).renewTime > renewTime, slowly)
    expect(lost.aborted).toBe(false)
    // the API server knows of it before the holder has its answer
    await vi.waitUntil(() => said.length > 1, slowly)
    expect(said).toEqual([expect.stringContaining('the lease is not renewed'), 'the lease is renewed again'])
  })

  test('is lost by a run that is cut off, before another one has it', async () => {
    const { lost } = await contend({ identity: 'first_1', kubeconfig: proxied })
    const second = contend({ wait: true })
    proxy.close()
    await second
    expect(lost.aborted).toBe(true)
    expect(lost.reason).toMatchObject({ kind: 'server', message: `Lease ${name} could not be renewed for 4 s` })
  })

  test('waits for an API server that is away at first', async () => {
    proxy.close()
    const held = contend({ identity: 'first_1', kubeconfig: proxied })
    const { connections } = proxy
    await vi.waitUntil(() => proxy.connections > connections + 1, slowly)
    proxy.open()
    expect((await held).lost.aborted).toBe(false)
  })

  describe('says which right is missing', () => {
    const subject = { kind: 'ServiceAccount', name: 'backup' }
    const group = 'rbac.authorization.k8s.io'

    beforeAll(() => apply([{ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'backup', namespace } }]))

    async function allow(verbs: string[]): Promise<string> {
      const metadata = { name: 'backup', namespace }
      await apply([
        {
          apiVersion: `${group}/v1`,
          kind: 'Role',
          metadata,
          rules: [{ apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs }],
        },
        {
          apiVersion: `${group}/v1`,
          kind: 'RoleBinding',
          metadata,
          roleRef: { apiGroup: group, kind: 'Role', name: 'backup' },
          subjects: [subject],
        },
      ])
      return kubeconfigAs((await kubectl(['-n', namespace, 'create', 'token', 'backup'])).trim(), dir)
    }

    test.each([
      ['get', ['list']],
      ['create', ['get']],
    ])('to %s', async (verb, verbs) => {
      const kubeconfig = await allow(verbs)
      // RBAC follows the Role a moment later
      await vi.waitFor(
        () =>
          expect(contend({ kubeconfig })).rejects.toMatchObject({
            kind: 'server',
            message: `could not ${verb} Lease ${leaseName()}: ServiceAccount backup of namespace ${namespace} may not ${verb} leases.coordination.k8s.io in namespace ${namespace}`,
            hint: expect.stringContaining('rbac.create'),
          }),
        slowly,
      )
    })

    test('to update: the lease is lost', async () => {
      const kubeconfig = await allow(['get', 'create'])
      const { lost } = await vi.waitFor(() => contend({ kubeconfig, identity: 'first_1' }), slowly)
      await vi.waitUntil(() => lost.aborted, slowly)
      expect(textOf(lost.reason)).toContain(`ServiceAccount backup of namespace ${namespace} may not update leases`)
    })

    test('for which a token is no longer good', async () => {
      const kubeconfig = kubeconfigAs('no-token', dir)
      await expect(contend({ kubeconfig })).rejects.toMatchObject({
        kind: 'server',
        message: expect.stringContaining("the API server does not accept this pod's token"),
      })
    })
  })
})
