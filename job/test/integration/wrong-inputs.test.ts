import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { engines } from '../../engines/index.ts'
import { openWorkspace, refuseSecrets, type Workspace } from './harness.ts'
import { attempt, contentsOf, expectRefusal, put, putBackup, type Wrong } from './wrong.ts'

const id = '1700000000'
let work: Workspace
let stored: Record<string, string>

/** Values that are right, of a cluster that nobody answers for. */
beforeAll(async () => {
  work = await openWorkspace()
  const rondb = {
    managementServers: ['127.0.0.1:1'],
    mysql: { host: '127.0.0.1', port: 1, credentials: { secret: 'db' } },
  }
  const source = { name: 'rondb', rondb: { ...rondb, files: { access: 'local', path: '/data/{node}/BACKUP' } } }
  const restore = (plan: string) => ({
    from: { plan, storages: ['local'] },
    targets: [{ name: 'rondb', rondb }],
  })
  const plans = ['newer', 'torn', 'moved', 'locked', 'half', 'other', 'empty', 'strange']
  work.values.backups = { nightly: { storages: ['local'], sources: [source] } }
  work.values.restores = Object.fromEntries(['once', ...plans].map((plan) => [plan, restore(plan)]))
  work.values.restores.once = restore('nightly')
  const { store } = work
  await putBackup(store, { plan: 'nightly', id })
  await put(
    store,
    'nightly/1700000100/started.json',
    JSON.stringify({
      run: 'a-run',
      plan: 'nightly',
      started: '2023-11-14T22:15:00.000Z',
      sources: ['rondb'],
    }),
  )
  await put(store, 'nightly/1700000200/users.sql', '-- of rondb-helm\n')
  await putBackup(store, { plan: 'newer', id, change: (manifest) => Object.assign(manifest, { format: 3 }) })
  await putBackup(store, { plan: 'moved', id, change: (manifest) => Object.assign(manifest, { plan: 'nightly' }) })
  await putBackup(store, {
    plan: 'locked',
    id,
    change: ({ sources }) => Object.assign(sources[0]?.facts ?? {}, { encrypted: true }),
  })
  await putBackup(store, { plan: 'half', id, change: (manifest) => manifest.parts.pop() })
  await putBackup(store, {
    plan: 'other',
    id,
    change: ({ sources }) => Object.assign(sources[0] ?? {}, { name: 'ledger' }),
  })
  await putBackup(store, {
    plan: 'strange',
    id,
    change: ({ sources }) => Object.assign(sources[0] ?? {}, { facts: { gtid: '1-2-3' } }),
  })
  await put(store, `torn/${id}.json`, '{"format": 1, "id": "17')
  await writeFile(join(work.dir, 'bracket.yaml'), 'storages: {')
  await writeFile(join(work.dir, 'twice.yaml'), 'cluster: a\ncluster: b\n')
  await writeFile(join(work.dir, 'word.yaml'), 'nightly\n')
  await mkdir(join(work.dir, 'volumes'))
  stored = await contentsOf(store)
})

afterEach(async () => {
  expect(await contentsOf(work.store)).toEqual(stored)
  expect(await readdir(join(work.dir, 'tmp'))).toEqual([])
})

afterAll(() => work.remove())

async function isRefused(wrong: Wrong): Promise<void> {
  const refused = await attempt(work, wrong)
  expectRefusal(refused, wrong.expects)
  refuseSecrets({ stdout: refused.stdout, stderr: refused.stderr })
}

