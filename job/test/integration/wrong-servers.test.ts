import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startS3Proxy } from '../fakes/s3-proxy.ts'
import { type NdbCluster, startNdb } from '../servers/ndb.ts'
import { startS3 } from '../servers/s3.ts'
import { emptyCluster, openWorkspace, prepareAccount, refuseSecrets, sourceOf, succeeds, targetOf } from './harness.ts'
import { attempt, contentsOf, expectRefusal, type Said, type Wrong } from './wrong.ts'

const execute = promisify(execFile)

/** A port that takes connections and never says a word, and one that answers everybody in HTTP. */
const silent = await listen(createServer(() => {}))
const web = await listen(createHttpServer((_, answer) => answer.end('hello')))

const work = await openWorkspace()
const found = await startS3()
const cluster = await startNdb({ dataNodes: 2, ldm: 2 })
const mounts = await canMount()

afterAll(async () => {
  silent.close()
  web.close()
  await found?.stop()
  await cluster?.destroy()
  await work.remove()
})

async function isRefused(wrong: Wrong): Promise<void> {
  const refused = await attempt(work, wrong)
  expectRefusal(refused, wrong.expects)
  refuseSecrets({ stdout: refused.stdout, stderr: refused.stderr })
}

describe.skipIf(!found)('a bucket', async () => {
  const server = found as NonNullable<typeof found>
  const tls = await certificate('tls')
  const secure = await startS3({ tls: { cert: join(work.dir, 'secrets/tls/ca.crt'), key: tls.key } })
  const proxy = await startS3Proxy(server.endpoint)
  const bucket = await server.createBucket()
  const good = { bucket, endpoint: server.endpoint, credentials: { secret: 's3' } }

  beforeAll(async () => {
    await certificate('stranger')
    await work.secret('nobody', { 'access-key-id': 'nobody', 'secret-access-key': 'x' })
    await work.secret('mistyped', { 'access-key-id': server.accessKey, 'secret-access-key': 'mistyped' })
    await work.secret('not-pem', { 'ca.crt': 'swordfish' })
  })

  afterAll(async () => {
    await proxy.stop()
    await secure?.stop()
  })

  const s3 = (title: string, values: object, code: number, message: string | RegExp, hint: string): Wrong => ({
    title,
    run: 'list nightly --storage bucket',
    values: (v) => (v.storages.bucket = { s3: { ...good, ...values } }),
    expects: { code, message, hint },
  })
  const at = 'storages.bucket.s3'

  test.each<Wrong>([
    s3(
      'that is not there',
      { bucket: 'not-there' },
      23,
      'storage bucket (not-there): list nightly/: there is no bucket not-there',
      `create it, or correct ${at}.bucket`,
    ),
    s3(
      'with a name that cannot be',
      { bucket: 'no' },
      2,
      'storage bucket (no): list nightly/: no cannot be the name of a bucket',
      `correct ${at}.bucket`,
    ),
    s3(
      'with an unknown key',
      { credentials: { secret: 'nobody' } },
      23,
      'the server does not know the access key',
      `${at}.credentials`,
    ),
    s3(
      'with a mistyped key',
      { credentials: { secret: 'mistyped' } },
      23,
      'the server refuses the signature',
      `${at}.credentials`,
    ),
    s3(
      'where nobody listens',
      { endpoint: 'http://127.0.0.1:1' },
      23,
      'nobody listens at http://127.0.0.1:1',
      `correct ${at}.endpoint`,
    ),
    s3(
      'of a name that is unknown',
      { endpoint: 'http://nowhere.invalid:9000' },
      23,
      /the name of http:\/\/nowhere.invalid:9000 (is unknown|could not be looked up)/,
      '',
    ),
    s3(
      'with https for http',
      { endpoint: server.endpoint.replace('http:', 'https:') },
      2,
      'does not speak TLS',
      `write http:// in ${at}.endpoint`,
    ),
    s3(
      'with http for https',
      { endpoint: secure?.endpoint.replace('https:', 'http:') },
      23,
      'the connection broke',
      `write https:// in ${at}.endpoint`,
    ),
    s3(
      'without its authority',
      { endpoint: secure?.endpoint },
      23,
      'is not signed by a known authority',
      `name the authority in ${at}.tls.ca`,
    ),
    s3(
      'with the authority of another',
      { endpoint: secure?.endpoint, tls: { ca: { secret: 'stranger' } } },
      23,
      'is not signed by a known authority',
      `${at}.tls.ca`,
    ),
    s3(
      'with an authority that is no certificate',
      { endpoint: secure?.endpoint, tls: { ca: { secret: 'not-pem' } } },
      2,
      `${at}.tls.ca`,
      'PEM',
    ),
    s3('at a web server', { endpoint: `http://${addressOf(web)}` }, 23, 'storage bucket', `${at}.endpoint`),
    {
      ...s3('without a region', { endpoint: undefined }, 2, 'no region given', `set ${at}.region`),
      env: { AWS_REGION: undefined, AWS_CONFIG_FILE: '/dev/null', AWS_EC2_METADATA_DISABLED: 'true' },
    },
    {
      ...s3('without credentials', { credentials: undefined }, 2, 'no credentials found', `set ${at}.credentials`),
      env: {
        AWS_ACCESS_KEY_ID: undefined,
        AWS_CONFIG_FILE: '/dev/null',
        AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
        AWS_EC2_METADATA_DISABLED: 'true',
      },
    },
  ])('$title', isRefused)

  test.each<[string, number, string, Said]>([
    [
      'expired credentials',
      400,
      'ExpiredToken',
      {
        code: 23,
        message: 'the session token is invalid or has expired',
        hint: `renew the token: look at ${at}.credentials`,
      },
    ],
    [
      'a denied access',
      403,
      'AccessDenied',
      { code: 23, message: 'access denied', hint: `the key needs s3:ListBucket on ${bucket}` },
    ],
    [
      'another region',
      400,
      'AuthorizationHeaderMalformed',
      { code: 2, message: 'is in another region', hint: `correct ${at}.region` },
    ],
  ])('with %s', async (title, answer, code, { message, hint, code: exit }) => {
    proxy.on(() => true, { answer, code })
    await isRefused(s3(title, { endpoint: proxy.endpoint }, exit, message, `${hint}`))
  })
})

