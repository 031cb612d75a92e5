import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { Cluster, type Redis } from 'ioredis'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { startRedisProxy } from '../fakes/redis-proxy.ts'
import { patiently } from '../patience.ts'
import { type Server, startServer } from '../servers/kit.ts'
import { bytesIn, openWorkspace, secrets, succeeds, type Workspace } from './harness.ts'
import { remembersRequests } from './memory.ts'
import { connect, contents, differences, seed, seedDatabases } from './redis-data.ts'

/** The rights that docs/engines/redis.md names. */
const backupUser = `backup on >${secrets.database} -@all +auth +ping +info +replconf +psync +acl|whoami +acl|dryrun +acl|list +cluster|slots`
const appUser = `app on >${secrets.app} ~app:* +@all`

const weakUsers = [
  backupUser.replace('backup', 'weak').replace('+psync ', ''),
  backupUser.replace('backup', 'weaker').replace('+acl|list ', ''),
]

let from: Server | undefined
let to: Server | undefined
let source: Redis
let target: Redis
let work: Workspace
const fieldTtl = true

beforeAll(async () => {
  work = await openWorkspace()
  from = await startServer('redis-8', ...[backupUser, appUser, ...weakUsers].flatMap((rule) => ['--acl', rule]))
  to = from && (await startServer('redis-8', '--appendonly'))
  if (!from || !to) return
  source = await connect(from)
  target = await connect(to)
  await work.secret('redis', { password: from.password })
  await seed(source, { functions: true, fieldTtl })
  await seedDatabases(source)
  work.values.backups.nightly = planOf(from, { credentials: { secret: 'db', username: 'backup' } })
})

afterAll(async () => {
  source?.disconnect()
  target?.disconnect()
  await work?.remove()
  await from?.destroy()
  await to?.destroy()
})

function redisOf({ host, port }: Pick<Server, 'host' | 'port'>, more: Record<string, unknown> = {}) {
  return { name: 'cache', redis: { host, port, tls: { mode: 'disabled' }, credentials: { secret: 'redis' }, ...more } }
}

function planOf(server: Server, more: Record<string, unknown> = {}) {
  return { sources: [redisOf(server, more)], storages: ['local'] }
}

function restoreOf(plan: string, server: Server, more: Record<string, unknown> = {}) {
  return { from: { plan, storages: ['local'] }, targets: [redisOf(server, more)] }
}

async function factsOf(plan: string, backup: string | undefined): Promise<Facts> {
  const { sources } = await work.manifest(plan, `${backup}`)
  return sources[0]?.facts as unknown as Facts
}

async function manifests(plan: string): Promise<string[]> {
  const names = await readdir(join(work.store, plan)).catch(() => [])
  return names.filter((name) => /^\d+\.json$/.test(name))
}

async function empty(client: Redis): Promise<void> {
  await client.flushall()
  for (const user of (await client.call('ACL', 'USERS')) as string[])
    if (user !== 'default') await client.call('ACL', 'DELUSER', user)
}