describe('the command line', () => {
  const usage = (message: string | RegExp) => ({ code: 2, message, hint: 'holdfast --help' })

  test.each<Wrong>([
    { title: 'without a verb', run: '', expects: usage('name a verb') },
    { title: 'an unknown verb', run: 'bakcup nightly', expects: usage('bakcup') },
    { title: 'an unknown flag', run: 'backup nightly --force', expects: usage('force') },
    { title: 'a missing plan', run: 'backup', expects: usage('Not enough non-option arguments') },
    { title: 'a word too many', run: 'check nightly now', expects: usage('now') },
    { title: 'an unknown format', run: 'list -o xml', expects: usage(/output.*"xml".*"json"/s) },
    { title: 'an unknown level', run: 'verify nightly --level deep', expects: usage(/level.*"deep".*"readable"/s) },
    { title: 'a flag without its value', run: 'list --config', expects: usage('config') },
    { title: 'a flag twice', run: 'list --config a.yaml --config b.yaml', expects: usage('--config is there twice') },
    { title: 'a number that is none', run: 'list --last many', expects: usage('--last is a number of rows') },
    { title: 'nothing to restore', run: 'restore', expects: usage('name a restore, or a plan with --backup') },
    { title: 'two things to restore', run: 'restore once --backup nightly', expects: usage('mutually exclusive') },
    { title: 'a folder without its storage', run: `adopt nightly ${id}`, expects: usage('storage') },
  ])('$title', isRefused)
})

describe('the config file', () => {
  test.each<Wrong>([
    {
      title: 'that is not there',
      run: 'list --config nowhere.yaml',
      expects: { code: 2, message: 'there is no config file nowhere.yaml', hint: '--config' },
    },
    {
      title: 'that is a folder',
      run: 'list --config store',
      expects: { code: 2, message: 'store cannot be read' },
    },
    {
      title: 'with an open bracket',
      run: 'backup nightly --config bracket.yaml',
      expects: { code: 2, message: 'bracket.yaml cannot be read as YAML' },
    },
    {
      title: 'with a key twice',
      run: 'list --config twice.yaml',
      expects: { code: 2, message: /twice.yaml cannot be read as YAML: .*unique/ },
    },
    {
      title: 'that is only a word',
      run: 'list --config word.yaml',
      expects: { code: 2, message: 'word.yaml: must be a map of keys, not a text', hint: 'docs/values.md' },
    },
  ])('$title', isRefused)
})

