import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadConfig, parseValues, seconds, secretReader } from '../config.ts'
import { engines } from '../engines/index.ts'
import { JobError } from '../errors.ts'

const names = engines.map((engine) => engine.name).join(', ')
const mysql = { host: 'db', credentials: { secret: 'db' } }
const rondb = { managementServers: ['mgm:1186'], mysql, files: { access: 'local', path: '/data/{node}/BACKUP' } }
const target = { name: 'rondb', rondb: { managementServers: ['mgm'], mysql } }
const values = {
  cluster: 'prod-eu',
  storages: { main: { filesystem: { path: '/backups' } }, s3: { s3: { bucket: 'b', region: 'eu-north-1' } } },
  backups: { nightly: { storages: ['main', 's3'], sources: [{ name: 'rondb', rondb }] } },
  restores: { once: { from: { plan: 'nightly', storages: ['main'] }, targets: [target] } },
}

// biome-ignore lint/suspicious/noExplicitAny: values of a user can have any shape
type Change = (values: any) => void

function changed(change: Change): unknown {
  const copy = structuredClone(values)
  change(copy)
  return copy
}

describe('values', () => {
  test('get their defaults', () => {
    const { backups, restores } = parseValues(values, 'f.yaml')
    expect(backups.nightly).toMatchObject({ deadline: '24h', keepFailed: '48h' })
    expect(backups.nightly?.sources[0]).toMatchObject({
      rondb: {
        snapshot: 'end',
        localTables: 'warn',
        keepLocal: 0,
        waitForOther: '30m',
        mysql: { port: 3306, tls: { mode: 'verify-identity' } },
      },
    })
    expect(restores.once).toMatchObject({ pick: 'latest', overwrite: false })
    expect(restores.once?.targets[0]).toMatchObject({ rondb: { accounts: true, restoreEpoch: true, passwords: {} } })
  })

  test('may be empty', () =>
    expect(parseValues({}, 'f')).toEqual({ storages: {}, backups: {}, restores: {}, copies: {}, metrics: {} }))

  test.each<[unknown]>([['latest'], ['1795218000'], [1_795_218_000], ['2026-11-21T03:00']])('pick %j', (pick) => {
    const parsed = parseValues(
      changed((v) => Object.assign(v.restores.once, { pick })),
      'f',
    )
    expect(parsed.restores.once?.pick).toBe(pick)
  })

  test('may name places that are beside each other, and one place twice for different plans', () => {
    const beside: Change = (v) => {
      v.storages.other = { s3: { bucket: 'b', prefix: 'prod' } }
      v.storages.third = { s3: { bucket: 'b', prefix: 'prod-2' } }
      v.storages.again = { filesystem: { path: '/backups/' } }
      v.storages.claimed = { filesystem: { claim: 'backups', path: '/backups' } }
      v.storages.within = { filesystem: { path: '/backups/within' } }
      v.backups.nightly.storages = ['main', 'other', 'third', 'claimed', 'within']
      v.backups.hourly = { ...v.backups.nightly, storages: ['again'] }
    }
    expect(() => parseValues(changed(beside), 'f')).not.toThrow()
  })

  test.each([
    '15 2 * * *',
    '5/15 * * * *',
    '*/90 * * * *',
    '0 5/6 ? jan-mar SUN,tue-sat/2',
    '@daily',
    '0 0 31 2 *',
    '',
  ])('have the schedule %j', (schedule) => {
    const scheduled: Change = (v) => {
      v.copies = { away: { plan: 'nightly', from: ['main'], to: ['s3'] } }
      for (const one of [v.backups.nightly, v.restores.once, v.copies.away]) one.schedule = schedule
    }
    expect(() => parseValues(changed(scheduled), 'f')).not.toThrow()
  })

  test('of Kubernetes only are left alone', () => {
    const pod = { nodeSelector: { disk: 'fast' } }
    expect(() =>
      parseValues(
        changed((v) => Object.assign(v, { pod }) && Object.assign(v.backups.nightly, { pod })),
        'f',
      ),
    ).not.toThrow()
  })
})

