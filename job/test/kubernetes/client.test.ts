import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../../kubernetes/client.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-kube-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('a pod without a token is told what to set', () => {
  expect(() => connect({})).toThrow(
    expect.objectContaining({ kind: 'configuration', hint: expect.stringContaining('automountServiceAccountToken') }),
  )
})

test('a kubeconfig that is none is named', async () => {
  const kubeconfig = join(folder, 'none')
  expect(() => connect({ kubeconfig })).toThrow(`KUBECONFIG (${kubeconfig}) cannot be read`)
})

test('outside a pod the kubeconfig says where the API server is, and which namespace is meant', async () => {
  const kubeconfig = join(folder, 'config')
  const config = {
    'current-context': 'c',
    clusters: [{ name: 'k', cluster: { server: 'https://10.0.0.1:6443' } }],
    contexts: [{ name: 'c', context: { cluster: 'k', user: 'u', namespace: 'shop' } }],
    users: [{ name: 'u', user: { token: 't' } }],
  }
  await writeFile(kubeconfig, JSON.stringify(config))
  const cluster = connect({ kubeconfig })
  expect(cluster.kubeConfig.getCurrentCluster()?.server).toBe('https://10.0.0.1:6443')
  expect(cluster).toMatchObject({ namespace: 'shop', identity: { pod: undefined, job: undefined } })
})

test('what the pod was told counts', async () => {
  const told = { podNamespace: 'bank', podName: 'n-1-x', podUid: '1', jobName: 'n-1', jobUid: '2' }
  const kubeconfig = join(folder, 'config')
  expect(connect({ ...told, kubeconfig })).toMatchObject({
    namespace: 'bank',
    identity: { pod: { name: 'n-1-x', uid: '1' }, job: { name: 'n-1', uid: '2' } },
  })
})
