import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import { JobError, textOf } from '../../errors.ts'
import { chunked, someBytes, storageContract } from '../contracts/storage.ts'
import { type Certificate, selfSigned } from '../servers/certificate.ts'
import { findRclone } from '../servers/rclone.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { openRemote, s3Section } from './remote.ts'

const found = await startS3()
const newest = await findRclone('sid')
const ofImage = await findRclone('trixie')
afterAll(() => found?.stop())

for (const [version, clients] of [
  ['newest', newest],
  ['the image’s', ofImage],
] as const) {
  if (!clients || !found) continue
  storageContract(`rclone (${version}), a bucket`, async () => {
    const bucket = await found.createBucket()
    const storage = openRemote({ clients, config: s3Section(found), remote: 'bucket', path: `${bucket}/some/prefix` })
    return { storage, conditionalPut: 'none', dispose: async () => {}, leftovers: () => found.uploadsIn(bucket) }
  })
}

describe.skipIf(!found || !ofImage)('rclone with a bucket', () => {
  const server = found as S3Server
  const clients = ofImage as string
  const config = s3Section(server ?? { endpoint: '', accessKey: '', secretKey: '' })

  async function failureOf(options: { config?: string; path?: string }): Promise<JobError> {
    const storage = openRemote({ clients, config, remote: 'bucket', path: await server.createBucket(), ...options })
    const failure = await storage.put('a', Buffer.from('x'), {}).catch((error) => error)
    await storage.close()
    expect(failure).toBeInstanceOf(JobError)
    expect(JSON.stringify([textOf(failure), failure.hint])).not.toContain('testtesttest')
    return failure
  }

  test.each<[string, { config?: string; path?: string }, RegExp, RegExp]>([
    ['a bucket that is not there', { path: 'not-there/prod' }, /there is no bucket not-there/, /create it, or correct/],
    [
      // which versitygw tells with a 404, as if the bucket were missing
      'an unknown access key',
      { config: config.replace(/^access_key_id.*/m, 'access_key_id = nobody') },
      /there is no bucket/,
      /or the account of \[bucket\] does not see it/,
    ],
    [
      'a wrong secret',
      { config: config.replace(/^secret_access_key.*/m, 'secret_access_key = wrong-one') },
      /refuses the credentials/,
      /section \[bucket\]/,
    ],
    [
      'TLS where there is none',
      { config: config.replace('http://', 'https://') },
      /does not speak TLS/,
      /http:\/\/ in the endpoint/,
    ],
  ])('%s', async (_, options, message, hint) => {
    const failure = await failureOf(options)
    expect(textOf(failure)).toMatch(message)
    expect(failure.hint).toMatch(hint)
  })

  test('does not make a bucket', async () => {
    const storage = openRemote({ clients, config, remote: 'bucket', path: 'made-by-mistake' })
    await expect(storage.put('a', Buffer.from('x'), {})).rejects.toThrow(/no bucket made-by-mistake/)
    await storage.close()
    const root = openRemote({ clients, config, remote: 'bucket' })
    const buckets = (await Array.fromAsync(root.list('', { delimiter: '/' }))).map(({ key }) => key)
    expect(buckets).not.toContain('made-by-mistake/')
    await root.close()
  })

  test('a stream that fails leaves what was there', async () => {
    const storage = openRemote({ clients, config, remote: 'bucket', path: await server.createBucket() })
    await storage.put('a', Buffer.from('first'), {})
    const failing = Readable.from(
      (async function* () {
        yield* chunked(someBytes(12 * 2 ** 20))
        throw new Error('the dump failed')
      })(),
    )
    await expect(storage.put('a', failing, {})).rejects.toThrow('the dump failed')
    expect(await storage.head('a')).toMatchObject({ size: 5 })
    await storage.close()
  })
})

describe('rclone over TLS', async () => {
  const certificate = ofImage ? await selfSigned() : undefined
  const server = certificate && (await startS3({ tls: certificate }))
  afterAll(async () => {
    await server?.stop()
    await certificate?.dispose()
  })

  test.skipIf(!server)('trusts the authority that is told, and no other', async () => {
    const { cert } = certificate as Certificate
    const path = await (server as S3Server).createBucket()
    const options = { clients: ofImage as string, config: s3Section(server as S3Server), remote: 'bucket', path }
    const unknown = openRemote(options)
    await expect(unknown.head('a')).rejects.toMatchObject({
      message: expect.stringMatching(/certificate of the server is not trusted/),
      hint: 'name its authority in storages.offsite.rclone.tls.ca',
    })
    const told = { values: { tls: { ca: { secret: 'rclone' } } }, secrets: { 'ca.crt': await readFile(cert, 'utf8') } }
    const known = openRemote({ ...options, ...told })
    await known.put('a', Buffer.from('x'), {})
    expect(await known.head('a')).toMatchObject({ size: 1 })
    const blind = openRemote({ ...options, values: { tls: { insecureSkipVerify: true } } })
    expect(await blind.head('a')).toMatchObject({ size: 1 })
    for (const storage of [unknown, known, blind]) await storage.close()
  })
})