describe('a server alone', () => {
  beforeEach(async () => {
    if (to) await empty(target)
  })

  test('every key, function and user comes back, and is there after SIGKILL with appendonly yes', async () => {
    if (!from || !to) return
    work.values.restores.once = restoreOf('nightly', to)
    const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
    const facts = await factsOf('nightly', summary.backup)
    expect(facts.databases[15]).toEqual({ keys: 51, expires: 50 })
    expect(facts.types.stream).toBe(2)
    expect(facts.functions).toEqual(['shop'])

    const ran = await succeeds(work.holdfast('restore', 'once'))
    const bytes = await bytesIn(work, { plan: 'nightly', id: summary.backup, path: /\.rdb/ })
    expect(ran.summary.steps).toMatchObject({ cache: { keys: { bytes } } })
    const expected = await contents(source, { fieldTtl })
    expect(expected.size).toBe(193)
    expect(differences(expected, await contents(target, { fieldTtl }))).toEqual([])
    expect(await target.call('FCALL', 'answer', 0)).toBe(42)
    expect(await usersOf(target)).toEqual(await usersOf(source))
    const asked = await target.info('commandstats')
    expect([/cmdstat_waitaof:calls=1,/.test(asked), asked.includes('bgrewriteaof')]).toEqual([true, false])

    await to.kill()
    await to.start()
    expect(differences(expected, await contents(target, { fieldTtl }))).toEqual([])
    expect(await usersOf(target)).toEqual(await usersOf(source))
    expect((await work.holdfast('restore', 'once')).stdout).toContain('already restored')
    expect((await work.holdfast('verify', 'nightly', '--level', 'readable')).code).toBe(0)
  })

  test('a request is carried out once, one with a schedule once for each backup', async () => {
    if (!to) return
    work.values.restores.once = { ...restoreOf('nightly', to), token: 'memory' }
    const change = (round: number) => source.set('round', round)
    await remembersRequests(work, { change, reach: async () => [...(await contents(target, { fieldTtl }))].sort() })
    await source.del('round')
    await succeeds(work.holdfast('backup', 'nightly'))
  })

  test('a target that is not empty is refused and stays; overwrite empties the databases of the backup', async () => {
    if (!to) return
    await target.set('mine', 1)
    await target.call('SELECT', 7)
    await target.set('other', 1)
    await target.call('SELECT', 0)
    work.values.restores.full = { ...restoreOf('nightly', to), token: 'full' }
    const refused = await work.holdfast('restore', 'full')
    expect([refused.code, refused.summary.error]).toEqual([21, expect.stringContaining('database 0 (1 key)')])
    expect([await target.dbsize(), await target.get('mine')]).toEqual([1, '1'])

    await succeeds(work.holdfast('restore', 'full', '--overwrite'))
    const found = await contents(target, { fieldTtl })
    expect(differences(await contents(source, { fieldTtl }), found)).toEqual([])
    expect((await contents(target, { databases: [0, 7] })).has('7 other')).toBe(true)
  })

  test('patterns and databases choose on both sides, and overwrite leaves what they do not choose', async () => {
    if (!from || !to) return
    work.values.backups.chosen = planOf(from, {
      include: { databases: [0, 3] },
      exclude: { keys: ['resque:*', 'stream*'] },
      accounts: false,
    })
    const { summary } = await succeeds(work.holdfast('backup', 'chosen'))
    const facts = await factsOf('chosen', summary.backup)
    expect(facts.databases[3]).toEqual({ keys: 50, expires: 50 })
    expect(facts.databases[1]).toBeUndefined()

    await target.call('SELECT', 3)
    await target.mset('resque:queue', 'stays', 'db3:1', 'is replaced', 'db3:x', 'stays')
    await target.call('SELECT', 0)
    work.values.restores.chosen = restoreOf('chosen', to, {
      include: { databases: [3], keys: ['db3:?', 'db3:[0-4]1'] },
    })
    expect((await work.holdfast('restore', 'chosen')).code).toBe(21)
    await succeeds(work.holdfast('restore', 'chosen', '--overwrite'))
    const keys = [...(await contents(target, { databases: [0, 1, 3, 15] })).keys()].sort()
    const wanted = [...Array(10).keys(), 11, 21, 31, 41].map((n) => `3 db3:${n}`)
    expect(keys).toEqual([...wanted, '3 resque:queue'].sort())
  })

  test('a snapshot is one point in time while a writer writes', async () => {
    if (!from || !to) return
    await source.del('writer:count', 'writer:list')
    let writing = true
    const writer = (async () => {
      for (let n = 1; writing; n++)
        await source.multi().set(`writer:${n}`, n).rpush('writer:list', n).set('writer:count', n).exec()
    })()
    const ran = await work.holdfast('backup', 'nightly')
    writing = false
    await writer
    work.values.restores.writer = restoreOf('nightly', to, { include: { databases: [], keys: ['writer:*'] } })
    await succeeds(Promise.resolve(ran))
    await succeeds(work.holdfast('restore', 'writer'))
    const count = Number(await target.get('writer:count'))
    expect(count).toBeGreaterThan(0)
    expect(await target.lrange('writer:list', 0, -1)).toEqual(Array.from({ length: count }, (_, i) => `${i + 1}`))
    expect((await target.keys('writer:*')).length).toBe(count + 2)
    const left = await source.keys('writer:*')
    await source.del(...left)
  })

  test('a restore that was killed is completed by running it again, without overwrite', async () => {
    if (!from || !to) return
    await succeeds(work.holdfast('backup', 'nightly'))
    const proxy = await startRedisProxy(to)
    work.values.restores.killed = { ...restoreOf('nightly', { ...to, port: proxy.port }), token: 'killed' }
    // held: the keys are on their way when it dies
    proxy.stopAfter(40_000)
    const run = work.start('restore', 'killed')
    await proxy.stopped
    run.kill('SIGKILL')
    await run.done
    await proxy.close()
    expect(await target.dbsize()).toBeGreaterThan(0)
    work.values.backups.halfway = planOf(to)
    const half = await work.holdfast('backup', 'halfway')
    expect([half.code, half.summary.error]).toEqual([25, expect.stringContaining('at work or did not end')])
    work.values.restores.killed = { ...restoreOf('nightly', to), token: 'killed' }
    await succeeds(work.holdfast('restore', 'killed'))
    expect(differences(await contents(source, { fieldTtl }), await contents(target, { fieldTtl }))).toEqual([])
  })

  test('keys that expired since are left out and counted; a value of 40 MB and an old marker are no trouble', async () => {
    if (!from || !to) return
    work.values.backups.ends = planOf(from, { accounts: false })
    const marker = { request: 'r', backupId: '1', plan: 'nightly', state: 'finished', creates: { databases: [0] } }
    await source.set('holdfast:restore', JSON.stringify([marker]))
    await source.call('SELECT', 9)
    await source.set('huge', Buffer.alloc(40_000_000, 'random-ish text 0123456789'))
    await source.rpush('huge:list', ...Array.from({ length: 2000 }, () => 'x'.repeat(5000)))
    let facts: Facts | undefined
    // long enough to be in the backup, on a busy machine, too
    for (let ms = 5000; facts?.databases[9]?.keys !== 4; ms *= 2) {
      await source.set('gone', 1, 'PX', ms)
      await source.call('HSET', 'fields', 'a', 1)
      await source.call('HPEXPIRE', 'fields', ms, 'FIELDS', 1, 'a')
      facts = await factsOf('ends', (await succeeds(work.holdfast('backup', 'ends'))).summary.backup)
    }
    await vi.waitUntil(async () => !(await source.exists('gone', 'fields')), patiently)
    expect(facts.databases[0]?.keys).toBe(40)
    await source.call('SELECT', 0)
    expect(await source.del('holdfast:restore')).toBe(1)
    work.values.restores.ends = restoreOf('ends', to, { include: { databases: [9] } })
    const ran = await succeeds(work.holdfast('restore', 'ends'))
    expect(ran.stdout).toMatch(/keys 2.*expired [12]/)
    await source.call('SELECT', 9)
    const options = { databases: [9], fieldTtl }
    await target.call('SELECT', 9)
    expect(differences(await contents(source, options), await contents(target, options))).toEqual([])
    await source.flushdb()
    await source.call('SELECT', 0)
    await target.call('SELECT', 0)
  })
})