describe('a wrong value', () => {
  const nightly = 'backups.nightly'
  const source = `${nightly}.sources.0`

  test.each<[string, Change, string]>([
    ['that nobody knows', (v) => (v.storage = {}), 'unrecognized key: "storage"'],
    [
      'that nobody knows, deep inside',
      (v) => (v.backups.nightly.retension = {}),
      `${nightly}: unrecognized key: "retension" (is retention meant?)`,
    ],
    ['that is null', (v) => (v.backups = null), 'backups: must be a map of names, and is empty'],
    [
      'in a name of a plan',
      (v) => (v.backups.Nightly = v.backups.nightly),
      'backups.Nightly: a name has 1 to 63 of a-z, 0-9 and -',
    ],
    [
      'in a name of a storage',
      (v) => (v.storages['a/b'] = v.storages.main),
      'storages.a/b: a name has 1 to 63 of a-z, 0-9 and -',
    ],
    [
      'in the name of a source',
      (v) => (v.backups.nightly.sources[0].name = '../x'),
      `${source}.name: a name has 1 to 63 of a-z, 0-9 and -`,
    ],
    ['a storage of no kind', (v) => (v.storages.main = {}), 'storages.main: name one kind: s3, filesystem or rclone'],
    [
      'a storage of two kinds',
      (v) => (v.storages.main.s3 = { bucket: 'b' }),
      'storages.main: name one kind: s3, filesystem or rclone',
    ],
    [
      'a source without engine',
      (v) => delete v.backups.nightly.sources[0].rondb,
      `${source}: name one engine: ${names}`,
    ],
    [
      'a source of an unknown engine',
      (v) => (v.backups.nightly.sources[0].oracle = {}),
      `${source}: unrecognized key: "oracle" (known: name, rondb, mysql, `,
    ],
    [
      'a plan without sources',
      (v) => (v.backups.nightly.sources = []),
      `${nightly}.sources: must have at least 1 entry`,
    ],
    [
      'a path without node',
      (v) => (v.backups.nightly.sources[0].rondb.files.path = '/x'),
      `${source}.rondb.files.path: the path needs {node}`,
    ],
    [
      'a port',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.port = 70_000),
      `${source}.rondb.mysql.port: must be at most 65535`,
    ],
    [
      'two ways to MySQL',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.socket = '/s'),
      `${source}.rondb.mysql: name one of host, socket and servers`,
    ],
    [
      'a password in the values',
      (v) => (v.backups.nightly.sources[0].rondb.mysql.password = 'x'),
      `${source}.rondb.mysql: unrecognized key: "password"`,
    ],
    [
      'a duration',
      (v) => (v.backups.nightly.deadline = '1 day'),
      `${nightly}.deadline: a duration is a number with s, m, h or d`,
    ],
    ...['14', 14].map(
      (deadline) =>
        [
          `a duration without unit, ${JSON.stringify(deadline)},`,
          (v: { backups: { nightly: { deadline: unknown } } }) => (v.backups.nightly.deadline = deadline),
          `${nightly}.deadline: has no unit: s, m, h or d, such as 14d`,
        ] as [string, Change, string],
    ),
    [
      'to keep nothing',
      (v) => (v.backups.nightly.retention = { last: 0 }),
      `${nightly}.retention.last: must be at least 1`,
    ],
    [
      'a minimum of no rule',
      (v) => (v.backups.nightly.retention = { minimum: 3 }),
      `${nightly}.retention.minimum: needs a rule beside it`,
    ],
    [
      'a minimum of no rule for one storage',
      (v) => (v.backups.nightly.retention = { last: 1, storages: { main: { minimum: 3 } } }),
      `${nightly}.retention.storages.main.minimum: needs a rule beside it`,
    ],
    [
      'a time zone that is none',
      (v) => (v.backups.nightly.timeZone = 'Europe/Atlantis'),
      `${nightly}.timeZone: is no time zone`,
    ],
    ['a pick', (v) => (v.restores.once.pick = true), 'restores.once.pick: must be a text or a number'],
    [
      'a table without database',
      (v) => (v.restores.once.targets[0].rondb.include = { tables: ['orders'] }),
      'restores.once.targets.0.rondb.include.tables.0: a table is database.table',
    ],
  ])('%s is named with its path', (_, change, message) => {
    const parse = () => parseValues(changed(change), 'f.yaml')
    expect(parse).toThrow(
      expect.objectContaining({ kind: 'configuration', message: expect.stringContaining(`f.yaml: ${message}`) }),
    )
  })

  test('does not hide another one', () => {
    const two: Change = (v) => {
      v.backups.nightly.deadline = 'x'
      v.restores.once.overwrite = 'yes'
    }
    expect(() => parseValues(changed(two), 'f')).toThrow(
      /^f: backups\.nightly\.deadline: .*; restores\.once\.overwrite: /,
    )
  })

  test.each<[string, Change, string]>([
    [
      'a plan for an unknown storage',
      (v) => (v.backups.nightly.storages = ['man']),
      `${nightly}.storages: no storage named "man" (there are: main, s3)`,
    ],
    [
      'a restore from an unknown storage',
      (v) => (v.restores.once.from.storages = ['x']),
      'restores.once.from.storages: no storage named "x" (there are: main, s3)',
    ],
    [
      'rules for a storage that the plan does not write to',
      (v) => (v.backups.nightly.retention = { last: 1, storages: { offsite: { last: 2 } } }),
      `${nightly}.retention.storages: the plan does not write to storage "offsite" (it writes to: main, s3)`,
    ],
    [
      'a storage where there is none',
      (v) => (v.storages = {}),
      `${nightly}.storages: no storage named "main" (there are: none)`,
    ],
    [
      'a storage named twice',
      (v) => (v.backups.nightly.storages = ['main', 'main']),
      `${nightly}.storages: "main" is there twice`,
    ],
    [
      'more storages required than there are',
      (v) => (v.backups.nightly.require = 3),
      `${nightly}.require: 3 of 2 storages`,
    ],
    [
      'a restore without trust from a plan with trust',
      (v) => {
        v.backups.nightly.signing = { secret: 'signing' }
        v.backups.nightly.trust = ['MCowBQYDK2VwAyEAdnTsAmeGGB0l27CdyefwDrVvRB/7nbOQPJyxkcBosgI=']
      },
      'restores.once.trust: missing; backups.nightly names whose signatures count, so name the same keys, or others',
    ],
    [
      'a plan that trusts keys, and signs with none',
      (v) => (v.backups.nightly.trust = ['MCowBQYDK2VwAyEAdnTsAmeGGB0l27CdyefwDrVvRB/7nbOQPJyxkcBosgI=']),
      `${nightly}.trust: needs ${nightly}.signing, for backups that nobody signs could not be restored; name its key, or remove trust`,
    ],
    [
      'a copy to a storage that is not there',
      (v) => (v.copies = { away: { plan: 'nightly', to: ['x'] } }),
      'copies.away.to: no storage named "x" (there are: main, s3)',
    ],
    [
      'a copy of a plan of another installation that does not say from where',
      (v) => (v.copies = { away: { plan: 'prod', to: ['main'] } }),
      'copies.away: plan prod is of another installation: name from and to',
    ],
    [
      'a copy that has the name of another plan than its own',
      (v) => (v.copies = { nightly: { plan: 'prod', from: ['main'], to: ['s3'] } }),
      'copies.nightly: plan nightly has the same name: a copy of another plan needs another',
    ],
    [
      'a copy with one storage',
      (v) => (v.copies = { away: { plan: 'nightly', from: ['main'], to: ['main'] } }),
      'copies.away: there is one storage only: nothing would have to be brought anywhere',
    ],
    [
      'two sources of one name',
      (v) => v.backups.nightly.sources.push(v.backups.nightly.sources[0]),
      `${nightly}.sources: "rondb" is there twice`,
    ],
    [
      'two targets of one name',
      (v) => v.restores.once.targets.push(target),
      'restores.once.targets: "rondb" is there twice',
    ],
  ])('%s is refused', (_, change, message) => {
    expect(() => parseValues(changed(change), 'f')).toThrow(new JobError('configuration', message))
  })

  test.each<[string, Change, string]>([
    [
      'two storages that are one place',
      (v) => {
        v.storages.other = { filesystem: { path: '/mnt/..//backups/./' } }
        v.backups.nightly.storages = ['main', 's3', 'other']
      },
      `${nightly}.storages: storages.main.filesystem and storages.other.filesystem are the same place`,
    ],
    [
      'a copy from one place to itself',
      (v) => {
        v.storages.again = { s3: { ...v.storages.s3.s3, prefix: '/' } }
        v.copies = { away: { plan: 'nightly', from: ['s3'], to: ['again'] } }
      },
      'copies.away: storages.s3.s3 and storages.again.s3 are the same place',
    ],
  ])('%s is refused, with a hint', (_, change, message) => {
    const hint = expect.stringContaining('give it a place of its own')
    expect(() => parseValues(changed(change), 'f')).toThrow(
      expect.objectContaining({ kind: 'configuration', message, hint }),
    )
  })
})

