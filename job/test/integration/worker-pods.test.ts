import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Order, Place } from '../../engine.ts'
import { localWorkers } from '../../io/local-workers.ts'
import type { Workers } from '../../io/workers.ts'
import { connect } from '../../kubernetes/client.ts'
import { containerFolder } from '../../kubernetes/container.ts'
import { podWorkers } from '../../kubernetes/workers.ts'
import type { Part } from '../../manifest.ts'
import { version } from '../../version.ts'
import { startTcpProxy, type TcpProxy } from '../fakes/tcp-proxy.ts'
import { slowly } from '../patience.ts'
import {
  apply,
  cluster,
  kubeconfigBy,
  kubectl,
  makeNamespace,
  missingCluster,
  workerTemplate,
} from '../servers/kubernetes.ts'

const missing = missingCluster()
if (missing) console.log(`worker pods: skipped, ${missing}`)

const id = '1795218000'
const MiB = 2 ** 20
let namespace: string
let remove: () => Promise<void>
let dir: string
let proxy: TcpProxy
let config: string
let address: string
let team: Workers
let stop: AbortController
let sent: number
let onBytes: () => void

const selector = 'app=database'
const hello = {
  // the image's
  version: cluster.image?.split(':').pop() ?? '',
  plan: 'nightly',
  backupId: id,
  storages: { volume: { filesystem: { claim: 'backups', path: '/' } } },
  secretsDir: '/secrets',
  volumesDir: '/volumes',
  staging: '/scratch',
}
const unseen = { begin: () => {}, end: () => 0, add: () => {} }
const container = { securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }
const podSecurity = { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } }

describe.skipIf(missing !== undefined)('worker pods', () => {
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'hf-pods-'))
    const made = await makeNamespace('worker-pods')
    namespace = made.name
    remove = made.remove
    const { server } = kubeconfigBy('unknown', dir)
    proxy = await startTcpProxy({ host: server.hostname, port: Number(server.port || 443) })
    config = kubeconfigBy(`127.0.0.1:${proxy.port}`, dir).file
    await apply([claim('data'), claim('backups'), database()])
    await kubectl(['-n', namespace, 'wait', 'pod/database', '--for=condition=Ready', '--timeout=120s'])
    address = await kubectl(['-n', namespace, 'get', 'pod', 'database', '-o', 'jsonpath={.status.podIP}'])
  })

  afterEach(async () => {
    vi.unstubAllEnvs()
    proxy.open()
    stop?.abort(new Error('the test is over'))
    await team?.close()
  })

  afterAll(async () => {
    await proxy?.stop()
    await remove?.()
    await rm(dir, { recursive: true, force: true })
  })

  test("upload from the volume of a running pod, with that pod's ids", async () => {
    start()
    expect(byPath(uploaded(await team.order(upload('small'))))).toEqual(await partsIn('small'))
    expect(await owner(`/volumes/backups/nightly/${id}/rondb/1/parts.json`)).toBe('1000')
    await team.close()
    expect(await workerPods()).toEqual([])
  })

  test('go on with an upload whose connection was cut in the middle, and carry it out once', async () => {
    const before = proxy.connections
    start()
    onBytes = () => {
      onBytes = () => {}
      proxy.cut()
    }
    expect(byPath(uploaded(await team.order(upload('large'))))).toEqual(await partsIn('large'))
    expect(proxy.connections).toBeGreaterThan(before)
    expect(await log('worker-pods-worker-0')).toHaveLength(1)
  })

  test('say an answer again that got lost while nobody was attached', async () => {
    start()
    await team.order(upload('small'))
    const order = team.order(upload('large'))
    onBytes = () => {
      onBytes = () => {}
      proxy.close()
    }
    await vi.waitUntil(async () => (await log('worker-pods-worker-0')).length === 2, slowly)
    proxy.open()
    expect(byPath(uploaded(await order))).toEqual(await partsIn('large'))
  })

  test.each([
    [
      'at once',
      ['--force', '--grace-period=0'],
      /worker node-1 (\(pod worker-pods-worker-0\) (was deleted|ended with|is being)|was ended by somebody else)/,
    ],
    ['with the time to tidy up', ['--grace-period=30'], 'worker node-1 was ended by somebody else: stopped by SIGTERM'],
  ])('that are deleted %s fail their order', async (_, options, message) => {
    start()
    onBytes = () => {
      onBytes = () => {}
      void kubectl(['-n', namespace, 'delete', 'pod', 'worker-pods-worker-0', '--wait=false', ...options])
    }
    await expect(team.order(upload('large'))).rejects.toMatchObject({
      kind: 'server',
      message: expect.stringMatching(message),
    })
  })

  test('of a run that died are removed before the next begins, and it cannot touch those of the next', async () => {
    const folder = await mkdtemp(join(dir, 'held-up-'))
    const { server } = kubeconfigBy('unknown', folder)
    const way = await startTcpProxy({ host: server.hostname, port: Number(server.port || 443) })
    start({ by: kubeconfigBy(`127.0.0.1:${way.port}`, folder).file })
    await team.order(upload('small'))
    const before = await workerPods()
    // it is only held up, and nobody closes its workers
    const heldUp = team
    way.close()
    start()
    await team.order(upload('small'))
    const after = await workerPods()
    expect(after.map((pod) => pod.name)).toEqual(before.map((pod) => pod.name))
    expect(after[0]?.uid).not.toBe(before[0]?.uid)

    way.open()
    await expect(heldUp.order(upload('small'))).rejects.toThrow('worker node-1 (pod worker-pods-worker-0) was deleted')
    await heldUp.close()
    await way.stop()
    expect(await workerPods()).toEqual(after)
    expect(byPath(uploaded(await team.order(upload('small'))))).toEqual(await partsIn('small'))
    expect(await log('worker-pods-worker-0')).toHaveLength(2)
  })

  test('get a volume of their own for what they download', async () => {
    start()
    const parts = uploaded(await team.order(upload('small')))
    await team.order({
      do: 'download',
      worker: 'restore-0',
      parts,
      copies: parts.map((part) => [{ storage: 'volume', part }]),
      strip: 'rondb/',
      room: 3 * 2 ** 30,
    })
    const claims = await kubectl([
      '-n',
      namespace,
      'get',
      'pvc',
      'worker-pods-worker-1-scratch',
      '-o',
      'jsonpath={.spec.resources.requests.storage}',
    ])
    expect(claims).toBe('5Gi')
  })

  test('say what is wrong when the volume, or the pod, is not there', async () => {
    start()
    await expect(team.order(upload('small', { volume: 'nothing' }))).rejects.toThrow(
      'pod database has no volume "nothing" of a claim (there are: data)',
    )
    await expect(team.order(upload('small', { address: '192.0.2.1' }))).rejects.toThrow(
      /none of the pods with app=database .* has the address 192.0.2.1 \(there are: database [\d.]+\)/,
    )
  })

  test('that cannot start fail with the reason of Kubernetes', async () => {
    start({ image: 'localhost/:not an image' })
    await expect(team.order(upload('small'))).rejects.toThrow(
      /worker pod worker-pods-worker-0 did not start: InvalidImageName/,
    )
    expect(await workerPods()).toEqual([])
  })

  describe('a folder in a container', () => {
    const folder = () => {
      process.env.KUBECONFIG = cluster.kubeconfig
      const place = {
        access: 'exec',
        pod: { address, selector },
        container: 'database',
        folder: '/data/backups/BACKUP',
      } as const
      return containerFolder(place, {
        signal: stop.signal,
        scratch: dir,
        cluster: connect({ kubeconfig: config, podNamespace: namespace }),
      })
    }

    test('is read byte for byte, by ranges', async () => {
      start()
      const beside = folder()
      const files = await beside.files('medium')
      const parts = await Promise.all(
        files.map(async ({ path, size }) => {
          const hash = createHash('sha256')
          for await (const chunk of beside.read(`medium/${path}`)) hash.update(chunk)
          return { path: `rondb/1/${path}`, size, sha256: hash.digest('hex') }
        }),
      )
      expect(byPath(parts)).toEqual(await partsIn('medium'))
    })

    test('is read to its end though the connection breaks', async () => {
      start()
      const beside = folder()
      await beside.files('medium')
      const hash = createHash('sha256')
      let cuts = 0
      for await (const chunk of beside.read('medium/BACKUP-1.Data')) {
        if (cuts++ < 2) proxy.cut()
        hash.update(chunk)
      }
      const wanted = (await partsIn('medium')).find((part) => part.path.endsWith('BACKUP-1.Data'))
      expect(hash.digest('hex')).toBe(wanted?.sha256)
    })

    test('is read beside those of other data nodes by one process', async () => {
      for (const name of ['s', 'stored']) await mkdir(join(dir, name))
      const beside = {
        access: 'exec',
        pod: { address, selector },
        container: 'database',
        folder: '/data/backups/BACKUP',
      }
      const exec = (worker: string) => ({ ...upload('medium'), worker, path: `rondb/${worker}`, beside }) as Order
      vi.stubEnv('HOLDFAST_POD_NAMESPACE', namespace)
      stop = new AbortController()
      const began: string[] = []
      team = localWorkers({
        hello: {
          ...hello,
          version,
          storages: { volume: { filesystem: { path: join(dir, 'stored') } } },
          staging: join(dir, 's'),
        },
        progress: { ...unseen, add: (name) => void (began.includes(name) || began.push(name)) },
        signal: stop.signal,
        logLevel: 'error',
      })
      const names = ['node-1', 'node-2', 'node-3', 'node-4']
      const begunBefore: number[] = []
      const orders = names.map((name) =>
        team.order(exec(name)).then((parts) => {
          begunBefore.push(began.length)
          return uploaded(parts)
        }),
      )
      const wanted = await partsIn('medium')
      for (const [i, parts] of (await Promise.all(orders)).entries())
        expect(byPath(parts)).toEqual(wanted.map((part) => ({ ...part, path: part.path.replace('1', `${names[i]}`) })))
      expect(begunBefore[0]).toBeGreaterThan(1)
      expect(await readdir(join(dir, 's'))).toHaveLength(1)
    })

    test('takes marks, and gives up what is removed', async () => {
      start()
      const beside = folder()
      await beside.write('BACKUP-1.holdfast', "nightly running; it's $HOME\n")
      expect(await beside.text('BACKUP-1.holdfast')).toBe("nightly running; it's $HOME\n")
      expect((await beside.names()).sort()).toEqual(['BACKUP-1.holdfast', 'large', 'medium', 'small'])
      await beside.remove('BACKUP-1.holdfast')
      expect((await beside.names()).sort()).toEqual(['large', 'medium', 'small'])
    })

    test('that is not there is an error that names container and pod', async () => {
      start()
      await expect(folder().files('nothing')).rejects.toThrow(
        /could not list \/data\/backups\/BACKUP\/nothing in container database of pod database: .*No such file/,
      )
    })
  })
})