describe('trouble', () => {
  const cases: [string, Record<string, unknown>, number, RegExp][] = [
    ['a wrong password', { credentials: { secret: 'native', username: 'backup' } }, 22, /login as backup.*WRONGPASS/],
    ['no account', { credentials: undefined }, 22, /NOAUTH|login/],
    ['no right to PSYNC', { credentials: { secret: 'db', username: 'weak' } }, 22, /refuses PSYNC.*NOPERM/],
    ['no right to ACL LIST', { credentials: { secret: 'db', username: 'weaker' } }, 22, /refuses ACL LIST.*NOPERM/],
    ['a port where nobody listens', { port: 1 }, 22, /cannot be reached/],
    ['TLS where there is none', { tls: { mode: 'verify-identity' } }, 22, /cannot be reached/],
    ['a Secret that is not there', { credentials: { secret: 'nobody' } }, 2, /nobody/],
  ]
  test.each(cases)('%s: the documented code, and no backup', async (_, more, code, says) => {
    if (!from) return
    work.values.backups.wrong = planOf(from, more)
    const ran = await work.holdfast('backup', 'wrong')
    expect([ran.code, ran.summary.error]).toEqual([code, expect.stringMatching(says)])
    expect(ran.summary.hint).toBeTruthy()
    expect(await manifests('wrong')).toEqual([])
  })

  test.each([
    ['at its start', 40],
    ['halfway', 60_000],
    ['at its end', -3],
  ])('a server that goes away %s of its snapshot: 22, and no backup', async (_, bytes) => {
    if (!from) return
    const proxy = await startRedisProxy(from)
    work.values.backups.cut = planOf({ ...from, port: proxy.port }, { accounts: false })
    proxy.cutSnapshotAfter(bytes)
    const ran = await work.holdfast('backup', 'cut')
    await proxy.close()
    expect([ran.code, await manifests('cut')]).toEqual([22, []])
    expect(ran.summary.error).toMatch(/closed the connection|broke|does not end/)
  })

  test('a snapshot with a flipped bit is refused by its checksum', async () => {
    if (!from) return
    const proxy = await startRedisProxy(from)
    work.values.backups.flipped = planOf({ ...from, port: proxy.port }, { accounts: false })
    proxy.flipInSnapshot(30_000)
    const ran = await work.holdfast('backup', 'flipped')
    await proxy.close()
    expect([ran.code, await manifests('flipped')]).toEqual([24, []])
  })
})