describe('the values', () => {
  const wrong = (
    title: string,
    values: Wrong['values'],
    message: string | RegExp,
    hint: string = 'docs/values.md',
  ): Wrong => ({
    title,
    run: 'check nightly',
    values,
    expects: { code: 2, message, hint },
  })
  const nightly = 'backups.nightly'
  const source = `${nightly}.sources.0`

  test.each<Wrong>([
    wrong('a key that nobody knows', (v) => (v.backup = {}), 'unrecognized key: "backup"'),
    wrong(
      'a key that nobody knows, inside',
      (v) => (v.backups.nightly.retension = {}),
      `${nightly}: unrecognized key: "retension"`,
    ),
    wrong(
      'a text for a number',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.port = '3306'),
      `${source}.rondb.mysql.port: must be a number: leave its quotes out`,
    ),
    wrong(
      'a port that is none',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.port = 70_000),
      `${source}.rondb.mysql.port: must be at most 65535`,
    ),
    wrong('a list for a text', (v) => (v.cluster = ['a']), 'cluster: must be a text, not a list'),
    wrong('a name with capitals', (v) => (v.backups.Nightly = v.backups.nightly), 'backups.Nightly: a name has'),
    wrong(
      'a storage of two kinds',
      (v) => (v.storages.local.s3 = { bucket: 'b' }),
      'storages.local: name one kind: s3, filesystem or rclone',
    ),
    wrong('a storage of no kind', (v) => (v.storages.local = {}), 'storages.local: name one kind'),
    wrong(
      'a storage of an unknown kind',
      (v) => (v.storages.tape = { tape: {} }),
      'storages.tape: unrecognized key: "tape"',
    ),
    wrong(
      'a plan without sources',
      (v) => (v.backups.nightly.sources = []),
      `${nightly}.sources: must have at least 1 entry`,
    ),
    wrong(
      'a plan without storages',
      (v) => (v.backups.nightly.storages = []),
      `${nightly}.storages: must have at least 1 entry`,
    ),
    wrong(
      'an unknown engine',
      (v) => (v.backups.nightly.sources[0] = { name: 'a', oracle: {} }),
      `${source}: unrecognized key: "oracle"`,
    ),
    wrong(
      'a source of no engine',
      (v) => delete v.backups.nightly.sources[0].rondb,
      `${source}: name one engine: ${engines.map((engine) => engine.name).join(', ')}`,
    ),
    wrong(
      'a bad duration',
      (v) => (v.backups.nightly.deadline = '1 day'),
      `${nightly}.deadline: a duration is a number with s, m, h or d`,
    ),
    wrong(
      'no backup to keep',
      (v) => (v.backups.nightly.retention = { last: 0 }),
      `${nightly}.retention.last: must be at least 1`,
    ),
    wrong(
      'backup folders without {node}',
      (v) => (v.backups.nightly.sources[0].rondb.files.path = '/data'),
      `${source}.rondb.files.path: the path needs {node}`,
    ),
    wrong(
      'a management server with a scheme',
      (v) => (v.backups.nightly.sources[0].rondb.managementServers = ['http://mgmd']),
      `${source}.rondb.managementServers.0: a management server is host or host:port`,
    ),
    wrong(
      'a folder of clients that is not absolute',
      (v) => (v.backups.nightly.sources[0].rondb.clients = 'bin'),
      `${source}.rondb.clients: the folder of the clients is an absolute path`,
    ),
    wrong(
      'two ways to MySQL',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.socket = '/s'),
      `${source}.rondb.mysql: name one of host, socket and servers`,
    ),
    wrong(
      'a password in the values',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.password = 'x'),
      `${source}.rondb.mysql: unrecognized key: "password"`,
    ),
    wrong(
      'a TLS mode that is none',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.tls = { mode: 'none' }),
      `${source}.rondb.mysql.tls.mode: must be "verify-identity", `,
    ),
    wrong(
      'a table without its database',
      (v) => (v.restores.once.targets[0].rondb.include = { tables: ['orders'] }),
      'restores.once.targets.0.rondb.include.tables.0: a table is database.table',
    ),
    wrong(
      'an endpoint without a scheme',
      (v) => (v.storages.s3 = { s3: { bucket: 'b', endpoint: 's3:9000' } }),
      'storages.s3.s3.endpoint: must begin with http',
    ),
    wrong(
      'a key for encryption that is not asked for',
      (v) => (v.storages.s3 = { s3: { bucket: 'b', kmsKeyId: 'k' } }),
      'storages.s3.s3.kmsKeyId: needs sse',
    ),
    wrong(
      'two mistakes',
      (v) => {
        v.backups.nightly.deadline = 'x'
        v.restores.once.overwrite = 'yes'
      },
      /nightly\.deadline: .*; restores\.once\.overwrite: /,
    ),
    wrong(
      'a plan for an unknown storage',
      (v) => (v.backups.nightly.storages = ['locla']),
      `${nightly}.storages: no storage named "locla" (there are: local)`,
      '',
    ),
    wrong(
      'a restore from an unknown storage',
      (v) => (v.restores.once.from.storages = ['locla']),
      'restores.once.from.storages: no storage named "locla"',
      '',
    ),
    wrong(
      'a storage twice',
      (v) => (v.backups.nightly.storages = ['local', 'local']),
      `${nightly}.storages: "local" is there twice`,
      '',
    ),
    wrong(
      'two sources of one name',
      (v) => v.backups.nightly.sources.push(v.backups.nightly.sources[0]),
      `${nightly}.sources: "rondb" is there twice`,
      '',
    ),
    {
      ...wrong(
        'a bad schedule',
        (v) => (v.backups.nightly.schedule = '61 2 * * *'),
        `${nightly}.schedule: "61 2 * * *"`,
        'five fields as in crontab',
      ),
      run: 'list nightly --runs',
    },
    {
      ...wrong(
        'a bad time zone',
        (v) => Object.assign(v.backups.nightly, { schedule: '0 2 * * *', timeZone: 'Europe/Atlantis' }),
        `${nightly}.timeZone: is no time zone`,
      ),
      run: 'list nightly --runs',
    },
  ])('$title', isRefused)
})

