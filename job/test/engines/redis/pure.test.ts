import { describe, expect, test } from 'vitest'
import { usersIn } from '../../../engines/redis/accounts.ts'
import { crc64 } from '../../../engines/redis/crc64.ts'
import { keysOf, productOf, replicasOf } from '../../../engines/redis/info.ts'
import { lzfDecompress } from '../../../engines/redis/lzf.ts'
import { encode, replies } from '../../../engines/redis/protocol.ts'
import { glob, select } from '../../../engines/redis/selection.ts'
import { slotOf } from '../../../engines/redis/slots.ts'
import { mastersIn } from '../../../engines/redis/topology.ts'

test('the checksum is the one of the servers, however the bytes come', () => {
  for (const cut of [0, 3, 8]) {
    const checksum = crc64()
    checksum.update(Buffer.from('123456789').subarray(0, cut))
    checksum.update(Buffer.from('123456789'), cut)
    const bytes = Buffer.alloc(8)
    checksum.write(bytes, 0)
    expect(bytes.readBigUInt64LE().toString(16)).toBe('e9c6d914c4b8d9ca')
  }
})

test('the checksum of more than its memory holds is that of its pieces, byte by byte', () => {
  const bytes = Buffer.from(Array.from({ length: 300_001 }, (_, i) => (i * i) >>> 3))
  const [whole, pieces] = [crc64(), crc64()]
  whole.update(bytes)
  for (let i = 0; i < bytes.length; i++) pieces.update(bytes, i, i + 1)
  const [found, expected] = [Buffer.alloc(8), Buffer.alloc(8)]
  whole.write(found, 0)
  pieces.write(expected, 0)
  expect(found).toEqual(expected)
})

test('a compressed text is made whole, and a damaged one refused', () => {
  const bytes = Buffer.from([2, 97, 98, 99, 0xe0, 9, 2, 0, 33])
  expect(lzfDecompress(bytes, 22).toString()).toBe(`${'abc'.repeat(7)}!`)
  expect(() => lzfDecompress(bytes, 23)).toThrow('damaged')
  expect(() => lzfDecompress(bytes.subarray(0, 6), 21)).toThrow('damaged')
  expect(() => lzfDecompress(Buffer.from([0x20, 0]), 3)).toThrow('damaged')
})

test.each([
  ['foo', 12182],
  ['user:{42}:name', 8000],
  ['42', 8000],
  ['{}whole', 10188],
  ['', 0],
])('the slot of %j is %i', (key, slot) => {
  expect(slotOf(Buffer.from(key))).toBe(slot)
})

describe('patterns', () => {
  test.each([
    ['resque:*', 'resque:queue', true],
    ['resque:*', 'a resque:queue', false],
    ['h?llo', 'hello', true],
    ['h[ae]llo', 'hillo', false],
    ['h[^e]llo', 'hallo', true],
    ['h[a-b]llo', 'hbllo', true],
    ['h[b-a]llo', 'hbllo', true],
    ['h\\*llo', 'h*llo', true],
    ['h\\*llo', 'hello', false],
    ['[\\]]', ']', true],
    ['a.c', 'abc', false],
    ['*', '', true],
    ['grü?', 'grün', true],
    ['[abc', 'b', true],
  ])('%s and %s: %s', (pattern, key, matches) => {
    expect(glob(pattern).test(Buffer.from(key).toString('latin1'))).toBe(matches)
  })

  test('all choices must choose a key: those of the backup, and those of the restore', () => {
    const selection = select(
      { exclude: { databases: [], keys: ['a:*'] } },
      { include: { databases: [0, 1], keys: ['?:1'] }, exclude: { databases: [1], keys: [] } },
    )
    expect([0, 1, 2].map(selection.database)).toEqual([true, false, false])
    expect(['a:1', 'b:1', 'b:2'].map((key) => selection.key(() => Buffer.from(key)))).toEqual([false, true, false])
    expect([selection.whole, select().whole]).toEqual([false, true])
  })
})

test('replies are read whole, however they come', () => {
  const said = Buffer.from('+OK\r\n$3\r\na\r\n\r\n*2\r\n:7\r\n*-1\r\n-NOPERM no\r\n$-1\r\n')
  const reader = replies()
  const found = []
  for (const byte of said) {
    reader.add(Buffer.from([byte]))
    for (let reply = reader.take(); reply !== undefined; reply = reader.take()) found.push(reply)
  }
  expect(found).toEqual(['OK', 'a\r\n', [7, null], { error: 'NOPERM no' }, null])
  expect(encode(['SET', 'ü', 1]).toString('latin1')).toBe('*3\r\n$3\r\nSET\r\n$1\r\nü\r\n$1\r\n1\r\n')
})

test('INFO is read for product, keys and replicas', () => {
  const info = new Map([
    ['redis_version', '7.2.4'],
    ['valkey_version', '8.1.1'],
    ['db0', 'keys=3,expires=1,avg_ttl=0'],
    ['slave0', 'ip=10.0.0.7,port=6379,state=online,offset=10,lag=0'],
    ['slave1', 'ip=10.0.0.8,port=6379,state=online,offset=12,lag=0'],
    ['slave2', 'ip=10.0.0.9,port=6379,state=wait_bgsave,offset=0,lag=0'],
  ])
  expect(productOf(info)).toEqual({ product: 'Valkey', version: '8.1.1' })
  expect(keysOf(info)).toEqual(new Map([[0, { keys: 3, expires: 1 }]]))
  expect(replicasOf(info).map(({ host }) => host)).toEqual(['10.0.0.8', '10.0.0.7'])
})

test('CLUSTER SLOTS gives the masters in order; slots that nobody serves are refused', () => {
  const asked = { host: 'seed', port: 6379 }
  const said = [
    [8192, 16_383, ['10.0.0.2', 6379, 'b']],
    [100, 8191, ['', 6380, 'a'], ['10.0.0.3', 6379, 'c']],
    [0, 99, ['10.0.0.2', 6379, 'b']],
  ] as never
  expect(mastersIn(said, asked).map(({ address, slots }) => [address.host, slots])).toEqual([
    [
      '10.0.0.2',
      [
        [0, 99],
        [8192, 16_383],
      ],
    ],
    ['seed', [[100, 8191]]],
  ])
  expect(() => mastersIn((said as unknown[]).slice(1) as never, asked)).toThrow('8192 of its 16384')
})

test('users of an ACL file keep selectors whole', () => {
  expect(usersIn('user default on nopass ~* +@all\nuser a off #12ab ~x* (%R~y* +get) -@all\n')).toEqual([
    { name: 'default', rules: ['on', 'nopass', '~*', '+@all'] },
    { name: 'a', rules: ['off', '#12ab', '~x*', '(%R~y* +get)', '-@all'] },
  ])
})
