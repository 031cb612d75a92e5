import { describe, expect, test } from 'vitest'
import { Inserts } from '../../../engines/mysql/inserts.ts'
import { answer, type Column, endPacket, errorPacket, heading, packets, rowPacket, type Value } from './answers.ts'

const head = Buffer.from('INSERT INTO `t` (`c`) VALUES ')
const what = 'server here: rows of shop.t'
const int: Column = { type: 3 }
const text: Column = { type: 253 }
const bytes: Column = { type: 252, charset: 63 }
/** Of a packet: with its own length and a number of one digit, a value of six bytes less is continued. */
const longest = 0xffffff

async function* chunks(all: Buffer, size: (i: number) => number): AsyncGenerator<Buffer> {
  for (let at = 0, i = 0; at < all.length; i++) {
    const length = size(i)
    // the bytes of a chunk are gone when the next comes
    const chunk = Buffer.from(all.subarray(at, at + length))
    yield chunk
    chunk.fill(0x3f)
    at += length
  }
}

async function made(inserts: Inserts, all: Buffer, size: (i: number) => number = () => 65536): Promise<string> {
  const pieces: Buffer[] = []
  for await (const piece of inserts.of(chunks(all, size), { head, what })) pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces).toString('latin1')
}

function literal({ type, charset }: Column, value: Value): string {
  if (value === null) return 'NULL'
  if (type === 3) return value.toString('latin1')
  if (charset === 63 && value.length > 0) return `0x${value.toString('hex').toUpperCase()}`
  const special = { '\0': '0', '\n': 'n', '\r': 'r', '\x1a': 'Z', "'": "'" }
  const doubled = value.toString('latin1').replaceAll('\\', '\\\\')
  return `'${Object.entries(special).reduce((sql, [from, to]) => sql.replaceAll(from, `\\${to}`), doubled)}'`
}

/** The same without the limit of a statement. */
function expected(columns: readonly Column[], rows: readonly (readonly Value[])[]): string {
  const tuples = rows.map((row) => `(${row.map((value, i) => literal(columns[i] as Column, value)).join(',')})`)
  return tuples.length === 0 ? '' : `${head}${tuples.join(',')};\n`
}

/** Statements put together again: how they are cut is looked at by a test of its own. */
const joined = (sql: string) => sql.replaceAll(`;\n${head}`, ',')

function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1103515245 + 12345) & 0x7fffffff
    return state / 0x7fffffff
  }
}

const anyByte = random(7)
const anyBytes = Buffer.from(Array.from({ length: 140_000 }, () => Math.floor(anyByte() * 256)))

function randomRows(columns: readonly Column[], next: () => number): Value[][] {
  return Array.from({ length: Math.floor(next() * 60) }, () =>
    columns.map(({ type }) => {
      if (next() < 0.1) return null
      if (type === 3) return Buffer.from(String(Math.floor(next() * 1e9) - 5e8))
      const length = Math.floor(next() ** 6 * 70_000)
      return anyBytes.subarray(Math.floor(next() * 70_000)).subarray(0, length)
    }),
  )
}

test.each(Array.from({ length: 40 }, (_, i) => i))('rows come back however the answer is cut: %i', async (seed) => {
  const next = random(seed + 1)
  const columns = Array.from(
    { length: 1 + Math.floor(next() * 5) },
    () => [int, text, bytes][Math.floor(next() * 3)] as Column,
  )
  const inserts = new Inserts()
  // what one query leaves must not be seen in the next
  for (const size of [
    () => 65536,
    () => 1 + Math.floor(next() * 10),
    () => 1 + Math.floor(next() * 9000),
    () => 200_000,
  ]) {
    const rows = randomRows(columns, next)
    const sql = await made(inserts, answer(columns, rows), size)
    expect(joined(sql)).toBe(expected(columns, rows))
    expect(inserts.rows).toBe(rows.length)
    const statements = sql.split(';\n').slice(0, -1)
    expect(inserts.longest).toBe(Math.max(0, ...statements.map((statement) => Buffer.byteLength(statement, 'latin1'))))
  }
})