describe('a name', () => {
  const noPlan = { code: 2, message: 'backups: no plan named "weekly" (there are: nightly)' }

  test.each<Wrong>([
    ...['backup', 'check', 'prune', 'restore --backup'].map((verb) => ({
      title: `of a plan that nobody knows, for ${verb}`,
      run: `${verb} weekly`,
      expects: noPlan,
    })),
    ...['list', 'show', 'verify'].map((verb) => ({
      title: `of a plan that nobody knows, for ${verb}`,
      run: `${verb} weekly`,
      expects: { ...noPlan, hint: '--storage' },
    })),
    {
      title: 'of a restore',
      run: 'restore twice',
      expects: { code: 2, message: 'restores: no restore named "twice" (there are: once, ', hint: 'restore --backup' },
    },
    {
      title: 'of a storage',
      run: 'list nightly --storage tape',
      expects: { code: 2, message: 'no storage named "tape" (there are: local)' },
    },
    {
      title: 'of a storage that the plan does not use',
      run: 'prune nightly --storage tape',
      expects: { code: 2, message: 'plan nightly does not write to storage "tape" (it writes to: local)' },
    },
    {
      title: 'of a source',
      run: 'restore once --source ledger',
      expects: { code: 2, message: '--source ledger: no target of that name (there are: rondb)' },
    },
    {
      title: 'of a target that the backup does not have',
      run: 'restore other',
      expects: {
        code: 20,
        message: 'restores.other.targets.0.name: backup 1700000000 has no source rondb',
        hint: 'it has ledger',
      },
    },
    {
      title: 'of an included database',
      run: 'restore once',
      values: (v) => (v.restores.once.targets[0].rondb.include = { databases: ['shpo'] }),
      expects: {
        code: 20,
        message: 'restores.once.targets.0.rondb.include.databases: the backup has no database shpo',
        hint: 'it has shop',
      },
    },
    {
      title: 'of an excluded table',
      run: 'restore once',
      values: (v) => (v.restores.once.targets[0].rondb.exclude = { tables: ['shop.order'] }),
      expects: {
        code: 20,
        message: 'restores.once.targets.0.rondb.exclude.tables: the backup has no table shop.order',
        hint: 'holdfast show',
      },
    },
    {
      title: 'that leaves nothing to restore',
      run: 'restore once',
      values: (v) => (v.restores.once.targets[0].rondb.exclude = { databases: ['shop'] }),
      expects: {
        code: 20,
        message: 'restores.once.targets.0.rondb: include and exclude leave nothing',
      },
    },
  ])('$title', isRefused)
})

describe('a pick', () => {
  const pick = (pick: string, code: number, message: string | RegExp, hint: string | RegExp): Wrong => ({
    title: pick,
    run: `restore once --pick ${pick}`,
    expects: { code, message, hint },
  })

  test.each<Wrong>([
    pick('newest', 2, '"newest" picks no backup', 'a pick is `latest`'),
    pick('2026-02-30', 2, '"2026-02-30" picks no backup', 'a pick is `latest`'),
    pick('0', 2, '"0" picks no backup', 'ids go from 1'),
    pick('4294967295', 2, '"4294967295" picks no backup', 'ids go from 1'),
    pick(
      '1700000001',
      20,
      'no backup of plan nightly in storage local has id 1700000001',
      'there are 1, the newest is 1700000000 of 2023-11-14T22:13:20Z',
    ),
    pick('1700000100', 20, 'run 1700000100 of plan nightly did not finish', 'holdfast list nightly --runs'),
    pick(
      '2023-11-14T22:00',
      20,
      'no backup of plan nightly in storage local was started until 2023-11-14T22:00:00.000Z',
      'the newest is 1700000000',
    ),
    {
      title: 'of what is too old',
      run: 'restore once',
      values: (v) => (v.restores.once.maxAge = '2d'),
      expects: {
        code: 20,
        message:
          /^the newest backup that matches, 1700000000 of plan nightly, is \d+ h old: restores.once.maxAge allows 2d/,
        hint: 'list --runs',
      },
    },
    {
      title: 'where there is nothing',
      run: 'restore empty',
      expects: {
        code: 20,
        message: 'no backup of plan empty in storage local is there',
        hint: 'there is no backup at all',
      },
    },
    {
      title: 'to show',
      run: 'show nightly 1700000001',
      expects: { code: 20, message: 'has id 1700000001', hint: 'the newest is 1700000000' },
    },
    {
      title: 'to verify',
      run: 'verify nightly 1700000001',
      expects: { code: 20, message: 'has id 1700000001', hint: 'the newest is 1700000000' },
    },
    {
      title: 'to adopt, of a backup',
      run: `adopt nightly ${id} --storage local`,
      expects: { code: 20, message: 'backup 1700000000 of plan nightly has a manifest already', hint: 'holdfast show' },
    },
    {
      title: 'to adopt, of an unfinished run',
      run: 'adopt nightly 1700000100 --storage local',
      expects: { code: 20, message: 'is an unfinished run of holdfast', hint: '--resume' },
    },
    {
      title: 'to adopt, of half a folder',
      run: 'adopt nightly 1700000200 --storage local',
      expects: { code: 24, message: 'the folder has no databases.sql' },
    },
    {
      title: 'to adopt, of nothing',
      run: 'adopt nightly 12 --storage local',
      expects: {
        code: 20,
        message: 'storage local has no folder nightly/12/',
        hint: 'there are: 1700000100, 1700000200',
      },
    },
    {
      title: 'to resume, of a backup',
      run: `backup nightly --resume ${id}`,
      expects: { code: 20, message: 'backup 1700000000 is finished' },
    },
    {
      title: 'to resume, of nothing',
      run: 'backup nightly --resume 12',
      expects: { code: 20, message: 'plan nightly has no unfinished run 12', hint: 'list nightly --runs' },
    },
    {
      title: 'to resume, of a run that got nowhere',
      run: 'backup nightly --resume 1700000100',
      expects: {
        code: 20,
        message: 'run 1700000100 ended before source rondb was complete',
        hint: 'holdfast backup nightly',
      },
    },
  ])('$title', isRefused)
})

