import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { exitCodeOf, JobError, textOf } from '../../errors.ts'
import { RcloneError, redactor } from '../../storages/rclone-errors.ts'
import { findRclone } from '../servers/rclone.ts'
import { openRemote, type RemoteOptions } from './remote.ts'

const found = await findRclone('trixie')
const clients = found ?? ''
const disk = '[disk]\ntype = local\n'
/** As rclone wrote it, with the password correct-horse. */
const encrypted = `# Encrypted rclone configuration File

RCLONE_ENCRYPT_V0:
0ue6N4zOIm2/viA1aiOohGOWSA82LJAo7m4qbiBXzmF26m6k6j2XfERTSwo7pc8peG2TcI+Xk92NoEQkbg==
`
const configPassword = { configPassword: { secret: 'rclone' } }

let root: string
let temp: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdfast-remote-'))
  temp = join(root, 'tmp')
  await mkdir(temp)
  vi.stubEnv('TMPDIR', temp)
})
afterAll(() => rm(root, { recursive: true, force: true }))

/** What every operation of a storage fails with. */
async function failuresOf(options: RemoteOptions): Promise<JobError[]> {
  const storage = openRemote(options)
  const calls = [
    () => storage.put('a/b', Buffer.from('x'), {}),
    () => storage.put('a/b', Buffer.alloc(6 * 2 ** 20), {}),
    () => storage.get('a/b'),
    () => Array.fromAsync(storage.list('')),
    () => storage.delete(['a/b']),
  ]
  const failures: JobError[] = []
  for (const call of calls)
    failures.push(
      await call().then(
        () => Promise.reject(new Error('did not fail')),
        (error) => error,
      ),
    )
  await storage.close()
  return failures
}

/** A folder with a program that is called rclone. */
async function fake(script: string): Promise<string> {
  const folder = await mkdtemp(join(root, 'fake-'))
  await writeFile(join(folder, 'rclone'), `#!/bin/sh\n${script}\n`)
  await chmod(join(folder, 'rclone'), 0o755)
  return folder
}

