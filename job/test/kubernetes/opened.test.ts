import { createServer, type Server } from 'node:net'
import { KubeConfig } from '@kubernetes/client-node'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { converse } from '../../io/conversation.ts'
import type { Cluster } from '../../kubernetes/client.ts'
import { containerFolder } from '../../kubernetes/container.ts'
import { openLine } from '../../kubernetes/line.ts'
import { opened } from '../../kubernetes/opened.ts'
import { fakePods } from '../fakes/pods.ts'
import { patiently } from '../patience.ts'

const never = new AbortController().signal

function socket() {
  return { terminate: vi.fn() }
}

afterEach(() => {
  vi.useRealTimers()
})

test('a connection that opens is handed on', async () => {
  const one = socket()
  expect(await opened(Promise.resolve(one), never)).toBe(one)
  expect(one.terminate).not.toHaveBeenCalled()
})

test('one that is refused says why', async () => {
  await expect(opened(Promise.reject(new Error('403')), never)).rejects.toThrow('403')
})

test('one that does not open in 10 seconds is given up, and ended when it opens later', async () => {
  vi.useFakeTimers()
  const late = socket()
  const opening = Promise.withResolvers<typeof late>()
  const result = expect(opened(opening.promise, never)).rejects.toThrow('no answer within 10 s')
  await vi.advanceTimersByTimeAsync(10_000)
  await result
  opening.resolve(late)
  await vi.advanceTimersByTimeAsync(0)
  expect(late.terminate).toHaveBeenCalledOnce()
})

test('one that nobody waits for any more is given up at once', async () => {
  const stop = new AbortController()
  const result = opened(new Promise<ReturnType<typeof socket>>(() => {}), stop.signal)
  stop.abort(new Error('stopped'))
  await expect(result).rejects.toThrow('stopped')
  await expect(opened(new Promise<ReturnType<typeof socket>>(() => {}), stop.signal)).rejects.toThrow('stopped')
})

describe('an API server that takes connections and says nothing', () => {
  const connected = vi.fn()
  let server: Server
  let cluster: Cluster

  beforeAll(async () => {
    server = createServer(connected).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    const kubeConfig = new KubeConfig()
    kubeConfig.loadFromClusterAndUser(
      { name: 'c', server: `https://127.0.0.1:${port}`, skipTLSVerify: true },
      { name: 'u' },
    )
    const pods = fakePods()
    pods.run('node-0', 'a', {}, '10.0.0.7')
    cluster = { ...pods.cluster, kubeConfig }
  })

  afterAll(() => void server.close())

  afterEach(() => connected.mockClear())

  test('does not keep a run from stopping that reads through a container', async () => {
    const stop = new AbortController()
    const pod = { address: '10.0.0.7', names: ['node-0'] }
    const place = { access: 'exec', pod, container: 'ndbmtd', folder: '/data' } as const
    const names = containerFolder(place, { signal: stop.signal, scratch: '/none', cluster }).names()
    names.catch(() => {})
    await vi.waitFor(() => expect(connected).toHaveBeenCalled(), patiently)
    stop.abort(new Error('stopped'))
    await expect(names).rejects.toThrow('stopped')
  })

  test('does not keep a run from ending that is to attach to its worker', async () => {
    const line = openLine(cluster, { pod: 'nightly-worker-0', container: 'worker' })
    const hello = {
      version: '1',
      plan: 'nightly',
      backupId: '1',
      storages: {},
      secretsDir: '',
      volumesDir: '',
      staging: '',
    }
    const progress = { begin: () => {}, end: () => 0, add: () => {} }
    const options = { name: 'node-1', hello, progress, signal: never, send: line.send, onSilence: line.hangUp }
    const conversation = converse(options)
    const kept = line.keep(conversation, async () => 'running')
    await vi.waitFor(() => expect(connected).toHaveBeenCalled(), patiently)
    line.hangUp()
    conversation.close()
    await kept
  })
})