test('worker pods without a lease end a run before it does anything, with a summary', async () => {
  work.env = { HOLDFAST_WORKERS: join(work.dir, 'workers.yaml'), HOLDFAST_LEASE: '' }
  const { code, summary } = await work.holdfast('restore', '--backup', 'nightly')
  work.env = {}
  const error = expect.stringContaining('HOLDFAST_WORKERS without HOLDFAST_LEASE')
  expect(summary).toMatchObject({ outcome: 'failed', code: 2, error })
  expect(code).toBe(2)
})

describe('a manifest', () => {
  const manifest = (title: string, plan: string, message: string, hint?: string): Wrong => ({
    title,
    run: `restore ${plan}`,
    expects: { code: 24, message, ...(hint ? { hint } : {}) },
  })

  test.each<Wrong>([
    manifest(
      'of a newer version',
      'newer',
      'newer/1700000000.json in storage local has format 3; this version reads formats 1 and 2',
      'use the version of holdfast that wrote it',
    ),
    manifest('that is not JSON', 'torn', 'torn/1700000000.json in storage local is not JSON', 'restore another'),
    manifest(
      'of another plan',
      'moved',
      'moved/1700000000.json in storage local is the manifest of backup 1700000000 of plan nightly',
      'manifests stay where they were written',
    ),
    manifest('without the parts of a data node', 'half', 'backup 1700000000 has no rondb/2/', 'another'),
    manifest('with the facts of another engine', 'strange', "the manifest's facts are not those of a RonDB backup"),
  ])('$title', isRefused)
})

