import { createServer } from 'node:http'
import { ApiException, CoordinationV1Api, KubeConfig } from '@kubernetes/client-node'
import { describe, expect, test } from 'vitest'
import { textOf } from '../../errors.ts'
import { type ApiError, ask } from '../../kubernetes/ask.ts'

/** What the server says of a ServiceAccount without a right. */
const forbidden =
  'leases.coordination.k8s.io "nightly" is forbidden: User "system:serviceaccount:shop:backup" cannot get resource "leases" in API group "coordination.k8s.io" in the namespace "shop"'

function answer(code: number, message: string): ApiException<string> {
  return new ApiException(code, 'Unknown API Status Code!', JSON.stringify({ kind: 'Status', message, code }), {})
}

const pacing = { pause: async () => {}, random: () => 0 }

/** A request that fails in these ways one after the other, then succeeds. */
function failing(...errors: unknown[]) {
  let calls = 0
  const request = async () => {
    const error = errors[calls++]
    if (error !== undefined) throw error
    return 'done'
  }
  return { request, calls: () => calls }
}

async function failureOf(error: unknown): Promise<ApiError> {
  return await ask('read Lease nightly', failing(error).request, { attempts: 1 }).catch((failure) => failure)
}

describe('a question to the API server', () => {
  test.each([429, 500, 502, 503, 504])('is asked again after a %d', async (code) => {
    const { request, calls } = failing(answer(code, 'later'), answer(code, 'later'))
    expect(await ask('read', request, { pacing })).toBe('done')
    expect(calls()).toBe(3)
  })

  test('is asked again when no answer came', async () => {
    const { request, calls } = failing(new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') }))
    expect(await ask('read', request, { pacing })).toBe('done')
    expect(calls()).toBe(2)
  })

  test.each([400, 401, 403, 404, 409, 422])('is not asked again after a %d', async (code) => {
    const { request, calls } = failing(answer(code, 'no'))
    await expect(ask('read', request, { pacing })).rejects.toMatchObject({ kind: 'server', status: code })
    expect(calls()).toBe(1)
  })

  test('is not asked for ever', async () => {
    const { request, calls } = failing(...Array.from({ length: 20 }, () => answer(503, 'away')))
    await expect(ask('read', request, { pacing, attempts: 4 })).rejects.toMatchObject({ status: 503 })
    expect(calls()).toBe(4)
  })

  test('ends with the reason of its signal', async () => {
    const stop = new AbortController()
    const { request } = failing(answer(503, 'away'))
    const paused = { ...pacing, pause: async () => stop.abort(new Error('stopped by SIGTERM')) }
    await expect(ask('read', request, { pacing: paused, signal: stop.signal })).rejects.toThrow('stopped by SIGTERM')
  })

  test('ends when the server does not answer', async () => {
    const silent = createServer(() => {}).listen(0, '127.0.0.1')
    await new Promise((resolve) => silent.once('listening', resolve))
    const { port } = silent.address() as { port: number }
    const config = new KubeConfig()
    config.loadFromClusterAndUser({ name: 'c', server: `http://127.0.0.1:${port}`, skipTLSVerify: true }, { name: 'u' })
    const api = config.makeApiClient(CoordinationV1Api)
    const question = ask('read Lease x', (options) => api.readNamespacedLease({ name: 'x', namespace: 'y' }, options), {
      timeoutMs: 50,
      attempts: 2,
      pacing,
    })
    await expect(question).rejects.toThrow('could not read Lease x: the API server cannot be reached')
    expect(textOf(await question.catch((error) => error))).toContain('no answer within 0.05 s')
    silent.closeAllConnections()
    silent.close()
  })
})

describe('the text of a failure', () => {
  test('names the right that is missing, who lacks it, and where', async () => {
    const { message, hint } = await failureOf(answer(403, forbidden))
    expect(message).toBe(
      'could not read Lease nightly: ServiceAccount backup of namespace shop may not get leases.coordination.k8s.io in namespace shop',
    )
    expect(hint).toContain('rbac.create')
  })

  test('names a right to a subresource, of the core group', async () => {
    const said =
      'pods "w-0" is forbidden: User "jane" cannot create resource "pods/attach" in API group "" in the namespace "shop"'
    expect((await failureOf(answer(403, said))).message).toBe(
      'could not read Lease nightly: jane may not create pods/attach in namespace shop',
    )
  })

  test('is the own one of a refusal that is not about rights', async () => {
    const said = 'pods "w-0" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
    const { message, hint } = await failureOf(answer(403, said))
    expect(message).toContain(said)
    expect(hint).toBeUndefined()
  })

  test('says that the token is not accepted', async () => {
    const error = new ApiException(401, 'Unauthorized', undefined, {})
    expect((await failureOf(error)).message).toContain("does not accept this pod's token")
  })

  test('of a server that cannot be reached has the cause', async () => {
    const error = new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED 10.0.0.1:443') })
    const failure = await failureOf(error)
    expect(failure).toMatchObject({ kind: 'server', status: undefined, retryable: true })
    expect(textOf(failure)).toContain('connect ECONNREFUSED 10.0.0.1:443')
  })

  test('shows a body that is no Status', async () => {
    const error = new ApiException(502, 'Unknown API Status Code!', '<html>bad gateway</html>', {})
    expect((await failureOf(error)).message).toContain('<html>bad gateway</html>')
  })
})
