import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { worker } from '../../commands/worker.ts'
import type { Order } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Inside, localWorkers } from '../../io/local-workers.ts'
import type { Outcome } from '../../io/outcome.ts'
import { eventually, type Workers } from '../../io/workers.ts'
import type { Part } from '../../manifest.ts'
import { version } from '../../version.ts'
import { patiently } from '../patience.ts'

const id = '1795218000'
const hanging = join(import.meta.dirname, '../bin/hanging')
const files = {
  [`BACKUP-${id}-0.1.Data`]: Buffer.alloc(3_000_000, 'rows'),
  [`BACKUP-${id}.1.ctl`]: Buffer.from('tables'),
  [`BACKUP-${id}.1.log`]: Buffer.alloc(0),
  'deeper/down/file': Buffer.alloc(70_000, 7),
}

let root: string
let stop: AbortController
let team: Workers
let sent: Map<string, number>
let storages: string[]

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdfast-workers-'))
  for (const folder of ['a', 'b', 'staging', 'data/deeper/down']) await mkdir(join(root, folder), { recursive: true })
  for (const [path, bytes] of Object.entries(files)) await writeFile(join(root, 'data', path), bytes)
  team = start()
})

afterEach(async () => {
  vi.unstubAllEnvs()
  await team.close()
  await rm(root, { recursive: true })
})

interface Started {
  storages?: string[]
  staging?: string
  inside?: Inside
}

function start({ storages: names = ['a'], staging = join(root, 'staging'), inside }: Started = {}): Workers {
  storages = names
  stop = new AbortController()
  sent = new Map()
  return localWorkers({
    hello: {
      version,
      plan: 'nightly',
      backupId: id,
      storages: Object.fromEntries(storages.map((name) => [name, { filesystem: { path: join(root, name) } }])),
      secretsDir: join(root, 'secrets'),
      volumesDir: join(root, 'volumes'),
      staging,
    },
    progress: { begin: () => {}, end: () => 0, add: (name, bytes) => sent.set(name, (sent.get(name) ?? 0) + bytes) },
    signal: stop.signal,
    logLevel: 'error',
    ...(inside ? { inside } : {}),
  })
}

/** The same storages again, with other workers. */
async function restart(options: Started): Promise<void> {
  await team.close()
  team = start(options)
}

/** As a sink gives it. */
const upload = (resume = false): Order => ({
  do: 'upload',
  storages,
  worker: 'node-1',
  beside: { access: 'local', folder: root },
  folder: 'data',
  path: 'rondb/1',
  resume,
})
/** As a reader gives it. */
const download = (parts: Part[]): Order => {
  const copies = parts.map((part) => storages.map((storage) => ({ storage, part })))
  return { do: 'download', worker: 'node-1', parts, copies, strip: 'rondb/', room: 1 }
}
const stored = (path: string, storage = 'a') => join(root, storage, 'nightly', id, 'rondb/1', path)
const byPath = (a: Part, b: Part) => (a.path < b.path ? -1 : 1)
const partsOf = () =>
  Object.entries(files)
    .map(([path, bytes]) => ({
      path: `rondb/1/${path}`,
      size: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    }))
    .sort(byPath)

async function flip(path: string, storage = 'a'): Promise<void> {
  const bytes = await readFile(stored(path, storage))
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
  await writeFile(stored(path, storage), bytes)
}