describe('other releases', () => {
  test.each([
    ['redis-7.0', 'valkey-8', 0],
    ['redis-7.0', 'redis-8', 0],
    ['valkey-9', 'valkey-9', 0],
    ['redis-8', 'valkey-8', 22],
    ['redis-8', 'redis-7.0', 22],
    ['valkey-9', 'redis-8', 22],
  ])('from %s to %s ends with %i', async (older, newer, code) => {
    if (!from) return
    const [a, b] = (await Promise.all([startServer(older), startServer(newer)])) as [Server, Server]
    try {
      const [one, two] = [await connect(a), await connect(b)]
      const options = { fieldTtl: older === 'valkey-9' }
      await seed(one, { functions: true, ...options })
      await seedDatabases(one)
      const plan = `${older}-to-${newer}`.replaceAll('.', '')
      work.values.backups[plan] = planOf(a)
      work.values.restores[plan] = restoreOf(plan, b)
      await succeeds(work.holdfast('backup', plan))
      const ran = await work.holdfast('restore', plan)
      expect([ran.code, ran.summary.error]).toEqual([code, code ? expect.stringContaining('RDB version') : undefined])
      if (code) expect(await two.dbsize()).toBe(0)
      else expect(differences(await contents(one, options), await contents(two, options))).toEqual([])
      one.disconnect()
      two.disconnect()
    } finally {
      await a.destroy()
      await b.destroy()
    }
  })
})

