import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type NdbCluster, startNdb } from '../servers/ndb.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { emptyCluster, openWorkspace, prepareAccount, secrets, sourceOf, targetOf, type Workspace } from './harness.ts'
import { type Shown, type Watch, watchProcesses } from './watch.ts'
import { attempt, type Wrong } from './wrong.ts'

const wrong = {
  'wrong database': 'pw-Qx3Jt7-wrong-database',
  'wrong native': 'pw-Hd8Ns1-wrong-native',
  'wrong s3': 'pw-Bw5Cy6-wrong-s3',
  'wrong app': 'pw-Zf2Gv4-wrong-app',
}
const all: Record<string, string> = { ...secrets, ...wrong }
/** The S3 server of a test has its key in its environment, and every test on the machine has the same. */
const isServersOwn = ({ secret, command, ours }: Shown) => secret === 's3' && (!ours || command.includes('versitygw'))

const cluster = await startNdb({ dataNodes: 2, ldm: 2 })
const found = await startS3()

describe.skipIf(!cluster || !found)('no secret', () => {
  const ndb = cluster as NdbCluster
  const server = found as S3Server
  const said: Record<string, string> = {}
  let work: Workspace
  let watched: Awaited<ReturnType<Watch['end']>>
  let id: string

  beforeAll(async () => {
    work = await openWorkspace()
    await prepareAccount(ndb)
    await emptyCluster(ndb)
    await ndb.sql(
      "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, note TEXT) ENGINE=NDB; INSERT INTO shop.orders VALUES (1, 'one'); CREATE USER shopper@'%' IDENTIFIED BY 'old'",
    )
    const bucket = await server.createBucket()
    const rondb = { clients: await recordingClients(), encryption: { secret: 'native' } }
    const { encryption, ...clients } = rondb
    work.values.storages.s3 = { s3: { bucket, endpoint: server.endpoint, credentials: { secret: 's3' } } }
    work.values.backups.nightly = { storages: ['s3', 'local'], sources: [sourceOf(ndb, rondb)] }
    work.values.restores.once = {
      from: { plan: 'nightly', storages: ['s3'] },
      targets: [targetOf(ndb, { ...clients, decryption: encryption, passwords: { shopper: { secret: 'app' } } })],
    }
    await work.secret('wrong-db', { username: 'hf', password: wrong['wrong database'] })
    await work.secret('wrong-native', { password: wrong['wrong native'] })
    await work.secret('wrong-s3', { 'access-key-id': 'test', 'secret-access-key': wrong['wrong s3'] })
    // longer than any password that MySQL takes
    await work.secret('wrong-app', { shopper: wrong['wrong app'].repeat(20) })

    const watch = watchProcesses(all)
    await run('backup', { run: 'backup nightly', code: 0 })
    await emptyCluster(ndb)
    await run('refused login', {
      run: 'check nightly',
      code: 22,
      values: (v) => (v.backups.nightly.sources[0].rondb.mysql.credentials.secret = 'wrong-db'),
    })
    await run('refused bucket', {
      run: 'verify nightly',
      code: 23,
      values: (v) => (v.storages.s3.s3.credentials.secret = 'wrong-s3'),
    })
    await run('refused decryption', {
      run: 'restore once',
      code: 2,
      values: (v) => (v.restores.once.targets[0].rondb.decryption.secret = 'wrong-native'),
    })
    await run('refused password', {
      run: 'restore once',
      code: 22,
      values: (v) => (v.restores.once.targets[0].rondb.passwords.shopper.secret = 'wrong-app'),
    })
    await emptyCluster(ndb)
    await run('verification', { run: 'verify nightly --level readable', code: 0 })
    await run('restore', { run: 'restore once', code: 0 })
    watched = await watch.end()
    id = JSON.parse(said['termination message of backup'] ?? '{}').backup
  })

  afterAll(async () => {
    await found?.stop()
    await ndb.destroy()
    await work.remove()
  })

  /** Keeps all that a run said, to be searched. */
  async function run(
    title: string,
    { code, ...how }: { run: string; code: number; values?: Wrong['values'] },
  ): Promise<void> {
    const terminationLog = join(work.dir, 'termination')
    await writeFile(terminationLog, '')
    const wrong = {
      ...how,
      run: `${how.run} --log-level debug -o json`,
      title,
      expects: { code, message: '' },
      env: { HOLDFAST_TERMINATION_LOG: terminationLog },
    }
    const ran = await attempt(work, wrong)
    expect(ran.code, `${title}: ${ran.message}`).toBe(code)
    said[`standard output of ${title}`] = ran.stdout
    said[`standard error of ${title}`] = ran.stderr
    said[`termination message of ${title}`] = await readFile(terminationLog, 'utf8')
  }

  /** The real clients, behind scripts that write down what everybody could see of them, however short they live. */
  async function recordingClients(): Promise<string> {
    const folder = join(work.dir, 'clients')
    await mkdir(folder)
    for (const name of ['ndb_mgm', 'ndb_restore', 'mysqldump', 'ndb_print_backup_file']) {
      const lines = [
        '#!/bin/sh',
        `{ echo "${name} $*"; env; } >>'${work.dir}/calls'`,
        `exec '${ndb.binDir}/${name}' "$@"`,
      ]
      await writeFile(join(folder, name), `${lines.join('\n')}\n`)
      await chmod(join(folder, name), 0o755)
    }
    return folder
  }

  async function searchFolder(folder: string): Promise<{ found: string[]; searched: number }> {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
    const texts = await Promise.all(files.map(async (file) => [file, await readFile(file, 'latin1')] as const))
    return { found: secretsIn(Object.fromEntries(texts)), searched: files.length }
  }

  test('is in the command line or the environment of any process', () => {
    expect(watched.shown.filter((one) => !isServersOwn(one))).toEqual([])
    for (const seen of ['job/main.ts backup', 'job/main.ts restore', 'job/main.ts worker', 'ndb_mgm', 'ndb_restore'])
      expect(watched.commands, seen).toContainEqual(expect.stringContaining(seen))
  })

  test('was given to a client other than by its standard input or a file without a name', async () => {
    const calls = await readFile(join(work.dir, 'calls'), 'utf8')
    expect(secretsIn({ calls })).toEqual([])
    for (const client of ['ndb_mgm', 'ndb_restore', 'mysqldump', 'ndb_print_backup_file'])
      expect(calls).toContain(`\n${client} `)
  })

  test('is in a log, a result, an error or a termination message', () => {
    expect(secretsIn(said)).toEqual([])
    expect(said['termination message of restore']).toContain('"outcome":"done"')
    expect(said['standard error of refused password']).toContain('shopper')
  })

  test('is in a manifest or any other file of the storages', async () => {
    const local = await searchFolder(work.store)
    expect(local.found).toEqual([])
    expect(local.searched).toBeGreaterThan(12)
    expect(JSON.stringify(await work.manifest('nightly', id))).toContain('"encrypted":true')
    if (!server.dataDir) return
    const bucket = await searchFolder(server.dataDir)
    expect(bucket.found).toEqual([])
    expect(bucket.searched).toBeGreaterThanOrEqual(local.searched)
  })

  test('is left in a temporary folder', async () => {
    expect(await searchFolder(join(work.dir, 'tmp'))).toEqual({ found: [], searched: 0 })
  })

  test('was without effect: the account has its new password', async () => {
    const { createConnection } = await import('mysql2/promise')
    const { host = '', port = 0 } = ndb.mysql[0] ?? {}
    const connection = await createConnection({ host, port, user: 'shopper', password: secrets.app })
    await connection.end()
  })

  test('would have been missed: one that is shown is found', async () => {
    const watch = watchProcesses({ control: 'pw-Ky1Mu9-control' })
    const children = [
      spawn('sh', ['-c', 'read -r line', 'in-the-open', 'pw-Ky1Mu9-control'], { stdio: 'pipe' }),
      spawn('sh', ['-c', 'read -r line', 'in-its-environment'], {
        stdio: 'pipe',
        env: { PASSWORD: 'pw-Ky1Mu9-control' },
      }),
    ]
    expect(await watch.shows('in-the-open')).toMatchObject({ where: 'cmdline', secret: 'control' })
    expect(await watch.shows('in-its-environment')).toMatchObject({ where: 'environ', secret: 'control' })
    for (const child of children) {
      const ended = once(child, 'exit')
      child.stdin.end()
      await ended
    }
    await watch.end()
    expect(secretsIn({ text: `a ${secrets.app} b` })).toEqual(['text shows the secret app'])
  })
})

function secretsIn(texts: Record<string, string>): string[] {
  return Object.entries(texts).flatMap(([where, text]) =>
    Object.entries(all)
      .filter(([, secret]) => text.includes(secret))
      .map(([name]) => `${where} shows the secret ${name}`),
  )
}
