import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { readAll } from '../../storage.ts'
import { isSamePlace, openStorage, StorageValues, storageKinds } from '../../storages/index.ts'

const valid = 'age15qkw4vchk87slqc30jaxt4fuqe9g829dwahgw9tnyqy58tpej4nst8rcfx'

const context = {
  at: 'storages.main',
  secret: () => 'secret',
  secretPath: () => '/nowhere',
  volumesDir: '/nowhere',
}

describe('storage values', () => {
  test.each([
    { s3: { bucket: 'backups' } },
    { s3: { bucket: 'backups', region: 'eu-north-1', prefix: 'prod', credentials: { secret: 's3-keys' } } },
    { s3: { bucket: 'b', endpoint: 'https://s3:9000', tls: { ca: { secret: 'ca' } }, signatureVersion: 's3v4' } },
    { s3: { bucket: 'b', sse: 'aws:kms', kmsKeyId: 'key', storageClass: 'STANDARD_IA', checksums: 'when-required' } },
    { filesystem: { claim: 'backups', path: '/' } },
    { filesystem: { path: '/backups' }, pod: { labels: { team: 'data' } } },
    { rclone: { remote: 'b2', path: 'prod-backups', config: { secret: 'rclone-conf' } } },
    {
      rclone: {
        remote: 'my disk+1',
        config: { secret: 'r', key: 'conf' },
        configPassword: { secret: 'r' },
        clients: '/opt',
      },
    },
  ])('take %j', (values) => {
    expect(StorageValues.safeParse(values).error).toBeUndefined()
  })

  test.each([
    [{}, /name one kind: s3, filesystem or rclone/],
    [
      {
        filesystem: { path: '/backups' },
        encryption: { recipients: [`age1${'q'.repeat(58)}`, `age1pq1${'q'.repeat(60)}`] },
      },
      /age1pq1… beside age1…/,
    ],
    [{ pod: {} }, /name one kind: s3, filesystem or rclone/],
    [{ s3: { bucket: 'b' }, filesystem: { path: '/' } }, /name one kind: s3, filesystem or rclone/],
    [{ ftp: {} }, /ftp/],
    [{ s3: {} }, /bucket/],
    [{ s3: { bucket: 'b', buckett: 'b' } }, /buckett/],
    [{ s3: { bucket: 'b', endpoint: 's3:9000' } }, /must begin with http/],
    [{ s3: { bucket: 'b', endpoint: 'https://:9000' } }, /is no URL/],
    [{ s3: { bucket: 'b', signatureVersion: 'v2' } }, /rclone storage with v2_auth/],
    [{ s3: { bucket: 'b', partSizeMiB: 64, partsInFlight: 4 } }, /may be 128 at most/],
    [{ s3: { bucket: 'b', kmsKeyId: 'key' } }, /needs sse/],
    [{ s3: { bucket: 'b', sse: 'AES256', kmsKeyId: 'key' } }, /needs sse/],
    [{ rclone: { remote: 'b2' } }, /config/],
    [
      { rclone: { remote: 'b2:prod', config: { secret: 'r' } } },
      /name alone; what would follow its colon goes into `path`/,
    ],
    [{ rclone: { remote: 'b2', path: 'a]b', config: { secret: 'r' } } }, /cannot have/],
  ])('refuse %j', (values, message) => {
    const { error } = StorageValues.safeParse(values)
    expect(error && z.prettifyError(error)).toMatch(message)
  })

  test('make a JSON schema, with a description of every field and no pattern that Go does not know', () => {
    const schema = z.toJSONSchema(StorageValues, { io: 'input', target: 'draft-7' })
    const fields = fieldsOf(schema as JsonSchema)
    expect(fields.length).toBeGreaterThan(20)
    expect(fields.filter(([, field]) => !field.description).map(([path]) => path)).toEqual([])
    expect(JSON.stringify(schema)).not.toMatch(/\(\?[=!<]/)
    expect(schema).toMatchObject({
      additionalProperties: false,
      oneOf: [{ required: ['s3'] }, { required: ['filesystem'] }, { required: ['rclone'] }],
    })
  })

  test('know every kind', () => {
    for (const [name, kind] of Object.entries(storageKinds)) {
      expect(kind.name).toBe(name)
      expect(Object.keys(StorageValues.shape)).toContain(name)
    }
  })
})

describe('a place', () => {
  const config = { secret: 'rclone' }
  const folder = (path: string, claim?: string) => ({ filesystem: { path, ...(claim ? { claim } : {}) } })
  const bucket = (prefix?: string, endpoint?: string, more: object = {}) => ({
    s3: { bucket: 'b', prefix, endpoint, ...more },
  })
  const as = (secret: string) => ({ credentials: { secret } })
  const remote = (path?: string, name = 'b2') => ({ rclone: { remote: name, path, config } })

  test.each<[object, object, boolean]>([
    [folder('/x'), folder('/x/'), true],
    [folder('/x'), folder('/y/../x/.'), true],
    [folder('/x'), folder('/x//y'), false],
    [folder('/x/y'), folder('/x'), false],
    [folder('/x'), folder('/'), false],
    [folder('/x'), folder('/xy'), false],
    [folder('x', 'disk'), folder('/x', 'disk'), true],
    [folder('/x', 'disk'), folder('/x', 'other'), false],
    [folder('/x', 'disk'), folder('/x'), false],
    [bucket(), bucket('/'), true],
    [bucket('prod'), bucket('/prod/'), true],
    [bucket(), bucket('prod'), false],
    [bucket('prod'), bucket('test'), false],
    [bucket('prod'), bucket('prod-2'), false],
    [bucket('prod', 'https://s3:9000'), bucket('prod', 'https://s3:9000/'), true],
    [bucket('prod', 'https://s3:9000'), bucket('prod'), false],
    [bucket('prod', 'https://S3.local:443'), bucket('prod', 'https://s3.local'), true],
    [bucket('prod', 'http://s3.local:443'), bucket('prod', 'http://s3.local'), false],
    [bucket('prod', 'https://s3', { region: 'us-east-1' }), bucket('prod', 'https://s3'), true],
    [bucket('prod', undefined, { region: 'us-east-1' }), bucket('prod'), false],
    [remote('a/b'), remote('/a/b/'), true],
    [remote(), remote('a'), false],
    [remote('a'), remote('a', 'other'), false],
    [folder('/b'), bucket(), false],
    [bucket('a', undefined, as('x')), bucket('a', undefined, as('x')), true],
    [bucket('a', undefined, as('x')), bucket('a', undefined, as('y')), false],
    [bucket('a', undefined, { region: 'eu' }), bucket('a', undefined, { region: 'cn' }), false],
    [bucket('a/b'), bucket('a//b'), false],
  ])('%j and %j: %s', (one, other, same) => {
    expect(isSamePlace(StorageValues.parse(one), StorageValues.parse(other))).toBe(same)
  })
})

describe('openStorage', () => {
  test('opens a folder under its name', async () => {
    const root = await mkdtemp(join(tmpdir(), 'holdfast-open-'))
    const values = StorageValues.parse({ filesystem: { path: root } })
    const storage = await openStorage({ name: 'local', values, context })
    await storage.put('a', Buffer.from('x'), {})
    expect([storage.name, (await readAll(storage, 'a')).toString()]).toEqual(['local', 'x'])
    expect(await storage.writable?.('nightly/')).toBeUndefined()
    expect(storage).toHaveProperty('writable')
    await rm(root, { recursive: true })
  })

  test('opens a bucket without asking for it', async () => {
    const values = StorageValues.parse({
      s3: { bucket: 'backups', endpoint: 'http://127.0.0.1:9', credentials: { secret: 'keys' } },
    })
    const storage = await openStorage({ name: 'main', values, context })
    expect(storage.name).toBe('main')
    await storage.close()
  })

  test('names the recipient that is none with its path', async () => {
    const recipients = [valid, valid.replace(/.$/, (last) => (last === 'q' ? 'p' : 'q'))]
    const values = StorageValues.parse({ filesystem: { path: tmpdir() }, encryption: { recipients } })
    await expect(openStorage({ name: 'main', values, context })).rejects.toMatchObject({
      kind: 'configuration',
      message: expect.stringContaining(
        `storages.main.encryption.recipients.1: ${recipients[1]} is no recipient of age`,
      ),
    })
  })

  test.each(['', 'secret'])('names the Secret and the file of identities that has %j', async (text) => {
    const encryption = { recipients: [valid], identities: { secret: 'age' } }
    const values = StorageValues.parse({ filesystem: { path: tmpdir() }, encryption })
    const secretPath = ({ secret }: { secret: string }, key: string) => `/secrets/${secret}/${key}`
    const storage = await openStorage({ name: 'main', values, context: { ...context, secret: () => text, secretPath } })
    expect(() => storage.encryption?.identities()).toThrow(
      expect.objectContaining({
        kind: 'configuration',
        message: expect.stringContaining(
          'storages.main.encryption.identities: secret age, key identities.txt (/secrets/age/identities.txt): no',
        ),
      }),
    )
  })

  test('says which secret is missing before anything is done', async () => {
    const secret = (ref: { secret: string }, key: string, path: string): string => {
      throw new Error(`${path}: no ${key} in ${ref.secret}`)
    }
    const values = StorageValues.parse({
      s3: { bucket: 'backups', credentials: { secret: 'keys', accessKeyIdKey: 'id' } },
    })
    const opened = openStorage({ name: 'main', values, context: { ...context, secret } })
    await expect(opened).rejects.toThrow('storages.main.s3.credentials: no id in keys')
  })

  test('costs nothing of the AWS SDK until a bucket is opened', async () => {
    const registry = new URL('../../storages/index.ts', import.meta.url).href
    const script = `await import(${JSON.stringify(registry)})
      const { createRequire } = await import('node:module')
      console.log(Object.keys(createRequire(${JSON.stringify(registry)}).cache).filter((file) => /aws-sdk|smithy/.test(file)).length)`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    expect(stdout.trim()).toBe('0')
  })
})

interface JsonSchema {
  description?: string
  properties?: Record<string, JsonSchema>
}

function fieldsOf({ properties = {} }: JsonSchema, above = ''): [string, JsonSchema][] {
  return Object.entries(properties).flatMap(([name, field]) => {
    const path = `${above}${name}`
    return [[path, field] as [string, JsonSchema], ...fieldsOf(field, `${path}.`)]
  })
}
