import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ownerOf } from '../../commands/desk.ts'
import { worker } from '../../commands/worker.ts'
import { type FromWorker, heartbeatMs, messages, silenceMs, type ToWorker } from '../../io/protocol.ts'
import { version } from '../../version.ts'
import { patiently } from '../patience.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

/** Its input stays open whatever happens, as that of a pod does. */
function start() {
  const input = new PassThrough()
  const output = new PassThrough().resume()
  const ended = vi.fn()
  const life = worker({ input, output, log: pino({ level: 'silent' }), signal: new AbortController().signal }).then(
    ended,
  )
  return { input, ended, life }
}

test('a worker that hears nothing for a minute ends, though its input stays open', async () => {
  const { life } = start()
  await vi.advanceTimersByTimeAsync(silenceMs + 2 * heartbeatMs)
  await life
})

test('a worker stays as long as it hears a heartbeat now and then', async () => {
  const { input, ended, life } = start()
  for (let minute = 0; minute < 5; minute++) {
    await vi.advanceTimersByTimeAsync(silenceMs - heartbeatMs)
    input.write('{"type":"heartbeat"}\n')
  }
  expect(ended).not.toHaveBeenCalled()
  input.end()
  await life
})

test('workers that share a process carry out their orders side by side, each in its own folder', async () => {
  vi.useRealTimers()
  const root = await mkdtemp(join(tmpdir(), 'holdfast-worker-'))
  const id = '1795218000'
  await mkdir(join(root, `BACKUP-${id}`))
  for (const file of [`BACKUP-${id}-0.1.Data`, `BACKUP-${id}.1.ctl`, `BACKUP-${id}.1.log`])
    await writeFile(join(root, `BACKUP-${id}`, file), '')
  const input = new PassThrough()
  const output = new PassThrough()
  const life = worker({ input, output, log: pino({ level: 'silent' }), signal: new AbortController().signal })
  const answers: FromWorker[] = []
  const listening = (async () => {
    for await (const message of messages<FromWorker>(output)) if (message.type !== 'heartbeat') answers.push(message)
  })()
  const say = (message: ToWorker) => input.write(`${JSON.stringify(message)}\n`)

  const hello = {
    version,
    plan: 'nightly',
    backupId: id,
    storages: {},
    secretsDir: root,
    volumesDir: root,
    staging: root,
  }
  say({ type: 'hello', hello })
  const clients = join(import.meta.dirname, '../bin/hanging')
  const survey = { do: 'survey', node: 1, plan: 'nightly', backupId: id, clients }
  const beside = { access: 'local', folder: root } as const
  say({ type: 'order', id: 1, order: { do: 'engine', worker: 'node-1', beside, engine: 'rondb', order: survey } })
  const nothing = { do: 'download', parts: [], strip: '', room: 0 } as const
  say({ type: 'order', id: 2, order: { ...nothing, worker: 'node-1' } })
  say({ type: 'order', id: 3, order: { ...nothing, worker: 'node-2' } })
  await vi.waitFor(() => expect(answers).toMatchObject([{ type: 'result', id: 3 }]), patiently)
  const [own = ''] = (await readdir(root)).filter((name) => name.startsWith(`holdfast-${process.pid}-`))
  expect((await readdir(join(root, own))).sort()).toEqual(['node-1', 'node-2'])

  input.end()
  await life
  output.end()
  await listening
  expect(answers.slice(1)).toMatchObject([{ type: 'error', id: 1, message: 'the coordinator is gone' }, { id: 2 }])
  await rm(root, { recursive: true })
})

