import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { EngineOrder, Place } from '../../engine.ts'
import { markerName, type Work } from '../../engines/files/orders.ts'
import type { Workers } from '../../io/workers.ts'
import { connect } from '../../kubernetes/client.ts'
import { podWorkers } from '../../kubernetes/workers.ts'
import type { Part } from '../../manifest.ts'
import { apply, cluster, kubectl, makeNamespace, missingCluster, workerTemplate } from '../servers/kubernetes.ts'
import { openWorkspace, succeeds, type Workspace } from './harness.ts'

const missing = missingCluster()
if (missing) console.log(`files in Kubernetes: skipped, ${missing}`)

const id = '1795218000'
const security = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }
const podSecurity = {
  runAsNonRoot: true,
  runAsUser: 4711,
  runAsGroup: 4711,
  seccompProfile: { type: 'RuntimeDefault' },
}

/** Readable for the pod's own user only, with what an archive could lose. */
const fill = `umask 077; cd /data; mkdir -p tree/empty tree/sub; echo secret >tree/sub/file; ln tree/sub/file tree/twin
ln -s sub/file tree/link; truncate -s 50M tree/hole; head -c 30000000 /dev/urandom >tree/large; mkfifo tree/pipe; chmod 2750 tree/sub
touch -d @1700000000.123456789 tree/sub/file; touch /tmp/filled; exec sleep infinity`

let namespace: string
let remove: () => Promise<void>
let dir: string

describe.skipIf(missing !== undefined)('files in Kubernetes', () => {
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'hf-places-'))
    const made = await makeNamespace('files')
    namespace = made.name
    remove = made.remove
    await apply([...['data', 'backups', 'unused'].map(claim), user('web', 'data', fill)])
    await kubectl(['-n', namespace, 'wait', 'pod/web', '--for=condition=Ready', '--timeout=120s'])
  })

  afterAll(async () => {
    await remove?.()
    await rm(dir, { recursive: true, force: true })
  })

  test('of a claim are read beside whoever has it mounted, and written to one that nobody has', async () => {
    const before = await described('web', '/data/tree')
    const groups = await inside('web', 'stat -c %g /data /data/tree/sub/file')
    const parts = await withTeam(async (team) => {
      const source: Place = { access: 'claim', claim: 'data', folder: 'tree', readOnly: true }
      await team.order({
        ...order(source, { do: 'pack', exclude: [], oneFileSystem: true }),
        path: 'web/files',
        storages: ['backups'],
      })
      return JSON.parse(await inside('web', `cat /backups/nightly/${id}/web/files/parts.json`)) as Part[]
    })
    expect(parts.map(({ path }) => path)).toEqual(['web/files/tree.tar.zst', 'web/files/list.jsonl.zst'])
    await withTeam(async (team) => {
      const target: Place = { access: 'claim', claim: 'unused', folder: 'restored/here', readOnly: false }
      const reading = { copies: parts.map((part) => [{ storage: 'backups', part }]), strip: 'web/files/' }
      const marker = { request: 'r', backupId: id, plan: 'nightly', state: 'begun' as const, creates: [] }
      expect(await team.order(order(target, { do: 'look' }))).toMatchObject({ there: false, count: 0, uid: 1000 })
      await team.order(order(target, { do: 'mark', marker }))
      const unpack: Work = { do: 'unpack', choice: { exclude: [] }, owner: 'runner' }
      expect(await team.order({ ...order(target, unpack), ...reading })).toMatchObject({
        value: { counts: { files: 3, links: 2 } },
      })
      const prove: Work = { do: 'prove', choice: { exclude: [] }, owner: 'runner' }
      expect(await team.order({ ...order(target, prove), ...reading })).toMatchObject({
        value: { files: 3, folders: 3, others: 1 },
      })
      expect(await team.order(order(target, { do: 'look' }))).toMatchObject({ there: true, markers: [marker] })
    })
    await apply([user('reader', 'unused', 'touch /tmp/filled; exec sleep infinity', { runAsUser: 1000 })])
    await kubectl(['-n', namespace, 'wait', 'pod/reader', '--for=condition=Ready', '--timeout=120s'])
    expect(await described('reader', '/data/restored/here')).toEqual(before)
    expect(await inside('web', 'stat -c %g /data /data/tree/sub/file')).toBe(groups)
    expect(await kubectl(['-n', namespace, 'get', 'pods', '-o', 'name'])).not.toContain('worker')
  })

  test('of a claim that is only read cannot be written', async () => {
    await withTeam(async (team) => {
      const place: Place = { access: 'claim', claim: 'data', folder: 'tree', readOnly: true }
      const marker = { request: 'r', backupId: id, plan: 'nightly', state: 'begun' as const, creates: [] }
      await expect(team.order(order(place, { do: 'mark', marker }))).rejects.toThrow(/EROFS|read-only/)
    })
  })

  test('of a container come and go through it, as they were', async () => {
    const space = await through('/data/tree', '/data/copy')
    try {
      await succeeds(space.holdfast('backup', 'nightly'))
      await inside('web', 'mkdir /data/copy')
      await succeeds(space.holdfast('restore', 'back'))
      expect(await described('web', '/data/copy')).toEqual(await described('web', '/data/tree'))
      expect((await succeeds(space.holdfast('restore', 'back'))).stdout).toContain('already restored')
      await inside('web', `rm /data/copy/${markerName}; mkdir /data/copy/more; touch /data/copy/more/x`)
      expect((await space.holdfast('restore', 'back')).code).toBe(21)
      restoring(space, '/data/copy', { delete: true })
      await succeeds(space.holdfast('restore', 'back', '--overwrite'))
      expect(await described('web', '/data/copy')).toEqual(await described('web', '/data/tree'))
    } finally {
      await space.remove()
    }
  })

  test('of a container without the folder, or of a pod that is not there, are told', async () => {
    const space = await through('/data/nowhere', '/data/copy')
    try {
      const ran = await space.holdfast('backup', 'nightly')
      expect([ran.code, ran.summary.error]).toEqual([22, expect.stringMatching(/no folder web of web:\/data\/nowhere/)])
      planning(space, '/data/tree', { pods: { selector: 'app=nobody' } })
      const other = await space.holdfast('backup', 'nightly')
      expect([other.code, other.summary.error]).toEqual([
        22,
        expect.stringMatching(/none of the pods with app=nobody .* runs/),
      ])
    } finally {
      await space.remove()
    }
  })

  test('of a claim are not looked at by a check outside of Kubernetes, which says so, and not backed up', async () => {
    const space = await through('/data/tree', '/data/copy')
    try {
      space.values.backups.nightly = {
        storages: ['local'],
        sources: [{ name: 'web', files: { access: 'volume', claim: 'data' } }],
      }
      expect((await succeeds(space.holdfast('check', 'nightly'))).stdout).toContain('claim data was not looked at')
      const ran = await space.holdfast('backup', 'nightly')
      expect([ran.code, ran.summary.error]).toEqual([2, expect.stringContaining('reached by worker pods')])
    } finally {
      await space.remove()
    }
  })
})