describe.skipIf(!cluster)('a cluster', () => {
  const ndb = cluster as NdbCluster
  let before: unknown

  beforeAll(async () => {
    await prepareAccount(ndb)
    await emptyCluster(ndb)
    await certificate('stranger')
    await ndb.sql(
      "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY) ENGINE=NDB; INSERT INTO shop.orders VALUES (1); CREATE USER poor@'%' IDENTIFIED BY 'poor'",
    )
    await work.secret('mistyped-db', { username: 'hf', password: 'mistyped' })
    await work.secret('poor', { username: 'poor', password: 'poor' })
    await work.secret('root', { username: 'root', password: '' })
    await work.secret('not-pem', { 'ca.crt': 'swordfish' })
    await work.secret('bad', { password: "it's" })
    work.values.backups = {
      nightly: { storages: ['local'], sources: [sourceOf(ndb)] },
      locked: { storages: ['local'], sources: [sourceOf(ndb, { encryption: { secret: 'native' } })] },
    }
    work.values.restores = Object.fromEntries(
      ['nightly', 'locked'].map((plan) => [plan, { from: { plan, storages: ['local'] }, targets: [targetOf(ndb)] }]),
    )
    for (const plan of ['nightly', 'locked']) await succeeds(work.holdfast('backup', plan))
  })

  /** What a refused run must leave as it was: the target, the backups, the temporary folder. */
  async function state() {
    const databases = await ndb.sql('SELECT schema_name AS name FROM information_schema.schemata ORDER BY name')
    const accounts = await ndb.sql('SELECT user, host FROM mysql.user ORDER BY user, host')
    return { databases, accounts, store: await contentsOf(work.store), tmp: await readdir(join(work.dir, 'tmp')) }
  }

  beforeAll(async () => {
    before = await state()
  })

  const source = 'backups.nightly.sources.0.rondb'
  // biome-ignore lint/suspicious/noExplicitAny: values of a user can have any shape
  const check = (title: string, change: (rondb: any) => void, expects: Said): Wrong => ({
    title,
    run: 'check nightly',
    values: (v) => change(v.backups.nightly.sources[0].rondb),
    expects,
  })
  const mysqlAt = (address: string) => (rondb: { mysql: { servers: string[] } }) => (rondb.mysql.servers = [address])
  const server = `${ndb?.mysql[0]?.host}:${ndb?.mysql[0]?.port}`

  describe('cannot be backed up', () => {
    afterEach(async () => expect(await state()).toEqual(before))

    test.each<Wrong>([
      check('when no management server listens', (v) => (v.managementServers = ['127.0.0.1:1']), {
        code: 22,
        message: 'management server 127.0.0.1:1 does not answer',
        hint: 'check managementServers',
      }),
      check('when the management server has an unknown name', (v) => (v.managementServers = ['nowhere.invalid']), {
        code: 22,
        message: 'management server nowhere.invalid does not answer',
        hint: 'check managementServers',
      }),
      check('when the management server is a web server', (v) => (v.managementServers = [addressOf(web)]), {
        code: 22,
        message: `management server ${addressOf(web)} does not answer`,
        hint: 'check managementServers',
      }),
      check('when the management server is MySQL', (v) => (v.managementServers = [server]), {
        code: 22,
        message: `management server ${server} does not answer`,
        hint: 'check managementServers',
      }),
      check('when no MySQL server listens', mysqlAt('127.0.0.1:1'), {
        code: 22,
        message: 'MySQL server 127.0.0.1:1 refuses the connection as hf: connect ECONNREFUSED',
        hint: 'check host and port',
      }),
      check('when MySQL has an unknown name', mysqlAt('nowhere.invalid'), {
        code: 22,
        message: /MySQL server nowhere.invalid refuses the connection as hf: getaddrinfo/,
        hint: 'check host and port',
      }),
      check('when the socket of MySQL is not there', mysqlAt('/nowhere/mysql.sock'), {
        code: 22,
        message: 'MySQL server /nowhere/mysql.sock',
        hint: 'check',
      }),
      check('with a mistyped password', (v) => (v.mysql.credentials.secret = 'mistyped-db'), {
        code: 22,
        message: `MySQL server ${server} refuses the connection as hf: Access denied`,
        hint: 'check the Secret of the credentials and the account hf',
      }),
      check('with an unknown account', (v) => (v.mysql.credentials.username = 'nobody'), {
        code: 22,
        message: `MySQL server ${server} refuses the connection as nobody: Access denied`,
        hint: 'the account nobody',
      }),
      check('without privileges', (v) => (v.mysql.credentials.secret = 'poor'), {
        code: 22,
        message: `account poor on MySQL server ${server} lacks SELECT, SHOW VIEW, TRIGGER, EVENT`,
        hint: "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO 'poor'@'%'",
      }),
      check('with a certificate that nobody knows', (v) => delete v.mysql.tls, {
        code: 22,
        message: /self.signed certificate/,
        hint: 'mysql.tls.mode: verify-identity; name its CA with mysql.tls.ca',
      }),
      check('with the authority of another', (v) => (v.mysql.tls = { mode: 'verify-ca', ca: { secret: 'stranger' } }), {
        code: 22,
        message: /certificate/,
        hint: 'mysql.tls.mode: verify-ca; name its CA with mysql.tls.ca',
      }),
      check(
        'with an authority that is no certificate',
        (v) => (v.mysql.tls = { mode: 'verify-ca', ca: { secret: 'not-pem' } }),
        { code: 2, message: `${source}.mysql.tls.ca`, hint: 'PEM' },
      ),
      check('when its backup folders are elsewhere', (v) => (v.files.path = '/nowhere/{node}/BACKUP'), {
        code: 22,
        message: 'the backup folder /nowhere/1/BACKUP of data node 1 cannot be read',
        hint: `check ${source}.files.path`,
      }),
      {
        title: 'with a temporary folder that is not there',
        run: 'restore nightly --overwrite --tmp-dir /nowhere',
        expects: { code: 2, message: '/nowhere', hint: '--tmp-dir' },
      },
    ])('$title', isRefused)

    // each waits for an answer as long as the job does
    test.concurrent.each<Wrong>([
      check('when MySQL is a web server', mysqlAt(addressOf(web)), {
        code: 22,
        message: `MySQL server ${addressOf(web)}`,
        hint: 'check host and port',
      }),
      check('when the management server is silent', (v) => (v.managementServers = [addressOf(silent)]), {
        code: 22,
        message: `management server ${addressOf(silent)} does not answer`,
        hint: 'check managementServers',
      }),
      check('when MySQL is silent', mysqlAt(addressOf(silent)), {
        code: 22,
        message: `MySQL server ${addressOf(silent)} refuses the connection as hf: connect ETIMEDOUT`,
        hint: 'check host and port',
      }),
    ])('$title', isRefused)

    test('by a MySQL server that is not of the cluster', async () => {
      const mysql = await startPlainMysql(ndb.binDir, join(work.dir, 'mysql'))
      try {
        await isRefused(
          check('', (v) => Object.assign(v.mysql, { servers: [mysql.socket], credentials: { secret: 'root' } }), {
            code: 22,
            message: `MySQL server ${mysql.socket} is not connected to an NDB cluster`,
            hint: 'it must be a server of this cluster',
          }),
        )
      } finally {
        await mysql.stop()
      }
    })

    test('before its account has what the hint grants', async () => {
      const poor = check('', (v) => (v.mysql.credentials.secret = 'poor'), { code: 22, message: '' })
      const { hint } = await attempt(work, poor)
      await ndb.sql(hint)
      try {
        expect((await attempt(work, poor)).code).toBe(0)
      } finally {
        await ndb.sql("REVOKE ALL PRIVILEGES ON *.* FROM poor@'%'")
      }
    })
  })

  describe('stays without a new backup', () => {
    const full = join(work.dir, 'full')
    const manifests = async () =>
      Object.keys(await contentsOf(work.store)).filter((path) => /^\w+\/\d+\.json$/.test(path))

    beforeAll(() => mkdir(full))

    test.skipIf(!mounts).each<[string, string, Said]>([
      [
        'in a full folder',
        `mount -t tmpfs -o size=64k tmpfs '${full}'`,
        { code: 23, message: /^(worker node-\d: )?full: nightly\/.*: no space left/, hint: 'make the volume larger' },
      ],
      [
        'in a folder that is read-only',
        `mount -t tmpfs -o ro tmpfs '${full}'`,
        { code: 23, message: /storage full: .*: the file system is read-only/, hint: 'mount the volume writable' },
      ],
    ])('%s', async (_, mount, expects) => {
      await isRefused({
        title: '',
        run: 'backup nightly',
        values: (v) => {
          v.storages.full = { filesystem: { path: full } }
          v.backups.nightly.storages = ['full']
        },
        through: within(mount),
        expects,
      })
      expect(await state()).toEqual(before)
    })

    test.skipIf(!found)('in a bucket that may not be written to', async () => {
      const server = found as NonNullable<typeof found>
      const proxy = await startS3Proxy(server.endpoint)
      const bucket = await server.createBucket()
      proxy.on(
        ({ method }) => method === 'PUT' || method === 'POST',
        { answer: 403, code: 'AccessDenied' },
        { times: 1000 },
      )
      await isRefused({
        title: '',
        run: 'backup nightly',
        values: (v) => {
          v.storages.s3 = { s3: { bucket, endpoint: proxy.endpoint, credentials: { secret: 's3' } } }
          v.backups.nightly.storages = ['s3']
        },
        expects: { code: 23, message: /storage s3 .*started.json: access denied/, hint: `s3:PutObject` },
      })
      await proxy.stop()
      expect(await state()).toEqual(before)
    })

    test('with a password that NDB does not take', async () => {
      const stored = await manifests()
      await isRefused({
        title: '',
        run: 'backup nightly',
        values: (v) => (v.backups.nightly.sources[0].rondb.encryption = { secret: 'bad' }),
        expects: { code: 2, message: 'NDB refuses the encryption password', hint: 'use letters, digits' },
      })
      expect(await manifests()).toEqual(stored)
    })
  })

  describe('is not restored into', () => {
    afterEach(async () => expect(await state()).toEqual(before))
    beforeAll(async () => {
      before = await state()
    })

    const restore = (title: string, change: Wrong['values'], expects: Said, more: Partial<Wrong> = {}): Wrong => ({
      title,
      run: 'restore nightly',
      values: change,
      expects,
      ...more,
    })

    test('when it is not empty', () =>
      isRefused(
        restore('', undefined, {
          code: 21,
          message: 'the target of rondb is not empty: database shop (1 object: orders)',
          hint: 'restores.nightly.overwrite: true (--overwrite)',
        }),
      ))

    describe('empty as it is', () => {
      beforeAll(async () => {
        await emptyCluster(ndb)
        await ndb.sql("CREATE USER poor@'%' IDENTIFIED BY 'poor'")
        before = await state()
      })

      const target = 'restores.nightly.targets.0.rondb'
      test.each<Wrong>([
        restore(
          'by an account without privileges',
          (v) => (v.restores.nightly.targets[0].rondb.mysql.credentials.secret = 'poor'),
          {
            code: 22,
            message: `account poor on MySQL server ${server} lacks SELECT, `,
            hint: 'ALL PRIVILEGES WITH GRANT OPTION',
          },
        ),
        restore(
          'with a mistyped password',
          (v) => (v.restores.nightly.targets[0].rondb.mysql.credentials.secret = 'mistyped-db'),
          { code: 22, message: 'Access denied', hint: 'check the Secret' },
        ),
        restore('by nobody', (v) => (v.restores.nightly.targets[0].rondb.managementServers = ['127.0.0.1:1']), {
          code: 22,
          message: 'management server 127.0.0.1:1 does not answer',
          hint: 'managementServers',
        }),
        restore(
          'through a folder that is not there',
          (v) => (v.restores.nightly.targets[0].rondb.staging = '/nowhere'),
          { code: 2, message: `${target}.staging: the folder /nowhere cannot be used`, hint: 'name' },
        ),
        restore(
          'encrypted, without its password',
          undefined,
          {
            code: 2,
            message: 'is encrypted, and restores.locked.targets.0.rondb.decryption names no password',
            hint: 'decryption: {',
          },
          { run: 'restore locked' },
        ),
        restore(
          'encrypted, with another password',
          (v) => (v.restores.locked.targets[0].rondb.decryption = { secret: 'poor' }),
          { code: 2, message: /password/i, hint: 'check the Secret that decryption' },
          { run: 'restore locked' },
        ),
      ])('$title', isRefused)

      test.skipIf(!mounts)('through a folder that is full', async () => {
        const staging = join(work.dir, 'staging')
        await mkdir(staging)
        await isRefused(
          restore(
            '',
            (v) => (v.restores.nightly.targets[0].rondb.staging = staging),
            {
              code: 2,
              message: /staging has 0 MB free, the files need \d+ MB/,
              hint: 'name a larger folder with `staging` of the target',
            },
            { through: within(`mount -t tmpfs -o size=16k tmpfs '${staging}'`) },
          ),
        )
      })
    })
  })
})