function start({ image = cluster.image, by = config }: { image?: string | undefined; by?: string } = {}): void {
  stop = new AbortController()
  sent = 0
  onBytes = () => {}
  const local: Workers = { order: () => Promise.reject(new Error('no local worker is wanted')), close: async () => {} }
  team = podWorkers({
    cluster: connect({ kubeconfig: by, podNamespace: namespace }),
    template: workerTemplate({ names: 'worker-pods-worker', image: image as string }),
    hello,
    run: `${Math.random()}`,
    progress: {
      ...unseen,
      add: (_, bytes) => {
        sent += bytes
        if (sent > MiB) onBytes()
      },
    },
    log: pino({ level: 'silent' }),
    signal: stop.signal,
    local,
  })
}

function upload(folder: string, { volume = 'data', address: at = address } = {}): Order {
  const beside: Place = { access: 'volume', pod: { address: at, selector }, volume, folder: 'backups/BACKUP' }
  return { do: 'upload', worker: 'node-1', beside, folder, path: 'rondb/1', resume: false, storages: ['volume'] }
}

function claim(name: string) {
  const spec = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '2Gi' } } }
  return { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name, namespace }, spec }
}

/** Stands for a data node: a pod with files in its volume, that only its own ids may read. */
function database() {
  const fill = `
    umask 077
    for set in small medium large; do mkdir -p /data/backups/BACKUP/$set/sub; done
    head -c 1000000 /dev/urandom >/data/backups/BACKUP/small/BACKUP-1.Data
    : >/data/backups/BACKUP/small/sub/empty.log
    head -c 100000000 /dev/urandom >/data/backups/BACKUP/medium/BACKUP-1.Data
    head -c 700000000 /dev/urandom >/data/backups/BACKUP/large/BACKUP-1.Data
    head -c 60000 /dev/urandom >/data/backups/BACKUP/large/sub/BACKUP-1.ctl
    touch /tmp/filled
    exec sleep infinity`
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'database', namespace, labels: { app: 'database' } },
    spec: {
      securityContext: { ...podSecurity, runAsGroup: 1000, fsGroup: 1000 },
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          ...container,
          name: 'database',
          image: cluster.image,
          imagePullPolicy: 'IfNotPresent',
          command: ['sh', '-c', fill],
          startupProbe: { exec: { command: ['ls', '/tmp/filled'] }, periodSeconds: 1, failureThreshold: 120 },
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
        },
      ],
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }],
    },
  }
}

