import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { JobError } from '../../errors.ts'
import { readAll } from '../../storage.ts'
import { S3Error } from '../../storages/s3-errors.ts'
import { startS3Proxy } from '../fakes/s3-proxy.ts'
import { selfSigned } from '../servers/certificate.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { openBucket } from './bucket.ts'

const found = await startS3()
afterAll(() => found?.stop())

/** What every operation of a storage fails with. */
async function failuresOf(open: Parameters<typeof openBucket>[0]): Promise<JobError[]> {
  const storage = openBucket(open)
  const calls = [
    storage.put('a/b', Buffer.from('x'), {}),
    storage.put('a/b', Buffer.alloc(6 * 2 ** 20), {}),
    storage.get('a/b'),
    Array.fromAsync(storage.list('')),
    storage.delete(['a/b']),
  ]
  const results = await Promise.allSettled(calls)
  await storage.close()
  return results.map((result) => (result.status === 'rejected' ? result.reason : new Error('did not fail')))
}

describe.skipIf(!found)('s3 errors', () => {
  const server = found as S3Server

  async function expectFailures(
    open: Omit<Parameters<typeof openBucket>[0], 'server'> & { server?: S3Server },
    expected: object,
  ): Promise<void> {
    for (const failure of await failuresOf({ server, ...open })) {
      expect(failure).toBeInstanceOf(JobError)
      expect(failure).toMatchObject(expected)
      expect(failure.message).toMatch(new RegExp(`^storage main \\(${open.bucket}\\): `))
      expect(inspected(failure)).not.toContain('testtesttest')
    }
  }

  test('a bucket that is not there', async () => {
    await expectFailures(
      { bucket: 'not-there' },
      {
        kind: 'storage',
        retryable: false,
        message: expect.stringContaining('there is no bucket'),
        hint: expect.stringContaining('storages.main.s3.bucket'),
      },
    )
  })

  test('an unknown access key', async () => {
    const bucket = await server.createBucket()
    const hint = expect.stringContaining('storages.main.s3.credentials')
    await expectFailures(
      { bucket, server: { ...server, accessKey: 'nobody' } },
      { kind: 'storage', message: expect.stringContaining('does not know the access key'), hint },
    )
  })

  test('a wrong secret key', async () => {
    const bucket = await server.createBucket()
    const message = expect.stringContaining('refuses the signature')
    await expectFailures(
      { bucket, server: { ...server, secretKey: 'wrong' } },
      { kind: 'storage', retryable: false, message },
    )
  })

  test('a bad name of a bucket', async () => {
    await expectFailures(
      { bucket: 'no' },
      { kind: 'configuration', hint: expect.stringContaining('storages.main.s3.bucket') },
    )
  })

  test('nobody at the endpoint', async () => {
    const port = await closedPort()
    await expectFailures(
      { bucket: 'bucket', endpoint: `http://127.0.0.1:${port}` },
      {
        kind: 'storage',
        retryable: true,
        message: expect.stringContaining('nobody listens'),
        hint: expect.stringContaining('storages.main.s3.endpoint'),
      },
    )
  })

  test('an endpoint whose name is unknown is not waited for', async () => {
    await expectFailures(
      { bucket: 'bucket', endpoint: 'http://name.invalid:9000' },
      { kind: 'storage', message: expect.stringMatching(/name .* unknown|could not be looked up/) },
    )
  })

  test('https to a server of plain http', async () => {
    const endpoint = server.endpoint.replace('http:', 'https:')
    await expectFailures(
      { bucket: 'bucket', endpoint },
      { kind: 'configuration', message: expect.stringContaining('does not speak TLS') },
    )
  })

  test('a refusal says what object lock needs beside the rest', async () => {
    const asked = {
      name: 'main',
      at: 'storages.main',
      bucket: 'b',
      endpoint: undefined,
      operation: 'put a',
      reached: true,
    }
    for (const name of ['AccessDenied', 'Forbidden']) {
      const error = Object.assign(new Error(name), { name, $metadata: { httpStatusCode: 403 } })
      expect(new S3Error(error, asked).hint).toContain('with objectLock s3:PutObjectRetention')
    }
  })

  test.each([
    [403, 'AccessDenied', 'storage', /access denied/],
    [403, 'RequestTimeTooSkewed', 'storage', /clocks/],
    [400, 'ExpiredToken', 'storage', /token/],
    [301, 'PermanentRedirect', 'configuration', /another region/],
    [400, 'AuthorizationHeaderMalformed', 'configuration', /another region/],
    [507, 'XMinioStorageFull', 'storage', /full/],
    [418, 'Whatever', 'storage', /answered 418/],
  ])('an answer %i %s', async (answer, code, kind, message) => {
    const proxy = await startS3Proxy(server.endpoint)
    proxy.on(() => true, { answer, code }, { times: 1000 })
    await expectFailures(
      { bucket: 'bucket', endpoint: proxy.endpoint },
      { kind, message: expect.stringMatching(message), hint: answer === 418 ? expect.anything() : expect.any(String) },
    )
    await proxy.stop()
  })

  test('no credentials at all', async () => {
    // A process without any of the places where the SDK looks.
    const script = `
      const { openBucket } = await import(${JSON.stringify(new URL('./bucket.ts', import.meta.url).href)})
      const storage = openBucket({ server: {}, endpoint: 'http://127.0.0.1:9', bucket: 'bucket', values: { credentials: undefined } })
      await storage.head('a').catch(({ kind, hint }) => console.log(kind, hint))`
    const env = { PATH: process.env.PATH, HOME: '/nowhere', AWS_EC2_METADATA_DISABLED: 'true' }
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env })
    expect(stdout).toMatch(/^configuration set storages\.main\.s3\.credentials/)
  })
})