describe('an upload', () => {
  test('stores every file below the folder, and lists them last', async () => {
    const { value } = (await team.order(upload())) as Outcome
    expect((value as Part[]).sort(byPath)).toEqual(partsOf())
    expect(JSON.parse(await readFile(stored('parts.json'), 'utf8')).sort(byPath)).toEqual(partsOf())
    for (const [path, bytes] of Object.entries(files)) expect((await readFile(stored(path))).equals(bytes)).toBe(true)
    expect(sent).toEqual(new Map([['node-1', 3_070_006]]))
  })

  test('goes to every storage', async () => {
    await restart({ storages: ['a', 'b'] })
    await team.order(upload())
    expect(await readFile(stored('parts.json', 'b'))).toEqual(await readFile(stored('parts.json')))
    for (const [path, bytes] of Object.entries(files))
      expect((await readFile(stored(path, 'b'))).equals(bytes)).toBe(true)
  })

  test('that is taken up again sends what is missing or damaged, and nothing else', async () => {
    await team.order(upload())
    const before = new Map(
      await Promise.all(Object.keys(files).map(async (path) => [path, (await stat(stored(path))).ino] as const)),
    )
    await flip(`BACKUP-${id}.1.ctl`)
    await unlink(stored('deeper/down/file'))
    sent.clear()
    const { value } = (await team.order(upload(true))) as Outcome
    expect((value as Part[]).sort(byPath)).toEqual(partsOf())
    expect(sent).toEqual(new Map([['node-1', 70_006]]))
    for (const path of [`BACKUP-${id}-0.1.Data`, `BACKUP-${id}.1.log`])
      expect((await stat(stored(path))).ino).toBe(before.get(path))
    for (const [path, bytes] of Object.entries(files)) expect((await readFile(stored(path))).equals(bytes)).toBe(true)
  })

  test('goes on when a storage fails, tells which, and lists nothing there', async () => {
    await restart({ storages: ['a', 'b', 'c'] })
    await mkdir(join(root, 'c'))
    await writeFile(join(root, 'b', 'nightly'), 'in the way')
    const { value, failed } = (await team.order(upload())) as Outcome
    expect((value as Part[]).sort(byPath)).toEqual(partsOf())
    expect(failed).toMatchObject([{ storage: 'b', kind: 'storage', message: expect.stringContaining('b: nightly') }])
    for (const storage of ['a', 'c'])
      expect(JSON.parse(await readFile(stored('parts.json', storage), 'utf8')).sort(byPath)).toEqual(partsOf())
  })

  test('goes on without a storage that its worker cannot open', async () => {
    await rm(join(root, 'b'), { recursive: true })
    await restart({ storages: ['a', 'b'] })
    const { value, failed } = (await team.order(upload())) as Outcome
    expect(value).toHaveLength(4)
    expect(failed).toMatchObject([{ storage: 'b', kind: 'storage' }])
  })

  test('fails when no storage is left', async () => {
    for (const storage of ['a', 'b']) await writeFile(join(root, storage, 'nightly'), 'in the way')
    await restart({ storages: ['a', 'b'] })
    await expect(team.order(upload())).rejects.toMatchObject({ kind: 'storage' })
  })

  test('that is taken up again mends the one storage that is damaged, and sends the other nothing', async () => {
    await restart({ storages: ['a', 'b'] })
    await team.order(upload())
    await flip(`BACKUP-${id}.1.ctl`, 'b')
    const { ino } = await stat(stored(`BACKUP-${id}.1.ctl`))
    await team.order(upload(true))
    expect((await stat(stored(`BACKUP-${id}.1.ctl`))).ino).toBe(ino)
    expect(await readFile(stored(`BACKUP-${id}.1.ctl`, 'b'), 'utf8')).toBe('tables')
  })

  test('of a folder that is not there is an error that names it, and its worker goes on', async () => {
    const order = { ...upload(), folder: 'nowhere' } as Order
    await expect(team.order(order)).rejects.toMatchObject({
      kind: 'server',
      message: expect.stringContaining(`worker node-1: the folder ${join(root, 'nowhere')} cannot be read`),
    })
    expect(((await team.order(upload())) as Outcome).value).toHaveLength(4)
  })
})

