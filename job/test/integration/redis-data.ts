import { readFile } from 'node:fs/promises'
import { Redis } from 'ioredis'
import type { Server } from '../servers/kit.ts'

/** A client of another make than the engine's own. */
export async function connect(server: Pick<Server, 'host' | 'port' | 'password' | 'caFile'>, db = 0): Promise<Redis> {
  const { host, port, password, caFile } = server
  const tls = caFile ? { tls: { ca: await readFile(caFile, 'utf8') } } : {}
  const client = new Redis({ host, port, password, db, ...tls, lazyConnect: true, maxRetriesPerRequest: 1 })
  client.on('error', () => {})
  await client.connect()
  return client
}

export interface Abilities {
  functions: boolean
  /** Hashes whose fields expire. */
  fieldTtl: boolean
}

/** Every type in every encoding, binary names and values, several databases. */
export async function seed(client: Redis, { functions, fieldTtl }: Abilities): Promise<void> {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  const pipeline = client.pipeline()
  const say = (...args: (string | number | Buffer)[]) => pipeline.call(String(args[0]), args.slice(1))
  say('SET', 'text', 'grüße 🎉')
  say('SET', 'empty', '')
  say('SET', bytes, bytes)
  say('SET', '', 'a key without a name')
  for (const number of [0, -1, 127, 128, -32768, 65_535, 2_147_483_647, -2_147_483_649, '9223372036854775807'])
    say('SET', `number:${number}`, number)
  say('SET', '1234567', 'a key that is a number')
  say('SET', `long:${'name'.repeat(40)}`, 'x'.repeat(10_000))
  say('SET', 'expires', 'soon', 'EX', 3600)
  say('SET', 'expires:far', 'later', 'PXAT', '4102444800123')
  say('SETBIT', 'bitmap', 100_003, 1)
  say('PFADD', 'visitors', ...Array.from({ length: 3000 }, (_, i) => `visitor ${i}`))
  say('PFADD', 'visitors:few', 'a', 'b')
  say('GEOADD', 'cities', 13.4, 52.5, 'Berlin', 2.35, 48.85, 'Paris')
  for (const [name, size, long] of [
    ['small', 5, 8],
    ['many', 3000, 8],
    ['wide', 40, 3000],
  ] as const) {
    const items = Array.from({ length: size }, (_, i) => `${i}:${'äz'.repeat(long / 2)}`)
    say('RPUSH', `list:${name}`, ...items)
    say('SADD', `set:${name}`, ...items)
    say('ZADD', `zset:${name}`, ...items.flatMap((item, i) => [i % 7 === 0 ? -i / 3 : i * 1e15, item]))
    say('HSET', `hash:${name}`, ...items.flatMap((item, i) => [`field ${i}`, item]))
  }
  say('ZADD', 'zset:infinite', '-inf', 'low', '+inf', 'high')
  say('SADD', 'set:numbers', ...Array.from({ length: 100 }, (_, i) => i * 1_000_000_007))
  say('HSET', 'hash:binary', bytes, bytes)
  for (let i = 1; i <= 500; i++) say('XADD', 'stream', `${i}-1`, 'field', `value ${i}`, 'n', i)
  say('XDEL', 'stream', '7-1', '8-1')
  say('XGROUP', 'CREATE', 'stream', 'group', '0')
  say('XGROUP', 'CREATE', 'stream', 'idle', '$')
  say('XREADGROUP', 'GROUP', 'group', 'one', 'COUNT', 20, 'STREAMS', 'stream', '>')
  say('XREADGROUP', 'GROUP', 'group', 'two', 'COUNT', 10, 'STREAMS', 'stream', '>')
  say('XACK', 'stream', 'group', '1-1', '2-1')
  say('XADD', 'stream:empty', '1-1', 'a', 'b')
  say('XDEL', 'stream:empty', '1-1')
  if (fieldTtl) {
    const wide = Array.from({ length: 1000 }, (_, i) => [`f${i}`, 'v'.repeat(100)]).flat()
    say('HSET', 'hash:ending', 'stays', 1, 'ends', 2)
    say('HPEXPIREAT', 'hash:ending', '4102444800123', 'FIELDS', 1, 'ends')
    say('HSET', 'hash:ending:many', ...wide)
    say('HPEXPIREAT', 'hash:ending:many', '4102444800123', 'FIELDS', 2, 'f1', 'f999')
  }
  if (functions)
    say('FUNCTION', 'LOAD', 'REPLACE', "#!lua name=shop\nredis.register_function('answer', function() return 42 end)")
  for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error
}