describe('s3 over TLS', async () => {
  const certificate = await selfSigned()
  const server = certificate && (await startS3({ tls: certificate }))
  afterAll(async () => {
    await server?.stop()
    await certificate?.dispose()
  })

  test.skipIf(!server)('an unknown authority is refused, with a hint', async () => {
    for (const failure of await failuresOf({ server: server as S3Server, bucket: 'bucket' })) {
      expect(failure).toMatchObject({
        kind: 'storage',
        retryable: false,
        hint: expect.stringContaining('storages.main.s3.tls.ca'),
      })
    }
  })

  test.skipIf(!server)('plain http to it is refused, with a hint', async () => {
    const endpoint = (server as S3Server).endpoint.replace('https:', 'http:')
    for (const failure of await failuresOf({ server: server as S3Server, bucket: 'bucket', endpoint })) {
      expect(failure).toMatchObject({ kind: 'storage', hint: expect.stringContaining('https://') })
    }
  })

  test.skipIf(!server).each([
    [
      'its authority is named',
      async () => ({ ca: { secret: 'ca', key: await readFile(certificate?.cert ?? '', 'utf8') } }),
    ],
    ['nothing is verified', async () => ({ insecureSkipVerify: true })],
  ])('it is used when %s', async (_, tls) => {
    const bucket = await (server as S3Server).createBucket()
    const storage = openBucket({ server: server as S3Server, bucket, values: { tls: await tls() } })
    const bytes = Buffer.alloc(11 * 2 ** 20, 7)
    await storage.put('large', bytes, {})
    await storage.put('small', Buffer.from('x'), { ifAbsent: true })
    expect((await readAll(storage, 'large')).equals(bytes)).toBe(true)
    await storage.delete(['large', 'small'])
    await storage.close()
  })
})

function inspected(error: JobError): string {
  return JSON.stringify([
    error.message,
    error.hint,
    error.stack,
    String((error.cause as Error)?.stack),
    Object.entries(error),
  ])
}

async function closedPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