describe('a download', () => {
  beforeEach(async () => {
    await restart({ storages: ['a', 'b'] })
    await team.order(upload())
  })

  async function fetched(): Promise<string> {
    const [folder = ''] = await readdir(join(root, 'staging'))
    return join(root, 'staging', folder, 'node-1', '1')
  }

  test('brings every part into the worker\u2019s own folder', async () => {
    await team.order(download(partsOf()))
    for (const [path, bytes] of Object.entries(files))
      expect((await readFile(join(await fetched(), path))).equals(bytes)).toBe(true)
  })

  test('takes a part that is damaged from the storage that has it intact', async () => {
    await flip(`BACKUP-${id}.1.ctl`)
    await unlink(stored('deeper/down/file'))
    await team.order(download(partsOf()))
    expect(await readFile(join(await fetched(), `BACKUP-${id}.1.ctl`), 'utf8')).toBe('tables')
  })

  test('of a part with a flipped bit in every storage fails, naming the part', async () => {
    for (const storage of ['a', 'b']) await flip(`BACKUP-${id}-0.1.Data`, storage)
    await expect(team.order(download(partsOf()))).rejects.toMatchObject({
      kind: 'verification',
      message: expect.stringContaining(`rondb/1/BACKUP-${id}-0.1.Data in storage b is not what was stored`),
      hint: expect.stringContaining('restore another backup'),
    })
  })

  test('of a part that no storage has fails', async () => {
    for (const storage of ['a', 'b']) await unlink(stored('deeper/down/file', storage))
    await expect(team.order(download(partsOf()))).rejects.toMatchObject({
      kind: 'verification',
      message: expect.stringContaining('has no rondb/1/deeper/down/file'),
    })
  })

  test('takes no part that would lead out of the folder', async () => {
    const parts = [{ path: 'rondb/../../x', size: 1, sha256: 'a'.repeat(64) }]
    await expect(team.order(download(parts))).rejects.toThrow('not a path inside a backup')
  })
})

/** An order that does not end by itself; resolves when it has begun to hang. */
async function hang(): Promise<{ order: Promise<unknown>; worker: number; child: number }> {
  const folder = join(root, `BACKUP-${id}`)
  await mkdir(folder)
  for (const name of Object.keys(files).filter((path) => path.startsWith('BACKUP')))
    await writeFile(join(folder, name), '')
  const survey = { do: 'survey', node: 1, plan: 'nightly', backupId: id, clients: hanging }
  const beside = { access: 'local', folder: root } as const
  const order = team.order({ do: 'engine', worker: 'node-1', beside, engine: 'rondb', order: survey })
  order.catch(() => {})
  const child = Number(await vi.waitFor(() => readFile(`${folder}.pid`, 'utf8'), patiently))
  const [name = ''] = await readdir(join(root, 'staging'))
  return { order, child, worker: Number(name.split('-')[1]) }
}

/** A process that ended counts as dead also before its parent has looked. */
function alive(pid: number): boolean {
  const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })
  return stdout.trim() !== '' && !stdout.startsWith('Z')
}

describe('a worker', () => {
  test('keeps its folder between orders, and leaves none behind', async () => {
    await team.order(upload())
    const [folder] = await readdir(join(root, 'staging'))
    await team.order(download(partsOf()))
    expect(await readdir(join(root, 'staging'))).toEqual([folder])
    await team.close()
    expect(await readdir(join(root, 'staging'))).toEqual([])
  })

  test('ends with everything that it started when its input is closed', async () => {
    const { order, worker, child } = await hang()
    await team.close()
    await expect(order).rejects.toThrow(/the coordinator is gone|worker node-1/)
    expect([alive(worker), alive(child)]).toEqual([false, false])
    expect(await readdir(join(root, 'staging'))).toEqual([])
  })

  test('ends when the run is aborted', async () => {
    const { order, worker, child } = await hang()
    stop.abort(new Error('stopped'))
    await expect(order).rejects.toMatchObject({ kind: 'terminated' })
    await team.close()
    expect(alive(worker)).toBe(false)
    await vi.waitFor(() => expect(alive(child)).toBe(false), patiently)
    expect(await readdir(join(root, 'staging'))).toEqual([])
  })

  test('that is killed fails its order and those after it; the next one sweeps its folder', async () => {
    const { order, worker, child } = await hang()
    process.kill(worker, 'SIGKILL')
    const message = 'worker node-1 was ended by SIGKILL: it said nothing'
    await expect(order).rejects.toMatchObject({ kind: 'server', message })
    await expect(team.order(upload())).rejects.toMatchObject({ kind: 'server', message })
    process.kill(child, 'SIGKILL')
    await restart({})
    await team.order(upload())
    expect(await readdir(join(root, 'staging'))).toHaveLength(1)
  })

  test('shares its process with all others that read through containers', async () => {
    const pod = { address: '10.0.0.7', names: ['node-0'] }
    const beside = { access: 'exec', pod, container: 'ndbmtd', folder: '/data' } as const
    const order = (name: string) => team.order({ ...upload(), worker: name, beside } as Order)
    // the worker's answer: there is no API server
    vi.stubEnv('KUBECONFIG', '')
    await Promise.all(
      ['node-1', 'node-2', 'node-3'].map((name) =>
        expect(order(name)).rejects.toThrow(`worker ${name}: this pod has no token for the API server`),
      ),
    )
    const [folder = '', ...others] = await readdir(join(root, 'staging'))
    expect(others).toEqual([])
    expect((await readdir(join(root, 'staging', folder))).sort()).toEqual(['node-1', 'node-2', 'node-3'])
  })

  test('that cannot make its folder says so in answer to its orders', async () => {
    await restart({ staging: join(root, 'nowhere') })
    await expect(team.order(upload())).rejects.toMatchObject({
      kind: 'configuration',
      message: expect.stringContaining(join(root, 'nowhere')),
    })
  })
})