async function listen<S extends Server>(server: S): Promise<S> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

function addressOf(server: Server): string {
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A certificate for 127.0.0.1 that signed itself, as the key `ca.crt` of a Secret; its own key lies beside it. */
async function certificate(secret: string): Promise<{ key: string }> {
  const folder = join(work.dir, 'secrets', secret)
  await mkdir(folder, { recursive: true })
  const key = join(folder, 'tls.key')
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1']
  await execute('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    ...subject,
    '-keyout',
    key,
    '-out',
    join(folder, 'ca.crt'),
  ])
  return { key }
}

/** Runs a program where a mount is that nobody else sees. */
function within(mount: string): string[] {
  return ['unshare', '--mount', 'sh', '-c', `${mount} && exec "$@"`, 'sh']
}

async function canMount(): Promise<boolean> {
  const [file = '', ...args] = within(`mount -t tmpfs tmpfs '${work.dir}'`)
  const can = await execute(file, [...args, 'true']).then(
    () => true,
    () => false,
  )
  if (!can && process.env.CI) throw new Error('the tests of full and read-only folders need to mount (CAP_SYS_ADMIN)')
  if (!can) console.warn('skipped: full and read-only folders need to mount (CAP_SYS_ADMIN)')
  return can
}

/** A MySQL server that never heard of a cluster: root without password on its socket. */
async function startPlainMysql(binDir: string, dir: string): Promise<{ socket: string; stop(): Promise<void> }> {
  const common = ['--no-defaults', '--user=root', `--datadir=${dir}/data`, '--innodb-buffer-pool-size=16M']
  await mkdir(dir)
  await execute(join(binDir, 'mysqld'), [...common, '--initialize-insecure'])
  const socket = join(dir, 'mysql.sock')
  const args = [...common, `--socket=${socket}`, '--skip-networking']
  const child = spawn(join(binDir, 'mysqld'), args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  for await (const chunk of child.stderr) {
    said += chunk
    if (/ready for connections/.test(said)) break
  }
  const stop = async () => {
    const ended = child.exitCode === null ? once(child, 'exit') : undefined
    child.kill('SIGKILL')
    await ended
    await rm(dir, { recursive: true })
  }
  return { socket, stop }
}