test.each<[string, object, boolean]>([
  ['other credentials', { s3: { bucket: 'b', prefix: 'prod', credentials: { secret: 's3' } } }, true],
  ['the prefix written otherwise', { s3: { bucket: 'b', prefix: '/prod/' } }, true],
  ['another prefix', { s3: { bucket: 'b', prefix: 'test' } }, false],
  ['another bucket', { s3: { bucket: 'c', prefix: 'prod' } }, false],
  ['another server', { s3: { bucket: 'b', prefix: 'prod', endpoint: 'https://s3:9000' } }, false],
  ['another kind of storage', { filesystem: { path: '/b' } }, false],
])('a plan of the same name with %s has the same owner or not', (_, main, same) => {
  const owner = (values: object) =>
    ownerOf({ plan: 'nightly', storages: { main: values, other: { s3: { bucket: 'o' } } } })
  expect(owner(main) === owner({ s3: { bucket: 'b', prefix: 'prod' } })).toBe(same)
})

test('a worker of another version than its run carries out nothing, and says why', async () => {
  vi.useRealTimers()
  const input = new PassThrough()
  const output = new PassThrough()
  const life = worker({ input, output, log: pino({ level: 'silent' }), signal: new AbortController().signal })
  const root = tmpdir()
  const hello = { version: '0.0.9', plan: 'nightly', backupId: '1', storages: {}, secretsDir: root, volumesDir: root }
  input.write(`${JSON.stringify({ type: 'hello', hello: { ...hello, staging: root } })}\n`)
  const order = { do: 'download', worker: 'node-1', parts: [], strip: '', room: 0 }
  input.write(`${JSON.stringify({ type: 'order', id: 1, order })}\n`)
  for await (const message of messages<FromWorker>(output)) {
    if (message.type !== 'error') continue
    expect(message).toMatchObject({ kind: 'configuration', hint: expect.stringContaining('run again') })
    expect(message.message).toBe(`the run is of holdfast 0.0.9, its worker of ${version}`)
    break
  }
  input.end()
  await life
})

test('a worker whose upload waits for the limit is alive, and ends at once when it is told to', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] })
  const root = await mkdtemp(join(tmpdir(), 'holdfast-worker-'))
  await mkdir(join(root, 'store'))
  await mkdir(join(root, 'data'))
  await writeFile(join(root, 'data/large'), Buffer.alloc(10_000_000))
  const input = new PassThrough()
  const output = new PassThrough()
  const life = worker({ input, output, log: pino({ level: 'silent' }), signal: new AbortController().signal })
  const said: FromWorker[] = []
  const listening = (async () => {
    for await (const message of messages<FromWorker>(output)) said.push(message)
  })()
  const say = (message: ToWorker) => input.write(`${JSON.stringify(message)}\n`)
  const hello = {
    version,
    plan: 'nightly',
    backupId: '1795218000',
    storages: { main: { filesystem: { path: join(root, 'store') } } },
    secretsDir: root,
    volumesDir: root,
    staging: root,
    pacing: { limits: { bytesPerSecond: '64Ki' }, timeZone: 'Etc/UTC' },
  }
  say({ type: 'hello', hello })
  say({ type: 'share', of: 4 })
  const beside = { access: 'local' as const, folder: root }
  const order = {
    do: 'upload',
    worker: 'a',
    beside,
    folder: 'data',
    path: 'a',
    storages: ['main'],
    resume: false,
  } as const
  say({ type: 'order', id: 1, order: { ...order, storages: ['main'] } })
  const temps = () => readdir(join(root, 'store/.tmp')).catch(() => [])
  await vi.waitUntil(async () => (await temps()).length > 0, patiently)
  for (let minute = 0; minute < 5; minute++) {
    await vi.advanceTimersByTimeAsync(silenceMs - heartbeatMs)
    say({ type: 'heartbeat' })
    await vi.waitUntil(() => said.filter(({ type }) => type === 'heartbeat').length >= 5 * (minute + 1), patiently)
  }
  expect(said.filter(({ type }) => type === 'result' || type === 'error')).toEqual([])
  input.end()
  await life
  output.end()
  await listening
  expect(said.filter(({ type }) => type === 'error')).toMatchObject([{ id: 1, kind: 'interrupted' }])
  expect(await temps()).toEqual([])
  await rm(root, { recursive: true })
})
