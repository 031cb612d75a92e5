import { describe, expect, test } from 'vitest'
import { argumentsOf as dumpArguments } from '../../../engines/mongodb/backup.ts'
import { versionIn } from '../../../engines/mongodb/clients.ts'
import { toolFiles } from '../../../engines/mongodb/connection.ts'
import type { MongoFacts } from '../../../engines/mongodb/facts.ts'
import { expected } from '../../../engines/mongodb/oplog.ts'
import { restored } from '../../../engines/mongodb/restore.ts'
import { argumentsOf, select } from '../../../engines/mongodb/selection.ts'
import { Source, Target } from '../../../engines/mongodb/values.ts'

const collection = (database: string, name: string) => ({
  database,
  name,
  type: 'collection',
  documents: 10,
  thousandBytes: 1000,
  indexes: ['_id_'],
  capped: false,
})

const oplog = {
  entries: 3,
  changes: 2,
  first: null,
  last: { seconds: 1, increment: 2 },
  collections: {
    'shop.orders': { inserts: 4, deletes: 1, commands: false },
    'shop.late': { inserts: 1, deletes: 0, commands: false },
    'shop.gone': { inserts: 0, deletes: 0, commands: true },
  },
}

const whole: MongoFacts = {
  consistency: 'oplog',
  oplog,
  replicaSet: 'rs0',
  databases: ['files', 'shop'],
  collections: [collection('files', 'fs.chunks'), collection('shop', 'gone'), collection('shop', 'orders')],
  users: 2,
  roles: 0,
  archives: [{ path: 'dump.archive', database: null, users: true, collectionsAtOnce: 4 }],
}
const single: MongoFacts = {
  ...whole,
  consistency: 'per-database',
  archives: ['files', 'shop'].map((database) => ({
    path: `databases/${database}.archive`,
    database,
    users: true,
    collectionsAtOnce: 4,
  })),
}

const target = (more = {}) => Target.parse({ hosts: ['db'], ...more })
const chosen = (facts: MongoFacts, more = {}) => select(facts, target(more), 'restores.once.targets.0.mongodb')
const told = (facts: MongoFacts, more = {}) => {
  const selection = chosen(facts, more)
  return selection.archives.map((archive) => argumentsOf(target(more), selection, archive).slice(2))
}
const always = ['--stopOnError', '--numParallelCollections=4', '--numInsertionWorkersPerCollection=2']

