import { once } from 'node:events'
import { watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { slowly } from '../patience.ts'
import { apply, cluster, kubeconfigAs, kubectl, makeNamespace } from '../servers/kubernetes.ts'
import { type NdbCluster, startNdb } from '../servers/ndb.ts'
import { openWorkspace, prepareAccount, type Started, sourceOf, succeeds, targetOf, type Workspace } from './harness.ts'
import { putBackup } from './wrong.ts'

if (!cluster.kubeconfig) console.log('runs in Kubernetes: skipped, no KUBECONFIG')
const ndb = cluster.kubeconfig ? await startNdb({ dataNodes: 1, replicas: 1, ldm: 1 }) : undefined

const id = '1795218000'

/** The job as the chart's pods run it, with their rights, but from here. */
describe.skipIf(!cluster.kubeconfig)('a run in Kubernetes', () => {
  let work: Workspace
  let namespace: string
  let remove: () => Promise<void>
  let account: string
  let lease: string
  let count = 0
  const started: Started[] = []

  beforeAll(async () => {
    work = await openWorkspace()
    const made = await makeNamespace('coordination')
    namespace = made.name
    remove = made.remove
    account = await makeAccount()
    const clients = join(import.meta.dirname, '../bin/waiting')
    const mysql = { host: '127.0.0.1', credentials: { secret: 'db' }, tls: { mode: 'disabled' } }
    const files = { access: 'local', path: '/data/{node}/BACKUP' }
    const rondb = { managementServers: ['127.0.0.1:1186'], clients, mysql }
    work.values.backups.nightly = { storages: ['local'], sources: [{ name: 'rondb', rondb: { ...rondb, files } }] }
    work.values.restores.once = {
      from: { plan: 'nightly', storages: ['local'] },
      targets: [{ name: 'rondb', rondb: { ...rondb, staging: join(work.dir, 'tmp') } }],
    }
    await putBackup(work.store, { plan: 'nightly', id })
  })

  beforeEach(async () => {
    lease = `nightly-${++count}`
    await makeJob(lease)
  })

  afterEach(async () => {
    for (const run of started.splice(0)) {
      run.kill('SIGKILL')
      await run.done
    }
  })

  afterAll(async () => {
    await remove?.()
    await work?.remove()
  })

  async function makeAccount(): Promise<string> {
    const metadata = { name: 'backup', namespace }
    const group = 'rbac.authorization.k8s.io'
    await apply([
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
      {
        apiVersion: `${group}/v1`,
        kind: 'Role',
        metadata,
        rules: [
          { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'create', 'update'] },
          { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create'] },
          { apiGroups: ['batch'], resources: ['jobs'], verbs: ['patch'] },
        ],
      },
      {
        apiVersion: `${group}/v1`,
        kind: 'RoleBinding',
        metadata,
        roleRef: { apiGroup: group, kind: 'Role', name: 'backup' },
        subjects: [{ kind: 'ServiceAccount', name: 'backup' }],
      },
    ])
    return kubeconfigAs((await kubectl(['-n', namespace, 'create', 'token', 'backup'])).trim(), work.dir)
  }

  /** A Job whose pod is this machine. */
  async function makeJob(name: string): Promise<void> {
    const container = { name: 'holdfast', image: 'none' }
    const spec = { suspend: true, template: { spec: { restartPolicy: 'Never', containers: [container] } } }
    await apply([{ apiVersion: 'batch/v1', kind: 'Job', metadata: { name, namespace }, spec }])
    work.env = {
      KUBECONFIG: account,
      HOLDFAST_POD_NAME: `${name}-abcde`,
      HOLDFAST_POD_NAMESPACE: namespace,
      HOLDFAST_POD_UID: '00000000-0000-0000-0000-000000000001',
      HOLDFAST_JOB_NAME: name,
      HOLDFAST_JOB_UID: (await job(name)).metadata.uid,
      HOLDFAST_LEASE: name,
      HOLDFAST_LABELS: 'app.kubernetes.io/instance=prod,holdfast/plan=nightly',
      HOLDFAST_TEST_BEGUN: join(work.dir, `${name}.begun`),
      HOLDFAST_TEST_KEPT: join(work.dir, `${name}.kept`),
      HOLDFAST_TEST_AT_END: `KUBECONFIG='${cluster.kubeconfig}' kubectl -n ${namespace} get lease ${name} -o jsonpath='{.spec.holderIdentity}'`,
    }
  }

  async function job(name: string) {
    return JSON.parse(await kubectl(['-n', namespace, 'get', 'job', name, '-o', 'json']))
  }

  async function holder(): Promise<string> {
    return await kubectl(['-n', namespace, 'get', 'lease', lease, '-o', 'jsonpath={.spec.holderIdentity}'])
  }

  /** As `kubectl describe job` shows them: type, reason and note. */
  async function events(): Promise<string[]> {
    const selector = `involvedObject.kind=Job,involvedObject.uid=${work.env.HOLDFAST_JOB_UID}`
    const list = await kubectl(['-n', namespace, 'get', 'events', '--field-selector', selector, '-o', 'json'])
    return JSON.parse(list)
      .items.filter(({ reportingComponent }: { reportingComponent: string }) => reportingComponent === 'holdfast')
      .map((event: Record<string, string>) => `${event.type} ${event.reason} ${event.message}`)
  }

  /** A run that has the lease, and has begun something that does not end. */
  async function begin(...args: string[]): Promise<Started> {
    const begun = work.env.HOLDFAST_TEST_BEGUN as string
    const seen = new AbortController()
    const files = watch(work.dir, { signal: seen.signal })
    const run = work.start(...args)
    started.push(run)
    for (;;) {
      const [, file] = (await once(files, 'change')) as [string, string]
      if (join(work.dir, file) === begun) break
    }
    seen.abort()
    return run
  }

  test('that is told to stop keeps the lease until everything has stopped', async () => {
    const run = await begin('backup', 'nightly')
    expect(await holder()).toMatch(new RegExp(`^${lease}-abcde_[0-9a-f]{8}$`))
    run.kill('SIGTERM')
    expect(await run.done).toMatchObject({ code: 143 })
    expect(await readFile(work.env.HOLDFAST_TEST_KEPT as string, 'utf8')).toMatch(`${lease}-abcde_`)
    expect(await holder()).toBe('')
    expect(await events()).toEqual([
      'Normal Started backup nightly started',
      'Warning Failed backup failed: stopped by SIGTERM',
    ])
  })

  test('is stopped when its lease is lost', async () => {
    const run = await begin('backup', 'nightly')
    const patch = JSON.stringify({ spec: { holderIdentity: 'thief_1' } })
    await kubectl(['-n', namespace, 'patch', 'lease', lease, '--type=merge', '-p', patch])
    const { code, summary } = await run.done
    expect(code).toBe(25)
    expect(summary).toMatchObject({
      kind: 'busy',
      error: expect.stringContaining(`Lease ${lease} was taken over by pod thief`),
    })
    expect(await holder()).toBe('thief_1')
  })

  test('ends with 25 when another one is at work, which goes on', async () => {
    const first = await begin('backup', 'nightly')
    work.env = { ...work.env, HOLDFAST_POD_NAME: 'by-hand', HOLDFAST_JOB_NAME: '', HOLDFAST_JOB_UID: '' }
    const { code, summary } = await work.holdfast('backup', 'nightly')
    expect(code).toBe(25)
    expect(summary.error).toMatch(new RegExp(`^pod ${lease}-abcde has held Lease ${lease} since `))
    expect(await holder()).toMatch(`${lease}-abcde_`)
    expect(first.pid).toBeGreaterThan(0)
  })

  test('waits for another one when it was told to', async () => {
    const first = await begin('backup', 'nightly')
    work.env = { ...work.env, HOLDFAST_LEASE_WAIT: 'true', HOLDFAST_POD_NAME: 'by-hand', HOLDFAST_JOB_UID: '' }
    const second = work.start('restore', 'once')
    started.push(second)
    await second.says('waiting for the run that holds the lease')
    first.kill('SIGTERM')
    await first.done
    await vi.waitUntil(async () => (await holder()).startsWith('by-hand_'), slowly)
  })

  test('waits, when its Job made it in the place of one that is still stopping', async () => {
    const first = await begin('backup', 'nightly')
    work.env = { ...work.env, HOLDFAST_POD_NAME: `${lease}-fghij` }
    const second = work.start('backup', 'nightly')
    started.push(second)
    await second.says('waiting for the run that holds the lease')
    first.kill('SIGTERM')
    await first.done
    await vi.waitUntil(async () => (await holder()).startsWith(`${lease}-fghij_`), slowly)
  })

  test('leaves its lease with the labels of the release, by which an uninstall finds it', async () => {
    const run = await begin('backup', 'nightly')
    run.kill('SIGTERM')
    await run.done
    const found = [
      '-n',
      namespace,
      'get',
      'leases',
      '-l',
      'app.kubernetes.io/instance=prod,holdfast/plan=nightly',
      '-o',
      'name',
    ]
    expect(await kubectl(found)).toContain(`lease.coordination.k8s.io/${lease}\n`)
  })

  test('writes on its Job which backup it restores, as soon as it knows', async () => {
    await begin('restore', 'once')
    const annotations = () => job(lease).then(({ metadata }) => metadata.annotations)
    await vi.waitFor(async () => expect(await annotations()).toMatchObject({ 'holdfast/backup': id }), slowly)
    expect(await annotations()).toMatchObject({ 'holdfast/plan': 'nightly' })
    expect(await events()).toEqual(['Normal Started restore once started'])
  })

  test('tells on its Job that its values are wrong', async () => {
    expect(await work.holdfast('backup', 'nigthly')).toMatchObject({ code: 2 })
    expect(await events()).toEqual([
      'Normal Started backup nigthly started',
      expect.stringContaining('Warning Failed backup failed: backups: no plan named "nigthly" (there are: nightly)'),
    ])
    expect(await holder()).toBe('')
  })

  test('is not kept from its work by rights that only people miss', async () => {
    const rules = [{ apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'create', 'update'] }]
    const metadata = { name: 'backup', namespace }
    const before = await kubectl(['-n', namespace, 'get', 'role', 'backup', '-o', 'yaml'])
    await apply([{ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata, rules }])
    const run = await begin('restore', 'once')
    run.kill('SIGTERM')
    const { code, stderr } = await run.done
    await kubectl(['replace', '--force', '-f', '-'], before)
    expect(code).toBe(143)
    for (const right of ['create events.events.k8s.io', 'patch jobs.batch'])
      expect(stderr).toContain(
        `ServiceAccount backup of namespace ${namespace} may not ${right} in namespace ${namespace}`,
      )
    expect(await events()).toEqual([])
    expect(await holder()).toBe('')
  })

  test.each([
    ['a dry run', ['restore', 'once', '--dry-run']],
    ['a run that changes nothing', ['list']],
  ])('takes no lease for %s', async (_, args) => {
    const clients = join(import.meta.dirname, '../bin/none')
    const values = structuredClone(work.values)
    Object.assign((work.values.restores.once as { targets: { rondb: object }[] }).targets[0]?.rondb ?? {}, { clients })
    await work.holdfast(...args)
    work.values = values
    await expect(holder()).rejects.toThrow('not found')
    expect(await events()).toEqual([])
  })

  describe.skipIf(!ndb)('with a real cluster', () => {
    const source = ndb as NdbCluster

    beforeAll(async () => {
      await prepareAccount(source)
      await source.sql('CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY) ENGINE=NDB')
      work.values.backups.real = { storages: ['local'], sources: [sourceOf(source)] }
      work.values.restores.real = { from: { plan: 'real', storages: ['local'] }, targets: [targetOf(source)] }
    })
    afterAll(() => source.destroy())

    test('tells on its Job what it stored, and what it restored', async () => {
      const { summary } = await succeeds(work.holdfast('backup', 'real'))
      expect((await job(lease)).metadata.annotations).toMatchObject({
        'holdfast/plan': 'real',
        'holdfast/backup': summary.backup,
      })
      expect(await events()).toEqual([
        'Normal Started backup real started',
        expect.stringMatching(
          `Normal Stored backup ${summary.backup} of plan real stored: \\d+ parts, [\\d.]+ \\w+, on local, in [\\d.]+ s`,
        ),
      ])

      await makeJob(`${lease}-back`)
      await source.sql('DROP DATABASE shop')
      await succeeds(work.holdfast('restore', 'real', '--overwrite'))
      expect(await events()).toEqual([
        'Normal Started restore real started',
        expect.stringMatching(`Normal Restored backup ${summary.backup} of plan real restored in [\\d.]+ s`),
      ])
      expect((await job(`${lease}-back`)).metadata.annotations).toMatchObject({ 'holdfast/backup': summary.backup })
    })
  })
})