/** The same keys in other databases. */
export async function seedDatabases(client: Redis): Promise<void> {
  for (const db of [1, 3, 15]) {
    await client.select(db)
    for (let i = 0; i < 50; i++) await client.set(`db${db}:${i}`, i, 'EX', i % 2 ? 3600 : 999_999)
    await client.lpush('resque:queue', 'job')
  }
  await client.select(0)
}

/** Everything in a server, key by key, as a client sees it. */
export async function contents(client: Redis, { databases = [0, 1, 3, 15], fieldTtl = false } = {}) {
  const found = new Map<string, string>()
  for (const db of databases) {
    if (databases.length > 1) await client.select(db)
    for (const key of await keysIn(client)) {
      if (key.toString() === 'holdfast:restore') continue
      found.set(`${db} ${key.toString('latin1')}`, JSON.stringify(await readKey(client, key, fieldTtl)))
    }
  }
  if (databases.length > 1) await client.select(0)
  return found
}

async function keysIn(client: Redis): Promise<Buffer[]> {
  const keys: Buffer[] = []
  let cursor = '0'
  do {
    const [next, more] = (await client.callBuffer('SCAN', cursor, 'COUNT', '1000')) as [Buffer, Buffer[]]
    keys.push(...more)
    cursor = next.toString()
  } while (cursor !== '0')
  return keys
}

async function readKey(client: Redis, key: Buffer, fieldTtl: boolean): Promise<unknown> {
  const ask = async (...args: (string | Buffer)[]) => plain(await client.callBuffer(args[0] as string, args.slice(1)))
  const [type, expires] = await Promise.all([client.type(key), endOf(client, key)])
  switch (type) {
    case 'string':
      return [expires, await ask('GET', key)]
    case 'list':
      return [expires, await ask('LRANGE', key, '0', '-1')]
    case 'set':
      return [expires, ((await ask('SMEMBERS', key)) as string[]).sort()]
    case 'zset':
      // releases print the same number with more or fewer digits
      return [expires, scored((await ask('ZRANGE', key, '0', '-1', 'WITHSCORES')) as unknown[])]
    case 'hash': {
      const fields = ((await ask('HKEYS', key)) as string[]).sort()
      const names = fields.map((field) => Buffer.from(field, 'latin1'))
      const values = await client.hmgetBuffer(key, ...names)
      const ends = fieldTtl ? await ask('HPEXPIRETIME', key, 'FIELDS', `${names.length}`, ...names) : null
      return [expires, fields, plain(values), ends]
    }
    case 'stream':
      return [
        expires,
        await ask('XRANGE', key, '-', '+'),
        common(await ask('XINFO', 'STREAM', key, 'FULL', 'COUNT', '0')),
      ]
    default:
      throw new Error(`a key of type ${type}`)
  }
}

function scored(list: unknown[]): unknown {
  return list.map((item) => (Array.isArray(item) ? [item[0], number(item[1])] : item))
}

function number(text: string): string {
  return `${Number(text.replace('inf', 'Infinity'))}`
}

async function endOf(client: Redis, key: Buffer): Promise<unknown> {
  return client.call('PEXPIRETIME', key)
}

function plain(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('latin1')
  return Array.isArray(value) ? value.map(plain) : value
}

/** Without how the server keeps a stream in memory, and what only later releases tell. */
const untold = ['radix-tree-keys', 'radix-tree-nodes', 'active-time', 'nacked-count']
function common(value: unknown): unknown {
  if (!Array.isArray(value)) return value
  return value.filter((_, i) => !untold.includes(value[i - (i % 2)])).map(common)
}

/** What differs, at most a few lines; empty when nothing does. */
export function differences(expected: Map<string, string>, found: Map<string, string>): string[] {
  const names = new Set([...expected.keys(), ...found.keys()])
  const wrong = [...names].filter((name) => expected.get(name) !== found.get(name))
  return wrong
    .slice(0, 5)
    .map((name) => `${name}: ${expected.get(name)?.slice(0, 200)} is ${found.get(name)?.slice(0, 200)}`)
}