describe('several servers', () => {
  test('a sentinel leads to the master, and an unknown name says so', async () => {
    if (!from || !to) return
    const sentinel = await startSentinel(from)
    try {
      const more = { host: undefined, sentinel: { servers: [`127.0.0.1:${sentinel.port}`], master: 'mymaster' } }
      work.values.backups.watched = planOf(from, more)
      await succeeds(work.holdfast('backup', 'watched'))
      work.values.backups.watched = planOf(from, { ...more, sentinel: { ...more.sentinel, master: 'other' } })
      const ran = await work.holdfast('backup', 'watched')
      expect([ran.code, ran.summary.hint]).toEqual([22, expect.stringContaining('sentinel.master')])
    } finally {
      await sentinel.stop()
    }
  })

  test('a cluster over TLS: every master is a part; from a cluster into a server alone, and the other way', async () => {
    if (!from || !to) return
    const nodes = (await startServer('redis-8', '--cluster', '--tls')) as Server
    const ca = { ca: { secret: 'ca' } }
    try {
      await work.secret('ca', { 'ca.crt': await readFile(nodes.caFile as string, 'utf8') })
      const cluster = new Cluster([{ host: nodes.host, port: nodes.port }], {
        redisOptions: { password: nodes.password, tls: { ca: await readFile(nodes.caFile as string, 'utf8') } },
      })
      await Promise.all(Array.from({ length: 3000 }, (_, i) => cluster.set(`key:${i}`, i, 'EX', 5000 + i)))
      const more = {
        host: undefined,
        cluster: { servers: [`${nodes.host}:${nodes.port}`] },
        tls: { mode: 'verify-ca', ...ca },
      }
      work.values.backups.cluster = planOf(nodes, more)
      const { summary } = await succeeds(work.holdfast('backup', 'cluster'))
      const { parts } = await work.manifest('cluster', `${summary.backup}`)
      expect(parts.map(({ path }) => path.split('/').at(-1))).toEqual([
        'dump-1.rdb.zst',
        'dump-2.rdb.zst',
        'dump-3.rdb.zst',
        'users.acl.zst',
      ])
      work.values.restores.cluster = restoreOf('cluster', nodes, more)
      expect((await work.holdfast('restore', 'cluster')).code).toBe(21)
      const ran = await succeeds(work.holdfast('restore', 'cluster', '--overwrite'))
      expect(ran.stdout).toContain('keys 3000')
      expect(await cluster.get('key:2999')).toBe('2999')

      await empty(target)
      work.values.restores.alone = restoreOf('cluster', to)
      await succeeds(work.holdfast('restore', 'alone'))
      expect([await target.dbsize(), await target.get('key:2999')]).toEqual([3001, '2999'])

      work.values.backups.nightly = planOf(from)
      await succeeds(work.holdfast('backup', 'nightly'))
      work.values.restores.spread = restoreOf('nightly', nodes, { ...more, include: { databases: [0], keys: [] } })
      await succeeds(work.holdfast('restore', 'spread', '--overwrite'))
      expect(await cluster.get('1234567')).toBe('a key that is a number')
      expect(await cluster.get('key:2999')).toBe(null)
      cluster.disconnect()
    } finally {
      await nodes.destroy()
    }
  })

  test('a replica that has caught up gives the snapshot, and is no target', async () => {
    if (!from) return
    work.values.backups.nightly = planOf(from, { credentials: { secret: 'db', username: 'backup' } })
    const replica = (await startServer(
      'redis-8',
      '--replica-of',
      `${from.host}:${from.port}`,
      '--acl',
      backupUser,
    )) as Server
    try {
      await source.set('just:now', 'written')
      const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
      const facts = await factsOf('nightly', summary.backup)
      expect(facts.snapshots[0]).toMatchObject({ role: 'replica', server: `${replica.host}:${replica.port}` })
      work.values.restores.readonly = { ...restoreOf('nightly', replica), token: 'readonly' }
      const refused = await work.holdfast('restore', 'readonly')
      expect([refused.code, refused.summary.error]).toEqual([22, expect.stringContaining('is a replica')])
      await source.del('just:now')
    } finally {
      await replica.destroy()
    }
  })
})

async function usersOf(client: Redis): Promise<string[]> {
  const users = (await client.call('ACL', 'LIST')) as string[]
  return users.filter((user) => !user.startsWith('user default ')).sort()
}

/** A real sentinel that watches a server. */
async function startSentinel(server: Server): Promise<{ port: number; stop(): Promise<void> }> {
  const port = await freePort()
  const config = join(work.dir, `sentinel-${port}.conf`)
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${work.dir}`,
    `sentinel monitor mymaster ${server.host} ${server.port} 1`,
    `sentinel auth-pass mymaster ${server.password}`,
  ]
  await writeFile(config, lines.join('\n'))
  const ended = server.client('redis-server', [config, '--sentinel']).catch(() => '')
  const client = await vi.waitFor(
    () => connect({ host: '127.0.0.1', port, password: '', caFile: undefined }),
    patiently,
  )
  return {
    port,
    stop: async () => {
      client.disconnect()
      const last = await connect({ host: '127.0.0.1', port, password: '', caFile: undefined })
      await last.call('SHUTDOWN').catch(() => {})
      last.disconnect()
      await ended
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

interface Facts {
  databases: Record<string, { keys: number; expires: number }>
  types: Record<string, number>
  functions: string[]
  snapshots: { role: string; server: string }[]
}