describe('values of every length', () => {
  test.each([0, 250, 251, 65_535, 65_536, longest - 7, longest - 6, longest - 5, 20_000_000])(
    '%i bytes of text and as many of bytes',
    async (length) => {
      const long = Buffer.alloc(length, `it's ${'x'.repeat(999_983)}`)
      for (const column of [text, bytes]) {
        const inserts = new Inserts()
        const sql = await made(
          inserts,
          answer(
            [column, int],
            [
              [long, Buffer.from('7')],
              [null, null],
            ],
          ),
          () => 99_991,
        )
        // toBe would print megabytes
        expect(
          joined(sql) ===
            expected(
              [column, int],
              [
                [long, Buffer.from('7')],
                [null, null],
              ],
            ),
        ).toBe(true)
        expect(inserts.rows).toBe(2)
      }
    },
  )

  test('take no more memory', async () => {
    const megabyte = Buffer.alloc(1024 * 1024, 'x')
    async function* endless() {
      yield packets(heading([text]))
      // 160 MiB: ten long packets and a short one
      const length = Buffer.alloc(9)
      length[0] = 254
      length.writeBigUInt64LE(160n * 2n ** 20n, 1)
      let ahead = length
      for (let left = length.length + 160 * megabyte.length; left > 0; ) {
        const packet = Math.min(left, longest)
        yield Buffer.from([packet & 255, (packet >> 8) & 255, packet >> 16, 0])
        left -= packet
        for (let rest = packet; rest > 0; ) {
          const piece = ahead.length > 0 ? ahead : megabyte.subarray(0, rest)
          ahead = Buffer.alloc(0)
          rest -= piece.length
          yield piece
        }
      }
      yield packets([endPacket])
    }
    let total = 0
    let largest = 0
    for await (const piece of new Inserts().of(endless(), { head, what })) {
      total += piece.length
      largest = Math.max(largest, piece.length)
    }
    expect(total).toBe(head.length + 160 * megabyte.length + "('');\n".length)
    expect(largest).toBeLessThan(1024 * 1024)
  })
})

test('statements end at a megabyte, and a row that has more is one of its own', async () => {
  const rows = Array.from({ length: 3000 }, (_, i) => [Buffer.alloc(i === 1500 ? 3_000_000 : 1000, 'x')])
  const sql = await made(new Inserts(), answer([text], rows))
  const statements = sql.split(';\n').slice(0, -1)
  const long = statements.filter(({ length }) => length > 1024 * 1024 + 100)
  expect(long).toEqual([`${head}('${'x'.repeat(3_000_000)}')`])
  expect(statements).toHaveLength(5)
  for (const statement of statements) expect(statement.startsWith(`${head}(`)).toBe(true)
})

test.each<[string, Column, string]>([
  ['a number', { type: 246 }, '61'],
  ['a date, whose character set is binary', { type: 10, charset: 63 }, "'a'"],
  ['JSON, whose character set is binary', { type: 245, charset: 63 }, "'a'"],
  ['a BIT', { type: 16, charset: 63 }, '0x61'],
  ['a VECTOR', { type: 242, charset: 63 }, '0x61'],
  ['a GEOMETRY', { type: 255 }, '0x61'],
  ['an ENUM', { type: 254 }, "'a'"],
  ['a BINARY', { type: 254, charset: 63 }, '0x61'],
])('%s', async (_, column, sql) => {
  const value = Buffer.from(sql === '61' ? '61' : 'a')
  expect(await made(new Inserts(), answer([column], [[value]]))).toBe(`${head}(${sql});\n`)
})

test('many columns', async () => {
  const columns = Array.from({ length: 1017 }, () => text)
  const row = columns.map((_, i) => Buffer.from(`${i}`))
  expect(await made(new Inserts(), answer(columns, [row]))).toBe(expected(columns, [row]))
})

describe('is not taken for all', () => {
  const rows = [[Buffer.from('1')], [Buffer.from('2')]]
  const whole = answer([int], rows)

  test('an answer that breaks off anywhere', async () => {
    const inserts = new Inserts()
    for (let length = 0; length < whole.length; length++)
      await expect(made(inserts, whole.subarray(0, length))).rejects.toThrow(`${what}: the server's answer broke off`)
  })

  test.each<[string, Buffer, string]>([
    ['an error at once', packets([errorPacket('no such table')]), 'no such table'],
    [
      'an error after rows',
      packets([...heading([int]), rowPacket(rows[0] as Value[]), errorPacket('killed')]),
      'killed',
    ],
    ['an answer without rows', packets([Buffer.from([0, 0, 0, 2, 0, 0, 0])]), 'gives no rows'],
    ['a request for a file', packets([Buffer.from([0xfb, 0x2f])]), 'gives no rows'],
    ['a row that is too short', packets([...heading([int, int]), rowPacket([null]), endPacket]), 'columns'],
    ['a row that is too long', packets([...heading([int]), rowPacket([null, null]), endPacket]), 'columns'],
    ['a type of column that is not known', packets([...heading([{ type: 244 }]), endPacket]), 'type 244'],
    ['more than an answer', Buffer.concat([whole, whole]), 'more than its answer'],
  ])('%s', async (_, said, error) => {
    const inserts = new Inserts()
    await expect(made(inserts, said)).rejects.toThrow(`${what}: `)
    await expect(made(inserts, said, () => said.length - 1)).rejects.toThrow(error)
  })
})