describe('a secret', () => {
  const missing = (
    title: string,
    run: string,
    values: Wrong['values'],
    at: string,
    secret: string,
    key: string,
  ): Wrong => ({
    title,
    run,
    ...(values ? { values } : {}),
    expects: {
      code: 2,
      message: new RegExp(`${at}: secret ${secret} has no readable key ${key} \\(.*secrets/${secret}/${key}\\)`),
      hint: '--secrets-dir',
    },
  })
  const source = 'backups.nightly.sources.0.rondb'
  const target = 'restores.once.targets.0.rondb'
  const s3 = { bucket: 'b', endpoint: 'http://127.0.0.1:1' }

  test.each<Wrong>([
    missing(
      'for MySQL',
      'backup nightly',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.credentials.secret = 'nobody'),
      `${source}.mysql.credentials`,
      'nobody',
      'username',
    ),
    missing(
      'for MySQL, without the key',
      'check nightly',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.credentials.passwordKey = 'pass'),
      `${source}.mysql.credentials`,
      'db',
      'pass',
    ),
    missing(
      'for the authority of MySQL',
      'check nightly',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.tls = { ca: { secret: 'db' } }),
      `${source}.mysql.tls.ca`,
      'db',
      'ca.crt',
    ),
    missing(
      'for the encryption',
      'backup nightly',
      (v) => (v.backups.nightly.sources[0].rondb.encryption = { secret: 'nobody' }),
      `${source}.encryption`,
      'nobody',
      'password',
    ),
    missing(
      'for the decryption',
      'restore once',
      (v) => (v.restores.once.targets[0].rondb.decryption = { secret: 'nobody' }),
      `${target}.decryption`,
      'nobody',
      'password',
    ),
    missing(
      'for the password of an account',
      'restore once',
      (v) => (v.restores.once.targets[0].rondb.passwords = { shopper: { secret: 'db' } }),
      `${target}.passwords.shopper`,
      'db',
      'shopper',
    ),
    missing(
      'for a bucket',
      'list nightly',
      (v) => (v.storages.local = { s3: { ...s3, credentials: { secret: 'nobody' } } }),
      'storages.local.s3.credentials',
      'nobody',
      'access-key-id',
    ),
    missing(
      'for the authority of a bucket',
      'list nightly',
      (v) => (v.storages.local = { s3: { ...s3, tls: { ca: { secret: 's3' } } } }),
      'storages.local.s3.tls.ca',
      's3',
      'ca.crt',
    ),
    {
      title: 'folder that is not there',
      run: 'check nightly --secrets-dir nowhere',
      expects: { code: 2, message: 'has no readable key username (nowhere/db/username)', hint: '--secrets-dir' },
    },
    {
      title: 'that an encrypted backup needs',
      run: 'restore locked',
      expects: {
        code: 2,
        message: 'backup 1700000000 is encrypted, and restores.locked.targets.0.rondb.decryption names no password',
        hint: 'decryption: {',
      },
    },
  ])('$title', isRefused)
})

describe('a folder', () => {
  const folder = (title: string, filesystem: object, code: number, message: string | RegExp, hint?: string): Wrong => ({
    title,
    run: 'list nightly',
    values: (v) => (v.storages.local = { filesystem }),
    expects: { code, message, ...(hint === undefined ? {} : { hint }) },
  })

  test.each<Wrong>([
    folder(
      'that is not there',
      { path: '/nowhere/backups' },
      23,
      'storage local: folder /nowhere/backups: does not exist',
      'mount the volume, or create the folder',
    ),
    folder(
      'that is a file',
      { path: '/etc/passwd' },
      23,
      'storage local: /etc/passwd is not a folder',
      'or correct storages.local.filesystem',
    ),
    folder(
      'below a file',
      { path: '/etc/passwd/backups' },
      23,
      'storage local: folder /etc/passwd/backups: a part of its path is a file',
      'folder',
    ),
    folder(
      'that is not absolute',
      { path: 'backups' },
      2,
      'storages.local.filesystem.path: backups is not absolute',
      'start it with /',
    ),
    folder(
      'that leads out',
      { path: '/backups/../etc' },
      2,
      'storages.local.filesystem.path: /backups/../etc leads out',
    ),
    folder(
      'of a claim that is not mounted',
      { path: 'backups', claim: 'vault' },
      23,
      /storage local: folder .*volumes\/vault: does not exist/,
      'mount the volume',
    ),
    folder(
      'of a claim that is a path',
      { path: 'backups', claim: 'a/b' },
      2,
      'storages.local.filesystem.claim: a/b is not the name of a claim',
    ),
    {
      title: 'for temporary files that is not there',
      run: 'verify nightly --level readable --tmp-dir /nowhere',
      expects: { code: 2, message: '/nowhere', hint: '--tmp-dir' },
    },
    {
      title: 'of clients that has none',
      run: 'check nightly',
      values: (v) => (v.backups.nightly.sources[0].rondb.clients = '/nowhere'),
      expects: { code: 2, message: '/nowhere/ndb_mgm cannot be started (ENOENT)', hint: 'clients' },
    },
  ])('$title', isRefused)
})