describe.skipIf(!found)('rclone errors', () => {
  test.each<[string, Partial<RemoteOptions>, number, RegExp, RegExp]>([
    [
      'a remote that is not in the file',
      { remote: 'dsk' },
      2,
      /the config file has no remote dsk/,
      /correct storages\.offsite\.rclone\.remote/,
    ],
    ['an unknown type', { config: '[disk]\ntype = floppy\n' }, 2, /does not know the type/, /correct `type`/],
    ['no config at all', { config: 'sesame-open-7\n[' }, 2, /config file cannot be read/, /rclone config/],
    ['an encrypted file', { config: encrypted }, 2, /is encrypted/, /configPassword/],
    [
      'an encrypted file with another password',
      { config: encrypted, values: configPassword, secrets: { password: 'sesame-open-7' } },
      2,
      /is encrypted/,
      /configPassword/,
    ],
    ['no program', { clients: '/nowhere' }, 2, /rclone cannot be started/, /install rclone, or say where it is/],
    [
      'a server that is not there',
      {
        config:
          '[disk]\ntype = s3\nprovider = Other\nendpoint = http://127.0.0.1:9\naccess_key_id = sesame-open-7\nsecret_access_key = sesame-open-7\n',
        path: 'b',
      },
      23,
      /nobody listens/,
      /is the server up/,
    ],
  ])('%s', async (_, options, exitCode, message, hint) => {
    for (const failure of await failuresOf({ clients, config: disk, remote: 'disk', path: root, ...options })) {
      expect(failure).toBeInstanceOf(JobError)
      expect(exitCodeOf(failure), textOf(failure)).toBe(exitCode)
      expect(textOf(failure)).toMatch(message)
      expect(failure.hint).toMatch(hint)
      expect(JSON.stringify([textOf(failure), failure.hint, failure.stack])).not.toContain('sesame-open-7')
    }
    expect(await readdir(temp)).toEqual([])
  })

  test.each<[string, string, RegExp, RegExp]>([
    ['is too old', 'echo rclone v1.53.3-DEV', /rclone 1\.53\.3 is too old/, /1\.60 is the first/],
    ['has no version', 'echo something else', /rclone something else is too old/, /1\.60/],
    ['does not run', 'exit 3', /--version ended with 3/, /^$/],
  ])('a program that %s', async (_, script, message, hint) => {
    for (const failure of await failuresOf({ clients: await fake(script), config: disk, remote: 'disk', path: root })) {
      expect(failure).toMatchObject({ kind: 'configuration', message: expect.stringMatching(message) })
      expect(failure.hint ?? '').toMatch(hint)
    }
  })

  test('a program that ends before it serves', async () => {
    const program = await fake('[ "$1" = --version ] && echo rclone v1.60.1 || { echo unknown flag >&2; exit 1; }')
    for (const failure of await failuresOf({ clients: program, config: disk, remote: 'disk', path: root })) {
      expect(failure).toMatchObject({ kind: 'storage' })
      expect(textOf(failure)).toMatch(/start rclone: failed: ended with 1: unknown flag/)
    }
  })

  test('reads an encrypted file with its password', async () => {
    const storage = openRemote({
      clients,
      config: encrypted,
      remote: 'disk',
      path: join(root, 'encrypted'),
      values: configPassword,
      secrets: { password: 'correct-horse' },
    })
    await storage.put('a', Buffer.from('x'), {})
    expect(await storage.head('a')).toMatchObject({ size: 1 })
    await storage.close()
  })

  test('a disk that is full', async () => {
    const mount = join(root, 'full')
    await mkdir(mount)
    // rclone alone sees a disk of 2 MB there
    const program = await fake(
      `[ "$1" = --version ] && exec ${clients}/rclone "$@"\nexec unshare -rm sh -c 'mount -t tmpfs -o size=2m none ${mount} && exec ${clients}/rclone "$@"' sh "$@"`,
    )
    const storage = openRemote({ clients: program, config: disk, remote: 'disk', path: mount })
    const put = storage.put('large', Buffer.alloc(4 * 2 ** 20, 1), {})
    await expect(put).rejects.toMatchObject({
      kind: 'storage',
      retryable: false,
      message: expect.stringMatching(/put large: the storage is full/),
      hint: 'make it larger, or keep fewer backups',
    })
    expect(await storage.head('large')).toBeUndefined()
    await storage.put('small', Buffer.alloc(2 ** 20, 1), {})
    await storage.close()
  })

  test('keys of the secret that are missing are named before anything is started', () => {
    const secret = (ref: { secret: string }, key: string, path: string): string => {
      throw new JobError('configuration', `${path}: no ${key} in ${ref.secret}`)
    }
    expect(() => openRemote({ clients, config: disk, remote: 'disk', secret })).toThrow(
      'storages.offsite.rclone.config: no rclone.conf in rclone',
    )
  })

  test('a path may not lead out', () => {
    expect(() => openRemote({ clients, config: disk, remote: 'disk', path: '/a/../b' })).toThrow(/leads out/)
  })
})

