import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  BSON,
  type Db,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  MongoClient,
  ObjectId,
  Timestamp,
  UUID,
} from 'mongodb'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Manifest } from '../../manifest.ts'
import { archiveOf } from '../fakes/mongo-archive.ts'
import { startMongoProxy } from '../fakes/mongo-proxy.ts'
import { patiently } from '../patience.ts'
import { type Server, startServer } from '../servers/kit.ts'
import { bytesIn, openWorkspace, secrets, succeeds, type Workspace } from './harness.ts'
import { remembersRequests } from './memory.ts'

const server = await startServer('mongo-7')

describe.skipIf(!server)('mongodb', () => {
  const mongo = server as Server
  const admin = new MongoClient(mongo?.url ?? 'mongodb://none', { directConnection: true })
  let work: Workspace

  const connection = () => ({
    hosts: [`${mongo.host}:${mongo.port}`],
    credentials: { secret: 'mongo' },
    tls: { mode: 'disabled' },
    clients: mongo.clients,
  })
  const source = (more = {}) => ({ name: 'mongo', mongodb: { ...connection(), ...more } })
  const target = source

  beforeAll(async () => {
    work = await openWorkspace()
    await work.secret('mongo', { username: 'holdfast', password: secrets.database })
    await work.secret('wrong', { username: 'holdfast', password: 'pw-wrong' })
    await admin.connect()
    await admin.db('admin').command({
      createUser: 'holdfast',
      pwd: secrets.database,
      roles: [
        { role: 'readWriteAnyDatabase', db: 'admin' },
        { role: 'clusterAdmin', db: 'admin' },
      ],
    })
  }, 180_000)

  afterAll(async () => {
    await admin.close()
    await mongo.destroy()
    await work.remove()
  })

  beforeEach(async () => {
    await rm(work.store, { recursive: true, force: true })
    await mkdir(work.store)
    work.values.backups = { nightly: { storages: ['local'], sources: [source()] } }
    work.values.restores = { once: { from: { plan: 'nightly', storages: ['local'] }, targets: [target()] } }
    await empty()
  })

  async function empty(): Promise<void> {
    const { databases } = await admin.db().admin().listDatabases({ nameOnly: true })
    for (const { name } of databases) if (name !== 'admin') await admin.db(name).dropDatabase()
  }

  async function seed(): Promise<void> {
    const shop = admin.db('shop')
    await shop.collection('orders').insertMany(
      Array.from({ length: 3000 }, (_, i) => ({
        _id: i as never,
        customer: i % 100,
        note: `nöte ${i} 💾`,
        tags: ['a', `${i}`],
      })),
    )
    await shop.collection('orders').createIndex({ customer: 1, note: -1 }, { name: 'by customer' })
    await shop.collection('orders').createIndex({ note: 1 }, { unique: true })
    await shop
      .collection('orders')
      .createIndex({ customer: 1 }, { name: 'few', partialFilterExpression: { customer: { $lt: 5 } } })
    await shop.collection('sessions').createIndex({ at: 1 }, { expireAfterSeconds: 86400 * 365 * 30 })
    await shop.collection('sessions').createIndex({ email: 1 }, { sparse: true })
    await shop.collection('empty').createIndex({ a: 1 })
    await shop.collection<{ _id: unknown }>('types').insertMany(everyType() as never[])
    await admin
      .db('files')
      .collection('fs.chunks')
      .insertOne({ n: 0, data: Buffer.alloc(300_000, 7) })
    await admin
      .db('files')
      .collection('odd name.with-dots')
      .insertOne({ 'a.b': 1, $c: 2 } as never, { forceServerObjectId: true })
  }

  function everyType(): Record<string, unknown>[] {
    const values = {
      double: new Double(1.5),
      nan: Number.NaN,
      infinity: Number.POSITIVE_INFINITY,
      negativeZero: new Double(-0),
      text: 'zero\0inside',
      emptyText: '',
      object: { b: 1, a: { deep: [[], [[1]]] } },
      array: [1, 'two', null, { three: 3 }],
      binary: Buffer.from([0, 255, 128]),
      uuid: new UUID('0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0'),
      id: new ObjectId('0123456789abcdef01234567'),
      yes: true,
      no: false,
      date: new Date('1960-02-29T23:59:59.999Z'),
      nothing: null,
      regex: new BSON.BSONRegExp('^a.*b', 'im'),
      code: new BSON.Code('return 1'),
      int: new Int32(-7),
      long: Long.MAX_VALUE,
      stamp: new Timestamp({ t: 5, i: 6 }),
      decimal: Decimal128.fromString('1234567890.12345678901234567890'),
      min: new MinKey(),
      max: new MaxKey(),
    }
    return Object.entries(values).map(([name, value]) => ({ _id: name, value }))
  }

  /** Every document as its bytes, every index, every collection: what a backup has to bring back. */
  async function picture(names = ['shop', 'files']): Promise<Record<string, unknown>> {
    const seen: Record<string, unknown> = {}
    for (const database of names) {
      const db = admin.db(database)
      for (const { name, type, options } of (await db.listCollections().toArray()) as {
        name: string
        type: string
        options: unknown
      }[]) {
        seen[`${database}.${name}`] = {
          type,
          options,
          indexes: await indexes(db, name),
          documents: await documents(db, name),
        }
      }
    }
    return seen
  }

  async function indexes(db: Db, name: string): Promise<string[]> {
    return (await db.collection(name).listIndexes().toArray()).map((index) => BSON.EJSON.stringify(index)).sort()
  }

  async function documents(db: Db, name: string): Promise<string[]> {
    const raw = await db.collection(name).find({}, { raw: true }).toArray()
    return raw.map((bytes) => Buffer.from(bytes as unknown as Uint8Array).toString('base64')).sort()
  }

  async function backUp(): Promise<string> {
    return (await succeeds(work.holdfast('backup', 'nightly'))).summary.backup as string
  }

  async function committed(): Promise<string[]> {
    const files = await readdir(join(work.store, 'nightly')).catch(() => [])
    return files.filter((name) => /^\d+\.json$/.test(name))
  }

  /** The real tools, behind a script. */
  async function fake(tool: string, script: string): Promise<string> {
    const folder = join(work.dir, `fake-${Math.random()}`)
    await mkdir(folder)
    for (const name of ['mongodump', 'mongorestore']) {
      const real = `${mongo.clients}/${name}`
      const lines = name === tool ? script.replaceAll('REAL', real) : `exec ${real} "$@"`
      await writeFile(
        join(folder, name),
        `#!/bin/sh\ncase "$*" in --version) exec ${real} --version;; esac\n${lines}\n`,
      )
      await chmod(join(folder, name), 0o755)
    }
    return folder
  }

  test('brings every document, type, index and collection back, and refuses to do it twice', async () => {
    await seed()
    const before = await picture()
    const id = await backUp()
    const { sources, parts } = (await work.manifest('nightly', id)) as Manifest
    expect(parts.map(({ path }) => path)).toEqual(['mongo/dump.archive.zst'])
    expect(sources[0]).toMatchObject({
      server: { product: 'FerretDB' },
      facts: { consistency: 'per-collection', databases: ['files', 'shop'] },
    })
    await succeeds(work.holdfast('verify', 'nightly', '--level', 'readable'))

    const refused = await work.holdfast('restore', 'once')
    expect(refused.code).toBe(21)
    expect(refused.summary.error).toContain('database shop (4 collections)')
    expect(await picture()).toEqual(before)

    await empty()
    const ran = await succeeds(work.holdfast('restore', 'once'))
    const bytes = await bytesIn(work, { plan: 'nightly', id, path: /archive/ })
    expect(ran.summary).toMatchObject({
      steps: {
        mongo: { verify: { bytes }, data: { bytes }, prove: { databases: 2, collections: 6, documents: 3025 } },
      },
    })
    expect(await picture()).toEqual(before)

    const again = await succeeds(work.holdfast('restore', 'once'))
    expect(again.summary).toMatchObject({ steps: { mongo: 'already restored' } })
  }, 180_000)

  test('carries a request out once, one with a schedule once for each backup', async () => {
    await seed()
    const change = (round: number) => admin.db('shop').collection('rounds').insertOne({ round })
    await remembersRequests(work, { change, reach: picture })
  }, 180_000)

  test('replaces with overwrite what the backup has, and leaves the rest', async () => {
    await seed()
    const before = await picture()
    await backUp()
    await admin
      .db('shop')
      .collection('orders')
      .updateMany({}, { $set: { note: 'spoilt' } })
      .catch(() => {})
    await admin.db('shop').collection('orders').deleteMany({ customer: 3 })
    await admin.db('shop').collection('types').drop()
    await admin.db('shop').collection('added').insertOne({ kept: true })
    await succeeds(work.holdfast('restore', 'once', '--overwrite'))
    const after = await picture()
    expect(after['shop.added']).toBeDefined()
    delete after['shop.added']
    expect(after).toEqual(before)
  }, 180_000)

  test('is what each collection was, whoever writes meanwhile', async () => {
    await seed()
    const log = admin.db('shop').collection('log')
    await log.insertOne({ n: 0 })
    let stop = false
    let written = 1
    const writer = (async () => {
      for (; !stop; written++) await log.insertOne({ n: written })
    })()
    await backUp()
    const until = written
    await vi.waitUntil(() => written > until, patiently)
    stop = true
    await writer
    await empty()
    await succeeds(work.holdfast('restore', 'once'))
    const numbers = (await log.find().sort({ n: 1 }).toArray()).map(({ n }) => n)
    expect(numbers).toEqual(numbers.map((_, i) => i))
    expect(numbers.length).toBeLessThan(written)
    expect(await admin.db('shop').collection('orders').countDocuments()).toBe(3000)
  }, 180_000)

  test('takes chosen databases one by one, and restores chosen collections under other names', async () => {
    await seed()
    const before = await picture()
    work.values.backups.nightly = {
      storages: ['local'],
      sources: [source({ exclude: { databases: ['files'], collections: ['shop.sessions'] }, users: false })],
    }
    const id = await backUp()
    const { sources, parts } = (await work.manifest('nightly', id)) as Manifest
    expect(parts.map(({ path }) => path)).toEqual(['mongo/databases/shop.archive.zst'])
    expect(sources[0]?.facts).toMatchObject({ consistency: 'per-database', databases: ['shop'], users: null })
    await empty()
    work.values.restores.once = {
      from: { plan: 'nightly', storages: ['local'] },
      targets: [
        target({
          exclude: { collections: ['shop.empty'] },
          rename: [
            { from: 'shop.*', to: 'copy.*' },
            { from: 'shop.types', to: 'kinds.all' },
          ],
        }),
      ],
    }
    await succeeds(work.holdfast('restore', 'once'))
    const after = await picture(['shop', 'copy', 'kinds'])
    expect(Object.keys(after).sort()).toEqual(['copy.orders', 'kinds.all'])
    expect(after['copy.orders']).toEqual(before['shop.orders'])
    expect(after['kinds.all']).toEqual(before['shop.types'])
  }, 180_000)

  test('takes up a restore that was killed in the middle, without overwrite', async () => {
    await seed()
    const before = await picture()
    await backUp()
    await empty()
    const clients = await fake('mongorestore', 'head -c 150000 | REAL "$@"; exec sleep 20')
    work.values.restores.once = { from: { plan: 'nightly', storages: ['local'] }, targets: [target({ clients })] }
    const killed = work.start('restore', 'once')
    await killed.says('"step":"verify"')
    await vi.waitUntil(async () => Object.keys(await picture()).length > 0, patiently)
    killed.kill('SIGKILL')
    await killed.done.catch(() => {})
    work.values.restores.once = { from: { plan: 'nightly', storages: ['local'] }, targets: [target()] }
    const half = await work.holdfast('backup', 'nightly')
    expect(half.code).toBe(25)
    expect(half.summary.error).toContain('is at work or did not end')
    await admin.db('foreign').collection('x').insertOne({ a: 1 })
    const refused = await work.holdfast('restore', 'once')
    expect(refused.summary.error).toBe('the target of mongo is not empty: database foreign (1 collection)')
    await admin.db('foreign').dropDatabase()
    await succeeds(work.holdfast('restore', 'once'))
    expect(await picture()).toEqual(before)
  }, 180_000)

  /** A client that writes down what it was told, gives mongodump's archive, and keeps from mongorestore what this server does not know. */
  async function recording(archive: Buffer): Promise<{ clients: string; told: () => Promise<string[]> }> {
    const folder = join(work.dir, `recording-${Math.random()}`)
    await mkdir(folder)
    await writeFile(join(folder, 'archive'), archive)
    const calls = join(folder, 'calls')
    const kept =
      'for a; do shift; case $a in --oplogReplay|--restoreDbUsersAndRoles) ;; *) set -- "$@" "$a";; esac; done'
    const ends = {
      mongodump: `cat '${folder}/archive'`,
      // the real one looks at what it is told, and at the archive, before it is not told to replay
      mongorestore: `cat >'${folder}/given'; ${mongo.clients}/mongorestore "$@" --dryRun <'${folder}/given' || exit; ${kept}; exec ${mongo.clients}/mongorestore "$@" <'${folder}/given'`,
    }
    for (const [name, how] of Object.entries(ends)) {
      const version = `case "$*" in --version) exec ${mongo.clients}/${name} --version;; esac`
      await writeFile(join(folder, name), `#!/bin/sh\n${version}\necho "${name} $*" >>'${calls}'\n${how}\n`, {
        mode: 0o755,
      })
    }
    return { clients: folder, told: async () => (await readFile(calls, 'utf8')).trim().split('\n') }
  }

  const orders = {
    db: 'shop',
    collection: 'orders',
    metadata: {
      indexes: [{ v: { $numberInt: '2' }, key: { _id: { $numberInt: '1' } }, name: '_id_' }],
      type: 'collection',
    },
    documents: [{ _id: 1 }, { _id: 2 }, { _id: 3 }],
  }

  test('takes the oplog of a replica set, and has it replayed', async () => {
    const oplog = {
      db: '',
      collection: 'oplog',
      documents: [{ ts: new Timestamp({ t: 1_800_000_000, i: 7 }), op: 'u', ns: 'shop.orders', o: {} }],
    }
    const { clients, told } = await recording(archiveOf([orders, oplog]))
    const proxy = await startMongoProxy(mongo.port, {
      hello: { setName: 'rs0', hosts: ['127.0.0.1:1'], me: '127.0.0.1:1' },
    })
    try {
      await admin.db('shop').collection('orders').insertOne({ here: true })
      work.values.backups.nightly = {
        storages: ['local'],
        sources: [source({ hosts: [proxy.host], clients, oplog: 'required' })],
      }
      const id = await backUp()
      const { sources } = (await work.manifest('nightly', id)) as Manifest
      expect(sources[0]?.facts).toMatchObject({
        consistency: 'oplog',
        replicaSet: 'rs0',
        oplog: { entries: 1, changes: 1, last: { seconds: 1_800_000_000, increment: 7 } },
      })
    } finally {
      await proxy.close()
    }
    await empty()
    work.values.restores.once = { from: { plan: 'nightly', storages: ['local'] }, targets: [target({ clients })] }
    await succeeds(work.holdfast('restore', 'once'))
    expect(await admin.db('shop').collection('orders').countDocuments()).toBe(3)
    const [dump, restore] = await told()
    expect(dump).toContain('--oplog')
    expect(restore).toContain(
      '--stopOnError --numParallelCollections=4 --numInsertionWorkersPerCollection=2 --oplogReplay',
    )
  }, 180_000)

  test('stores no backup of a replica set whose archive has no oplog', async () => {
    const { clients } = await recording(archiveOf([orders]))
    const proxy = await startMongoProxy(mongo.port, {
      hello: { setName: 'rs0', hosts: ['127.0.0.1:1'], me: '127.0.0.1:1' },
    })
    try {
      await admin.db('shop').collection('orders').insertOne({ here: true })
      work.values.backups.nightly = { storages: ['local'], sources: [source({ hosts: [proxy.host], clients })] }
      const ran = await work.holdfast('backup', 'nightly')
      expect(ran).toMatchObject({ code: 22, summary: { error: expect.stringContaining('the archive has no oplog') } })
      expect(await committed()).toEqual([])
    } finally {
      await proxy.close()
    }
  }, 180_000)

  test('finds documents that did not come back', async () => {
    const { clients } = await recording(archiveOf([orders]))
    await admin.db('shop').collection('orders').insertOne({ here: true })
    work.values.backups.nightly = { storages: ['local'], sources: [source({ clients, users: false })] }
    await backUp()
    await empty()
    const fewer = await recording(archiveOf([{ ...orders, documents: orders.documents.slice(1) }]))
    const other = await fake('mongorestore', `cat >/dev/null; REAL "$@" <${fewer.clients}/archive`)
    work.values.restores.once = {
      from: { plan: 'nightly', storages: ['local'] },
      targets: [target({ clients: other })],
    }
    expect(await work.holdfast('restore', 'once')).toMatchObject({
      code: 24,
      summary: { error: expect.stringContaining('shop.orders has 2 documents instead of 3') },
    })
  }, 180_000)

  test('reads all of a backup before anything is written, and refuses one that is damaged', async () => {
    await seed()
    const id = await backUp()
    await admin.db('shop').collection('orders').deleteMany({ customer: 3 })
    const there = await picture()
    const part = join(work.store, 'nightly', id, 'mongo/dump.archive.zst')
    const bytes = await readFile(part)
    bytes[bytes.length - 20] = (bytes.at(-20) ?? 0) ^ 1
    await writeFile(part, bytes)
    const ran = await work.holdfast('restore', 'once', '--overwrite')
    expect(ran).toMatchObject({ code: 24, summary: { error: expect.stringContaining('dump.archive') } })
    expect(await picture()).toEqual(there)
  }, 180_000)

  test('drops nothing that came into the target while the backup was read', async () => {
    await seed()
    await backUp()
    await empty()
    // asked for its version between the two looks
    const held = join(work.dir, `held-${Math.random()}`)
    const clients = await fake('mongorestore', 'exec REAL "$@"')
    const wait = `case "$*" in --version) touch '${held}'; while [ -e '${held}' ]; do sleep 0.1; done;; esac`
    const script = await readFile(join(clients, 'mongorestore'), 'utf8')
    await writeFile(join(clients, 'mongorestore'), script.replace('#!/bin/sh\n', `#!/bin/sh\n${wait}\n`))
    work.values.restores.once = { from: { plan: 'nightly', storages: ['local'] }, targets: [target({ clients })] }
    const run = work.start('restore', 'once')
    await vi.waitUntil(() => existsSync(held), patiently)
    await admin.db('shop').collection('orders').insertOne({ new: true })
    await rm(held)
    const ran = await run.done
    expect(ran).toMatchObject({ code: 21, summary: { error: expect.stringContaining('target changed') } })
    expect(await admin.db('shop').collection('orders').countDocuments()).toBe(1)
  }, 180_000)

  test('takes users and roles with chosen databases', async () => {
    const users = { db: 'shop', collection: '$admin.system.users', documents: [{ _id: 'shop.ann' }] }
    const { clients, told } = await recording(archiveOf([orders, users]))
    await admin.db('shop').collection('orders').insertOne({ here: true })
    work.values.backups.nightly = {
      storages: ['local'],
      sources: [source({ clients, include: { databases: ['shop'] } })],
    }
    const id = await backUp()
    expect(((await work.manifest('nightly', id)) as Manifest).sources[0]?.facts).toMatchObject({ users: 1, roles: 0 })
    await empty()
    const plain = await recording(archiveOf([orders]))
    work.values.restores.once = {
      from: { plan: 'nightly', storages: ['local'] },
      targets: [target({ clients: plain.clients })],
    }
    const ran = await work.holdfast('restore', 'once')
    const [dump] = await told()
    const [restore] = await plain.told()
    expect(dump).toContain('--db=shop --dumpDbUsersAndRoles')
    expect(restore).toContain('--db=shop --restoreDbUsersAndRoles')
    expect(ran.code, ran.summary.error).toBe(0)
  }, 180_000)

  test('speaks TLS, and believes only the CA that it was given', async () => {
    const { cert, key } = await certificate()
    const proxy = await startMongoProxy(mongo.port, { tls: { cert, key } })
    try {
      await seed()
      const before = await picture()
      await work.secret('ca', { 'ca.crt': cert })
      const tls = { hosts: [proxy.host], tls: { ca: { secret: 'ca' } } }
      work.values.backups.nightly = { storages: ['local'], sources: [source(tls)] }
      await backUp()
      await empty()
      work.values.restores.once = { from: { plan: 'nightly', storages: ['local'] }, targets: [target(tls)] }
      await succeeds(work.holdfast('restore', 'once'))
      expect(await picture()).toEqual(before)
      work.values.backups.nightly = { storages: ['local'], sources: [source({ ...tls, tls: {} })] }
      const refused = await work.holdfast('backup', 'nightly')
      expect(refused.code).toBe(22)
      expect(refused.summary.error).toMatch(/cannot be reached: .*self-signed/)
      work.values.backups.nightly = { storages: ['local'], sources: [source({ ...tls, tls: { mode: 'required' } })] }
      await backUp()
    } finally {
      await proxy.close()
    }
  }, 180_000)

  /** For 127.0.0.1, signed by itself. */
  async function certificate(): Promise<{ cert: string; key: string }> {
    const [cert, key] = [join(work.dir, 'cert.pem'), join(work.dir, 'key.pem')]
    const how = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=mongo',
    ]
    await promisify(execFile)('openssl', [
      ...how,
      '-addext',
      'subjectAltName=IP:127.0.0.1',
      '-keyout',
      key,
      '-out',
      cert,
    ])
    return { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') }
  }

  test.each([
    { how: 'fails at its start', script: 'echo "Failed: no memory" >&2; exit 1', says: /no memory/ },
    { how: 'fails halfway', script: 'REAL "$@" | head -c 20000; echo broken >&2; exit 1', says: /ended with 1/ },
    { how: 'fails after its last byte', script: 'REAL "$@"; exit 3', says: /ended with 3/ },
    { how: 'is silently short', script: 'REAL "$@" | head -c 200000; exit 0', says: /ends in the middle/ },
    { how: 'is silently empty', script: 'exit 0', says: /is empty/ },
    { how: 'leaves a database out', script: 'REAL "$@" --db=files', says: /left 4 collections out/ },
  ])(
    'stores no backup when mongodump $how',
    async ({ script, says }) => {
      await seed()
      const clients = await fake('mongodump', script)
      work.values.backups.nightly = { storages: ['local'], sources: [source({ clients })] }
      const ran = await work.holdfast('backup', 'nightly')
      expect(ran.code).toBe(22)
      expect(ran.summary.error).toMatch(says)
      expect(await committed()).toEqual([])
    },
    180_000,
  )

  test.each([
    {
      how: 'refuses documents and ends with 0',
      script: 'cat >/dev/null; echo "9 document(s) restored successfully. 2 document(s) failed to restore." >&2',
      code: 22,
      says: /could not restore 2/,
    },
    { how: 'says nothing', script: 'cat >/dev/null', code: 22, says: /did not say how much/ },
    {
      how: 'stops in the middle',
      script: 'head -c 10000 >/dev/null; echo "Failed: gone" >&2; exit 1',
      code: 22,
      says: /gone/,
    },
    {
      how: 'fails after its last document',
      script: 'REAL "$@"; exit 1',
      code: 22,
      says: /mongorestore ended with 1/,
    },
    {
      how: 'makes no indexes',
      script: 'REAL --noIndexRestore "$@"',
      code: 24,
      says: /shop.orders lacks index by customer/,
    },
    {
      how: 'forgets documents',
      script: 'cat >/dev/null; echo "0 document(s) restored successfully. 0 document(s) failed to restore." >&2',
      code: 24,
      says: /lacks itself/,
    },
  ])(
    'fails a restore when mongorestore $how',
    async ({ script, code, says }) => {
      await seed()
      await backUp()
      await empty()
      const clients = await fake('mongorestore', script)
      work.values.restores.once = { from: { plan: 'nightly', storages: ['local'] }, targets: [target({ clients })] }
      const ran = await work.holdfast('restore', 'once')
      expect(ran.summary.error).toMatch(says)
      expect(ran.code).toBe(code)
    },
    180_000,
  )

  test.each([
    {
      what: 'a wrong password',
      values: { credentials: { secret: 'wrong' } },
      code: 22,
      says: /refused the login of holdfast/,
      hint: /authenticationDatabase/,
    },
    {
      what: 'a server that is not there',
      values: { hosts: ['127.0.0.1:1'] },
      code: 22,
      says: /127.0.0.1:1 cannot be reached/,
      hint: /hosts/,
    },
    {
      what: 'a database that is not there',
      values: { include: { databases: ['nothere'] }, users: false },
      code: 2,
      says: /include.databases: the server has no nothere/,
      hint: /it has/,
    },
    {
      what: 'an oplog that cannot be had',
      values: { oplog: 'required' },
      code: 2,
      says: /without a replica set: it has no oplog/,
      hint: /replica set of one/,
    },
    {
      what: 'clients that are not there',
      values: { clients: '/nonexistent' },
      code: 2,
      says: /mongodump cannot be started/,
      hint: /clients/,
    },
    {
      what: 'a password in extraOptions',
      values: { extraOptions: ['--password=x'] },
      code: 2,
      says: /go around the values/,
      hint: undefined,
    },
  ])(
    'names $what',
    async ({ values, code, says, hint }) => {
      await admin.db('shop').collection('orders').insertOne({ a: 1 })
      work.values.backups.nightly = { storages: ['local'], sources: [source(values)] }
      const ran = await work.holdfast('backup', 'nightly')
      expect(`${ran.summary.error}${ran.stderr}`).toMatch(says)
      expect(ran.code).toBe(code)
      if (hint) expect(ran.summary.hint).toMatch(hint)
      expect(await committed()).toEqual([])
    },
    180_000,
  )

  test('shows no password to other users of the machine', async () => {
    await seed()
    const clients = await fake('mongodump', `{ echo "$*"; env; } >${join(work.dir, 'seen')}; exec REAL "$@"`)
    work.values.backups.nightly = { storages: ['local'], sources: [source({ clients })] }
    await succeeds(work.holdfast('backup', 'nightly'))
    const seen = await readFile(join(work.dir, 'seen'), 'utf8')
    expect(seen).toContain('--archive')
    expect(seen).not.toContain(secrets.database)
  }, 180_000)
})