describe('mongorestore is told', () => {
  test.each([
    ['all, with the oplog', whole, {}, [[...always, '--oplogReplay']]],
    ['no users', whole, { users: false }, [[...always, '--oplogReplay']]],
    [
      'one database: no oplog, no users',
      whole,
      { include: { databases: ['shop'] } },
      [[...always, '--nsInclude=shop.*']],
    ],
    [
      'each database by itself, with its users',
      { ...single, oplog: undefined },
      {},
      ['files', 'shop'].map((db) => [...always, `--db=${db}`, '--restoreDbUsersAndRoles']),
    ],
    [
      'other names',
      { ...single, oplog: undefined },
      {
        include: { databases: ['shop'] },
        rename: [
          { from: 'shop.*', to: 'copy.*' },
          { from: 'shop.orders', to: 'old.orders' },
        ],
      },
      [
        [
          ...always,
          '--nsInclude=shop.*',
          '--nsFrom=shop.*',
          '--nsTo=copy.*',
          '--nsFrom=shop.orders',
          '--nsTo=old.orders',
        ],
      ],
    ],
    ['more options', { ...whole, oplog: undefined }, { extraOptions: ['-j', '1'] }, [[...always, '-j', '1']]],
  ])('%s', (_, facts, more, args) => {
    expect(told(facts as MongoFacts, more)).toEqual(args)
  })

  const capped = { ...collection('shop', 'log'), capped: true }
  const { capped: _, ...unsaid } = collection('shop', 'old')
  const large = ['a', 'b', 'c'].map((name) => ({ ...collection('shop', name), thousandBytes: 50_000_000 }))
  const many = Array.from({ length: 100 }, (_, i) => ({ ...collection('shop', `t${i}`), thousandBytes: 1e6 }))
  test.each<[number, string, MongoFacts['collections'], object]>([
    [2, 'usually', [], {}],
    [8, 'as the values say', [], { insertionWorkers: 8 }],
    [1, 'where the order counts', [capped], { insertionWorkers: 8 }],
    [1, 'where the backup does not say whether it counts', [unsaid], {}],
    [2, 'of two collections with large documents', large.slice(1), {}],
    [1, 'of three', large, {}],
    [1, 'of three that are read four at once, however few are written', large, { parallelCollections: 2 }],
    [1, 'of many where all are written at once', many, { extraOptions: ['-j', '64'] }],
    [3, 'of three where the values say so', large, { insertionWorkers: 3 }],
    [2, 'of many collections with small documents', many, {}],
    [2, 'where that collection does not come', [capped], { exclude: { collections: ['shop.log'] } }],
  ])('%d writers for each collection %s', (count, _, more, values) => {
    const [args = []] = told({ ...whole, collections: [...whole.collections, ...more] }, values)
    expect(args).toContain(`--numInsertionWorkersPerCollection=${count}`)
  })

  test.each([
    [2, { collectionsAtOnce: 2 }],
    [1, { collectionsAtOnce: 3 }],
    [1, {}],
  ])(
    '%d writers for three large collections of which two are written at once, of an archive with %j',
    (count, said) => {
      const archives = [{ path: 'dump.archive', database: null, users: true, ...said }]
      const [args = []] = told({ ...whole, collections: large, archives }, { parallelCollections: 2 })
      expect(args).toContain(`--numInsertionWorkersPerCollection=${count}`)
    },
  )

  test('several writers for a database that has no capped collection beside one that has', () => {
    const [files = [], shop = []] = told({ ...single, collections: [...single.collections, capped] })
    expect(files).toContain('--numInsertionWorkersPerCollection=2')
    expect(shop).toContain('--numInsertionWorkersPerCollection=1')
  })

  test('what the oplog makes belongs to the restore, and widens what is expected', () => {
    const { collections, replayed } = chosen(whole)
    expect(replayed).toEqual(['shop.orders', 'shop.late', 'shop.gone'])
    expect(collections.map(({ to, expects }) => [to, expects])).toEqual([
      ['files.fs.chunks', [10, 10]],
      ['shop.gone', undefined],
      ['shop.orders', [9, 14]],
    ])
  })

  test('a part of a backup with an oplog comes without it, and says so', () => {
    const { oplog: replay, warnings, collections } = chosen(whole, { include: { collections: ['shop.orders'] } })
    expect(replay).toBe(false)
    expect(warnings.join()).toContain('its own moment')
    expect(collections.map(({ expects }) => expects)).toEqual([[10, 10]])
  })

  test.each([
    [{ include: { databases: ['nothere'] } }, /include.databases: the backup has no nothere/],
    [{ exclude: { collections: ['shop.x'] } }, /exclude.collections: the backup has no shop.x/],
    [{ rename: [{ from: 'other.*', to: 'x.*' }] }, /rename: the backup has no other/],
    [{ rename: [{ from: 'shop.gone', to: 'shop.orders' }] }, /two collections would become shop.orders/],
  ])('nothing, for %j', (more, says) => {
    expect(() => chosen(whole, more)).toThrow(says)
  })
})