describe('the first worker, in the process of the job', () => {
  const inside: Inside = (streams) => worker({ ...streams, log: pino({ enabled: false }) })
  const owners = async () =>
    (await readdir(join(root, 'staging'))).map((name) => Number(name.split('-')[1]) === process.pid)

  beforeEach(() => restart({ inside }))

  test('carries out its orders, answers with its errors, and leaves no folder behind', async () => {
    const { value } = (await team.order(upload())) as Outcome
    expect((value as Part[]).sort(byPath)).toEqual(partsOf())
    expect(sent).toEqual(new Map([['node-1', 3_070_006]]))
    await expect(team.order({ ...upload(), folder: 'nowhere' } as Order)).rejects.toMatchObject({
      kind: 'server',
      message: expect.stringContaining(`worker node-1: the folder ${join(root, 'nowhere')} cannot be read`),
    })
    expect(await owners()).toEqual([true])
    await team.close()
    expect(await readdir(join(root, 'staging'))).toEqual([])
  })

  test('leaves processes of their own to the others', async () => {
    await Promise.all([team.order(upload()), team.order({ ...upload(), worker: 'node-2', path: 'rondb/2' } as Order)])
    expect((await owners()).sort()).toEqual([false, true])
  })

  test('ends what it started when the run is aborted', async () => {
    const { order, child } = await hang()
    stop.abort(new JobError('terminated', 'stopped'))
    await expect(order).rejects.toMatchObject({ kind: 'terminated' })
    await team.close()
    expect(alive(child)).toBe(false)
    expect(await readdir(join(root, 'staging'))).toEqual([])
  })

  test('ends what it started when it is closed', async () => {
    const { order, child } = await hang()
    await team.close()
    await expect(order).rejects.toThrow('the coordinator is gone')
    expect(alive(child)).toBe(false)
  })

  test('of a run that was aborted before does nothing', async () => {
    stop.abort(new JobError('terminated', 'stopped'))
    await expect(team.order(upload())).rejects.toMatchObject({ kind: 'server' })
    expect(await readdir(join(root, 'a'))).toEqual([])
  })

  test('that fails by itself fails its orders', async () => {
    await restart({ inside: () => Promise.reject(new Error('out of order')) })
    const message = 'worker node-1 ended: out of order'
    await expect(team.order(upload())).rejects.toMatchObject({ kind: 'server', message })
  })
})

describe('workers that are made with their first order', () => {
  test('are not made to be closed', async () => {
    const make = vi.fn()
    await eventually(make).close()
    expect(make).not.toHaveBeenCalled()
  })

  test('tell in answer to the order why they could not be made, and are closed all the same', async () => {
    const none = eventually(() => Promise.reject(new Error('no cluster')))
    const order: Order = { do: 'engine', worker: 'node-1', engine: 'rondb', order: { do: 'room' } }
    await expect(none.order(order)).rejects.toThrow('no cluster')
    await expect(none.close()).resolves.toBeUndefined()
  })
})
