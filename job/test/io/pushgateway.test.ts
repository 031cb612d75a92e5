import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { SecretReader } from '../../engine.ts'
import { push } from '../../io/pushgateway.ts'
import { selfSigned } from '../servers/certificate.ts'

interface Heard {
  method: string | undefined
  url: string | undefined
  headers: IncomingMessage['headers']
  body: string
}

const gauges = [{ name: 'holdfast_x', help: 'x', samples: [{ labels: {}, value: 1 }] }]
const labels = { job: 'holdfast', verb: 'backup', name: 'nightly' }
const sent = { labels, gauges, secret: secretOf({}), signal: new AbortController().signal }

function secretOf(secrets: Record<string, string>): SecretReader {
  return ({ secret }, key) => {
    const found = secrets[`${secret}/${key}`]
    if (found === undefined) throw new Error(`no ${secret}/${key}`)
    return found
  }
}

/** A gateway that writes down what it hears and answers so. */
async function gateway(status = 200, answer = '', tls?: { cert: string; key: string }, host = '127.0.0.1') {
  const heard: Heard[] = []
  const listener: RequestListener = async (request, response) => {
    const { method, url, headers } = request
    heard.push({ method, url, headers, body: await text(request) })
    response.writeHead(status).end(answer)
  }
  const server = tls ? createTlsServer(tls, listener) : createServer(listener)
  await once(server.listen(0, host), 'listening')
  onTestFinished(() => void server.close())
  const url = `${tls ? 'https' : 'http'}://${host}:${(server.address() as AddressInfo).port}`
  return { url, heard }
}

describe('a push', () => {
  test('posts the text to the path of the group', async () => {
    const { url, heard } = await gateway()
    await push({ url, labels: {} }, sent)
    expect(heard).toEqual([
      {
        method: 'POST',
        url: '/metrics/job/holdfast/verb/backup/name/nightly',
        headers: expect.objectContaining({ 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }),
        body: '# HELP holdfast_x x\n# TYPE holdfast_x gauge\nholdfast_x 1\n',
      },
    ])
    expect(heard[0]?.headers).not.toHaveProperty('authorization')
  })

  test('goes below the path of the address', async () => {
    const { url, heard } = await gateway(202)
    await push({ url: `${url}/push/`, labels: {} }, sent)
    expect(heard[0]?.url).toBe('/push/metrics/job/holdfast/verb/backup/name/nightly')
  })

  test('logs in with what the Secret says', async () => {
    const { url, heard } = await gateway()
    const credentials = { secret: 'gw', usernameKey: 'username', passwordKey: 'pass' }
    const secret = secretOf({ 'gw/username': 'me', 'gw/pass': 'p:ö' })
    await push({ url, labels: {}, credentials }, { ...sent, secret })
    expect(heard[0]?.headers.authorization).toBe(`Basic ${Buffer.from('me:p:ö').toString('base64')}`)
  })

  test('that is refused says what the gateway said', async () => {
    const { url } = await gateway(400, 'pushed metrics are\ninvalid: holdfast_x\n')
    await expect(push({ url, labels: {} }, sent)).rejects.toMatchObject({
      kind: 'server',
      message: 'the answer was 400 Bad Request: pushed metrics are invalid: holdfast_x',
    })
  })

  test('follows no redirect: the password would go along', async () => {
    const { url } = await gateway(302)
    await expect(push({ url, labels: {} }, sent)).rejects.toThrow('the answer was 302 Found')
  })

  test('to nobody says so', async () => {
    await expect(push({ url: 'http://127.0.0.1:1', labels: {} }, sent)).rejects.toMatchObject({
      kind: 'server',
      message: 'there was no answer',
      cause: expect.objectContaining({ code: 'ECONNREFUSED' }),
    })
  })

  test('without its secret is not sent', async () => {
    const { url, heard } = await gateway()
    const credentials = { secret: 'gw', usernameKey: 'username', passwordKey: 'password' }
    await expect(push({ url, labels: {}, credentials }, sent)).rejects.toThrow('no gw/username')
    expect(heard).toEqual([])
  })

  /** Its answer begins and does not end. */
  async function endless(status: number) {
    const server = createServer((_, response) => void response.writeHead(status).write('x'))
    await once(server.listen(0, '127.0.0.1'), 'listening')
    onTestFinished(() => void server.close())
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, labels: {} }
  }

  test('does not wait for the end of an answer that says it all', async () => {
    await push(await endless(200), sent)
  })

  test('ends with its signal, also in the middle of an answer', async () => {
    const stop = new AbortController()
    const begun = () => void setImmediate(() => stop.abort(new Error('enough')))
    subscribe('http.client.response.finish', begun)
    onTestFinished(() => void unsubscribe('http.client.response.finish', begun))
    await expect(push(await endless(500), { ...sent, signal: stop.signal })).rejects.toThrow('enough')
  })
})

const certificate = await selfSigned()
const read = async (file: string | undefined) => (file === undefined ? '' : readFile(file, 'utf8'))
const tls = { cert: await read(certificate?.cert), key: await read(certificate?.key) }
await certificate?.dispose()

describe.skipIf(!certificate)('a push over TLS', () => {
  const ca = { secret: 'ca', key: 'ca.crt' }
  const named = { ...sent, secret: secretOf({ 'ca/ca.crt': tls.cert }) }

  test('is not sent to whom nobody trusts, and says what to do', async () => {
    const { url, heard } = await gateway(200, '', tls)
    await expect(push({ url, labels: {} }, sent)).rejects.toMatchObject({
      cause: expect.objectContaining({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }),
      hint: expect.stringContaining('name its CA with metrics.pushgateway.tls.ca'),
    })
    expect(heard).toEqual([])
  })

  test('trusts the CA that is named', async () => {
    const { url, heard } = await gateway(200, '', tls)
    await push({ url, labels: {}, tls: { mode: 'verify-identity', ca } }, named)
    expect(heard).toHaveLength(1)
  })

  test('asks for the name as well, unless it is told not to', async () => {
    const { url, heard } = await gateway(200, '', tls, '127.0.0.2')
    await expect(push({ url, labels: {}, tls: { mode: 'verify-identity', ca } }, named)).rejects.toMatchObject({
      cause: expect.objectContaining({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' }),
    })
    expect(heard).toEqual([])
    await push({ url, labels: {}, tls: { mode: 'verify-ca', ca } }, named)
    expect(heard).toHaveLength(1)
  })

  test('encrypts without asking who it is where that is said', async () => {
    const { url, heard } = await gateway(200, '', tls)
    await push({ url, labels: {}, tls: { mode: 'required' } }, sent)
    expect(heard).toHaveLength(1)
  })
})