describe('mongodump is told', () => {
  const source = (more = {}) => Source.parse({ hosts: ['db'], ...more })
  const common = [
    '--config=/dev/fd/3',
    '--archive',
    '--readPreference=secondaryPreferred',
    '--numParallelCollections=4',
  ]
  test.each([
    ['a whole replica set', {}, { database: null, oplog: true }, ['--oplog']],
    [
      'a database, with users and roles',
      {},
      { database: 'shop', oplog: false },
      ['--db=shop', '--dumpDbUsersAndRoles'],
    ],
    [
      'a database without some collections',
      { users: false, exclude: { collections: ['shop.a.b', 'other.c'] } },
      { database: 'shop', oplog: false },
      ['--db=shop', '--excludeCollection=a.b'],
    ],
  ])('%s', (_, more, how, args) => {
    expect(dumpArguments(source(more), how)).toEqual([...common, ...args])
  })

  test.each([
    '--password=x',
    '-px',
    '-p',
    '--uri=x',
    'mongodb://u:p@h',
    '--gzip',
    '--archive=/tmp/x',
    '-o',
    '--quiet',
    '--sslPEMKeyPassword=x',
  ])('never %s', (option) => {
    expect(Source.safeParse({ hosts: ['db'], extraOptions: [option] }).success).toBe(false)
  })

  test.each([
    [{}, /one of hosts and srv/],
    [{ hosts: ['a'], srv: 'b' }, /one of hosts and srv/],
    [{ hosts: ['a'], tls: { mode: 'verify-ca' } }, /host name with the CA/],
    [{ hosts: ['a'], include: { databases: ['admin'] } }, /belongs to the server/],
    [{ hosts: ['a'], include: { databases: ['x'] }, oplog: 'required' }, /only for a whole server/],
  ])('nothing, for %j', (values, says) => {
    expect(Source.safeParse(values).error?.message).toMatch(says)
  })
})

describe('the tools get', () => {
  const login = {
    server: 'a:1,b',
    scheme: 'mongodb',
    hosts: 'a:1,b',
    replicaSet: 'rs0',
    user: 'me@home',
    password: 'p"w: #\n',
    authenticationDatabase: 'staff',
    tls: { mode: 'verify-identity' as const, ca: 'CA', cert: 'CERT\n', key: 'KEY' },
  }
  test('the address as a URI, the password beside it, certificates as files', () => {
    const [config, ...files] = toolFiles(login)
    expect(config?.split('\n')).toEqual([
      'uri: "mongodb://me%40home@a:1,b/?tls=true&replicaSet=rs0&authSource=staff&tlsCAFile=%2Fdev%2Ffd%2F4&tlsCertificateKeyFile=%2Fdev%2Ffd%2F5"',
      'password: "p\\"w: #\\n"',
      '',
    ])
    expect(files).toEqual(['CA', 'CERT\nKEY\n'])
  })
  test('one server as itself, without an account', () => {
    const [config] = toolFiles({
      ...login,
      hosts: 'a',
      replicaSet: undefined,
      user: undefined,
      password: undefined,
      tls: { mode: 'disabled' },
    })
    expect(config).toBe('uri: "mongodb://a/?tls=false&directConnection=true"\n')
  })
})

test.each([
  ['12 document(s) restored successfully. 0 document(s) failed to restore.', 12],
  ['12 document(s) restored successfully. 3 document(s) failed to restore.', /could not restore 3/],
  ['done', /did not say how much/],
])('the last line of mongorestore counts: %s', (said, result) => {
  if (typeof result === 'number') expect(restored(`2026\tx\n2026\t${said}\n`, 'a')).toBe(result)
  else expect(() => restored(said, 'a')).toThrow(result)
})

test('a dropped database leaves open what is in it', () => {
  const dropped = { ...oplog, collections: { 'shop.*': { inserts: 0, deletes: 0, commands: true } } }
  expect(expected({ namespace: 'shop.orders', documents: 3 }, dropped)).toBeUndefined()
})

test.each([
  ['mongodump version: 100.9.5+20240723\ngit version: x', '100.9.5'],
  ['mongodump version: r4.0.28', '4.0.28'],
  ['7.0.77', '7.0.77'],
])('versions are read from %j', (text, version) => {
  expect(versionIn(text)).toBe(version)
})