/** What the database's pod says of its files. */
async function partsIn(set: string): Promise<Part[]> {
  const script = `cd /data/backups/BACKUP/${set} && find . -type f | while read -r f; do echo "$(stat -c %s "$f") $(sha256sum <"$f" | cut -c1-64) \${f#./}"; done`
  const listed = await kubectl(['-n', namespace, 'exec', 'database', '--', 'sh', '-c', script])
  const parts = listed
    .trim()
    .split('\n')
    .map((line) => {
      const [size, sha256 = '', path = ''] = line.split(' ')
      return { path: `rondb/1/${path}`, size: Number(size), sha256 }
    })
  return byPath(parts)
}

/** What a worker stored, as the one storage has it. */
function uploaded(answer: unknown): Part[] {
  const { value } = answer as { value: Part[] }
  return value
}

function byPath(parts: Part[]): Part[] {
  return parts.toSorted((a, b) => (a.path < b.path ? -1 : 1))
}

async function workerPods(): Promise<{ name: string; uid: string }[]> {
  const list = await kubectl(['-n', namespace, 'get', 'pods', '-l', 'app.kubernetes.io/component=worker', '-o', 'json'])
  return JSON.parse(list)
    .items.map(({ metadata }: { metadata: { name: string; uid: string } }) => metadata)
    .map(({ name, uid }: { name: string; uid: string }) => ({ name, uid }))
}

async function owner(path: string): Promise<string> {
  const said = await kubectl(['-n', namespace, 'exec', 'worker-pods-worker-0', '--', 'stat', '-c', '%u', path])
  return said.trim()
}

/** The answers that a worker gave, in its log. */
async function log(pod: string): Promise<string[]> {
  const lines = (await kubectl(['-n', namespace, 'logs', pod])).split('\n')
  const answers = lines.filter((line) => line.startsWith('{"type":"result"')).map((line) => JSON.parse(line).id)
  return [...new Set<string>(answers)]
}