describe('what rclone says', () => {
  const server = { name: 'offsite', at: 'storages.offsite.rclone', remote: 'b2', path: 'prod/holdfast' }

  test.each<[said: string, kind: string, message: string, retryable: boolean]>([
    ['write /mnt/x: no space left on device', 'storage', 'the storage is full', false],
    ['googleapi: Error 403: storageQuotaExceeded', 'storage', 'the storage is full', false],
    ['upload failed: insufficient_space/..', 'storage', 'the storage is full', false],
    ['NoSuchBucket: The specified bucket does not exist status code: 404', 'storage', 'there is no bucket prod', false],
    ['SignatureDoesNotMatch: … status code: 403', 'storage', 'the server refuses the credentials', false],
    [
      'couldn’t fetch token: invalid_grant: maybe token expired?',
      'storage',
      'the server refuses the credentials',
      false,
    ],
    [
      'NewFs: couldn’t connect SSH: ssh: unable to authenticate, attempted methods [none]',
      'storage',
      'the server refuses the credentials',
      false,
    ],
    ['AccessDenied: Access Denied. status code: 403', 'storage', 'access denied', false],
    ['open /mnt/x: permission denied', 'storage', 'access denied', false],
    ['open /mnt/x: read-only file system', 'storage', 'the storage is read-only', false],
    [
      'ssh: handshake failed: knownhosts: key mismatch',
      'storage',
      'the key of the host is not the one expected',
      false,
    ],
    ['x509: certificate signed by unknown authority', 'storage', 'the certificate of the server is not trusted', false],
    ['http: server gave HTTP response to HTTPS client', 'configuration', 'the server does not speak TLS', false],
    ['dial tcp: lookup b2.invalid: no such host', 'storage', 'the name of the server is unknown', false],
    ['dial tcp 10.0.0.1:443: connect: connection refused', 'storage', 'nobody listens at the server', true],
    ['dial tcp 10.0.0.1:443: i/o timeout', 'storage', 'no answer in time', true],
    ['read tcp: connection reset by peer', 'storage', 'the connection broke', true],
    ['unexpected EOF', 'storage', 'the connection broke', true],
    ['Error 429: rateLimitExceeded', 'storage', 'the server asks to try again later', true],
    ['SlowDown: please', 'storage', 'the server asks to try again later', true],
    ['something new', 'storage', 'failed', false],
  ])('%s', (said, kind, message, retryable) => {
    const error = new RcloneError(said, { ...server, operation: 'put a' })
    expect(error).toMatchObject({ kind, retryable, message: `storage offsite (b2:prod/holdfast): put a: ${message}` })
    expect(textOf(error)).toBe(`${error.message}: ${said}`)
  })

  test.each([
    ['Get "https://x.blob.net/c/a?sv=1&sig=abc%3D": dial', 'Get "https://x.blob.net/c/a?…": dial'],
    ['https://user:pass@host/path failed', 'https://host/path failed'],
    ['refused hunter2hunter2 there', 'refused … there'],
    ['token ya29.access and 1//refresh-me', 'token … and …'],
    ['two\n\tlines\n', 'two lines'],
    ['could not parse line: my secret', 'could not parse line'],
    ['nothing to hide in short', 'nothing to hide in short'],
  ])('shows %j as %j', (said, shown) => {
    const config =
      '[a]\ntype = drive\ntoken = {"access_token":"ya29.access","refresh_token":"1//refresh-me"}\n[b]\nsecret_access_key = hunter2hunter2\nkey = s\n'
    expect(redactor(config)(said)).toBe(shown)
  })
})

/** For the processes that this test starts. */
async function rcloneOf(pid: number): Promise<number | undefined> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'pid=,comm=', '--ppid', `${pid}`]).catch(() => ({
    stdout: '',
  }))
  const line = stdout.split('\n').find((each) => each.endsWith('rclone'))
  return line === undefined ? undefined : Number.parseInt(line, 10)
}

async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 20))
}

const isAlive = (pid: number) =>
  readFile(`/proc/${pid}/stat`, 'utf8').then(
    (stat) => !/\) Z /.test(stat),
    () => false,
  )

describe.skipIf(!found)('rclone, killed', () => {
  test('fails what it was doing, and is started again', async () => {
    const storage = openRemote({ clients, config: disk, remote: 'disk', path: join(root, 'killed') })
    await storage.put('before', Buffer.from('x'), {})
    const body = new PassThrough()
    const put = storage.put('large', body, {})
    put.catch(() => {})
    body.write(Buffer.alloc(4 * 2 ** 20))
    await until(async () => (await readdir(join(root, 'killed/.tmp'))).length > 0)
    process.kill((await rcloneOf(process.pid)) as number, 'SIGKILL')
    body.end(Buffer.alloc(2 ** 20))
    await expect(put).rejects.toMatchObject({
      kind: 'storage',
      retryable: true,
      message: expect.stringMatching(/put large: rclone ended with SIGKILL/),
    })
    expect(await storage.head('large')).toBeUndefined()
    await storage.put('after', Buffer.from('y'), {})
    expect((await Array.fromAsync(storage.list(''))).map(({ key }) => key)).toEqual(['after', 'before'])
    await storage.close()
  })

  test('ends when the job is killed', async () => {
    const module = new URL('./remote.ts', import.meta.url).href
    const options = JSON.stringify({ clients, config: disk, remote: 'disk', path: join(root, 'orphan') })
    const script = `const { openRemote } = await import('${module}')
      const storage = openRemote(${options})
      await storage.put('a', Buffer.from('x'), {})
      console.log('ready')
      setInterval(() => {}, 1000)`
    const child = execFile(process.execPath, ['--input-type=module', '-e', script])
    await new Promise((resolve) => child.stdout?.once('data', resolve))
    const pid = (await rcloneOf(child.pid as number)) as number
    expect(await isAlive(pid)).toBe(true)
    child.kill('SIGKILL')
    await until(async () => !(await isAlive(pid)))
    const left = await readdir(temp, { recursive: true })
    expect(left.filter((path) => path.endsWith('rclone.conf'))).toEqual([])
    expect(left.length).toBeGreaterThan(0)
  })
})