async function through(from: string, to: string): Promise<Workspace> {
  const space = await openWorkspace()
  space.env.KUBECONFIG = cluster.kubeconfig as string
  space.env.HOLDFAST_POD_NAMESPACE = namespace
  planning(space, from)
  restoring(space, to)
  return space
}

const place = { access: 'exec', pods: { names: ['web'] }, container: 'web' }

function planning(space: Workspace, path: string, values: object = {}): void {
  const files = { ...place, path, ...values }
  space.values.backups.nightly = { storages: ['local'], sources: [{ name: 'web', files }] }
}

function restoring(space: Workspace, path: string, values: object = {}): void {
  const files = { ...place, path, ...values }
  space.values.restores.back = { from: { plan: 'nightly', storages: ['local'] }, targets: [{ name: 'web', files }] }
}

function order(beside: Place, work: Work): EngineOrder {
  return { do: 'engine', engine: 'files', worker: 'files', beside, order: work }
}

async function withTeam<T>(work: (team: Workers) => Promise<T>): Promise<T> {
  const stop = new AbortController()
  const unseen = { begin: () => {}, add: () => {}, end: () => 0 }
  const hello = {
    version: (cluster.image as string).split(':').at(-1) as string,
    plan: 'nightly',
    backupId: id,
    storages: { backups: { filesystem: { path: '/volumes/backups' } } },
    secretsDir: '/secrets',
    volumesDir: '/volumes',
    staging: '/scratch',
  }
  const team = podWorkers({
    cluster: connect({ kubeconfig: cluster.kubeconfig, podNamespace: namespace }),
    template: workerTemplate({ names: 'files-worker' }),
    hello,
    run: `${Math.random()}`,
    progress: unseen,
    log: pino({ level: 'silent' }),
    signal: stop.signal,
    local: { order: () => Promise.reject(new Error('no local worker is wanted')), close: async () => {} },
  })
  try {
    return await work(team)
  } finally {
    await team.close()
  }
}

async function inside(pod: string, script: string): Promise<string> {
  return kubectl(['-n', namespace, 'exec', pod, '--', 'sh', '-c', script])
}

/** All that a tree is, but for owners, which only root could keep; the folder itself has other times. */
async function described(pod: string, folder: string): Promise<string[]> {
  const look = `cd ${folder} && find . -mindepth 1 ! -name ${markerName} -printf '%p %y %m %s %n %l %T@\\n' | sed '/ d /s/ [0-9]* [0-9]* *[0-9.]*$//'
    find . -type f ! -name ${markerName} -exec sha256sum {} +; du -k hole | cut -f1`
  return (await inside(pod, look)).trim().split('\n').sort()
}

function claim(name: string) {
  const spec = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } }
  return { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name, namespace }, spec }
}

function user(name: string, data: string, script: string, ids: object = { fsGroup: 1000 }) {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { app: name } },
    spec: {
      securityContext: { ...podSecurity, ...ids },
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          securityContext: security,
          name,
          image: cluster.image,
          imagePullPolicy: 'IfNotPresent',
          command: ['sh', '-c', script],
          startupProbe: { exec: { command: ['ls', '/tmp/filled'] }, periodSeconds: 1, failureThreshold: 120 },
          volumeMounts: [
            { name: 'data', mountPath: '/data' },
            { name: 'backups', mountPath: '/backups' },
          ],
        },
      ],
      volumes: [data, 'backups'].map((claimName, i) => ({
        name: i === 0 ? 'data' : 'backups',
        persistentVolumeClaim: { claimName },
      })),
    },
  }
}