describe('a schedule that is none', () => {
  test.each<[string, Change, string]>([
    ['of a plan', (v) => (v.backups.nightly.schedule = '61 25 * * *'), 'backups.nightly.schedule: "61 25 * * *"'],
    [
      'of a restore',
      (v) => Object.assign(v.restores.once, { schedule: '0 0 4 * * *', suspend: true }),
      'restores.once.schedule: "0 0 4 * * *"',
    ],
    [
      'of a copy',
      (v) => (v.copies = { away: { plan: 'nightly', schedule: 'every night', timeZone: 'Europe/Stockholm' } }),
      'copies.away.schedule: "every night" in Europe/Stockholm',
    ],
  ])('%s is refused with its path', (_, change, message) => {
    expect(() => parseValues(changed(change), 'f')).toThrow(
      expect.objectContaining({
        kind: 'configuration',
        message: expect.stringContaining(message),
        hint: expect.stringContaining('five fields'),
      }),
    )
  })
})

describe('files', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-config-'))
    await mkdir(join(folder, 'secrets/db'), { recursive: true })
  })
  afterAll(() => rm(folder, { recursive: true }))

  async function file(text: string): Promise<string> {
    const config = join(folder, 'holdfast.yaml')
    await writeFile(config, text)
    return config
  }

  test('a config file is YAML, or JSON', async () => {
    expect(
      (await loadConfig({ config: await file('storages:\n  main: { filesystem: { path: /b } }\n') })).storages,
    ).toHaveProperty('main')
    expect(
      await loadConfig({ config: await file(JSON.stringify(values)), secretsDir: '/s', tmpDir: '/t' }),
    ).toMatchObject({
      cluster: 'prod-eu',
      secretsDir: '/s',
      tmpDir: '/t',
    })
  })

  test('an empty one has nothing', async () => {
    expect((await loadConfig({ config: await file('# nothing yet\n') })).backups).toEqual({})
  })

  test.each([
    ['has a key twice', 'cluster: a\ncluster: b\n'],
    ['has an open bracket', 'storages: {'],
  ])('one that %s is refused', async (_, text) => {
    const config = await file(text)
    await expect(loadConfig({ config })).rejects.toMatchObject({
      kind: 'configuration',
      message: `${config} cannot be read as YAML`,
    })
  })

  test('one that is not there is refused with a hint', async () => {
    const config = join(folder, 'other.yaml')
    await expect(loadConfig({ config })).rejects.toMatchObject({
      kind: 'configuration',
      message: `there is no config file ${config}`,
      hint: expect.stringContaining('--config'),
    })
  })

  test.each([
    ['swordfish\n', 'swordfish'],
    ['swordfish\r\n', 'swordfish'],
    ['two\nlines\n', 'two\nlines'],
    ['ends in two\n\n', 'ends in two\n'],
    [' spaces ', ' spaces '],
    ['', ''],
  ])('the secret %j is read as %j', async (text, expected) => {
    await writeFile(join(folder, 'secrets/db/password'), text)
    expect(secretReader(join(folder, 'secrets'))({ secret: 'db' }, 'password', 'at')).toBe(expected)
  })

  test.each([
    ['db', 'passwd'],
    ['other', 'password'],
  ])('a missing key of secret %s is named with the value that wants it and the file', (secret, key) => {
    const read = secretReader(join(folder, 'secrets'))
    const place = join(folder, 'secrets', secret, key)
    expect(() => read({ secret }, key, 'storages.s3.credentials')).toThrow(
      expect.objectContaining({
        kind: 'configuration',
        message: `storages.s3.credentials: secret ${secret} has no readable key ${key} (${place})`,
        hint: expect.stringContaining('--secrets-dir'),
      }),
    )
  })
})

test.each([
  ['30s', 30],
  ['5m', 300],
  ['48h', 172_800],
  ['7d', 604_800],
])('%s are %d seconds', (text, expected) => expect(seconds(text)).toBe(expected))
