import { describe, expect, test } from 'vitest'
import { boundaries, conditions, cuts, folders, grouped } from '../../../engines/mysql/batches.ts'
import type { Table } from '../../../engines/mysql/tables.ts'

const mega = 1024 * 1024
const table = (name: string, size: number): Table => ({
  ...{ database: 'shop', name, kind: 'table', engine: 'InnoDB', bytes: size * mega, versioned: false, digest: '' },
})

describe('large tables are cut', () => {
  test.each<[string, Record<string, number>, number, Record<string, number>]>([
    ['so that each connection has several pieces', { a: 1600, b: 1600, c: 3200 }, 4, { a: 4, b: 4, c: 8 }],
    ['not into pieces of less than 64 MiB', { a: 300, b: 90 }, 4, { a: 5 }],
    ['not into pieces of more than 1 GiB', { a: 100_000 }, 4, { a: 98 }],
    ['not into more pieces than 256', { a: 1_000_000 }, 4, { a: 256 }],
    ['for one connection too: a restore may have more', { a: 1000 }, 1, { a: 4 }],
    ['not when they are small', { a: 60, b: 60, c: 60 }, 4, {}],
  ])('%s', (_, sizes, parallel, expected) => {
    const found = cuts(
      Object.entries(sizes).map(([name, size]) => table(name, size)),
      parallel,
    )
    expect(Object.fromEntries(found.map((cut) => [cut.table.name, cut.pieces]))).toEqual(expected)
  })
})

test('small tables of a database share a part', () => {
  const other = { ...table('x', 1), database: 'other' }
  const batches = grouped([table('a', 5), table('b', 50), table('c', 10), other, table('d', 200), table('e', 0)])
  expect(batches.map(({ tables }) => tables.map(({ name }) => name).join(''))).toEqual(['ab', 'c', 'd', 'e', 'x'])
})

test('every key meets exactly one condition', () => {
  expect(conditions('`id`', [5n, 9n])).toEqual(['`id` < 5', '`id` >= 5 AND `id` < 9', '`id` >= 9'])
})

describe('a key is cut into even pieces', () => {
  const keys = {
    'dense ones': Array.from({ length: 1000 }, (_, i) => i),
    'ones in two far heaps': Array.from({ length: 1000 }, (_, i) => (i < 500 ? i : 1e12 + i)),
    'negative ones': Array.from({ length: 1000 }, (_, i) => i * 3 - 5000),
    'ones that grow faster and faster': Array.from({ length: 1000 }, (_, i) => i ** 4),
  }
  test.each(Object.entries(keys))('of %s', async (_, all) => {
    const rows = async (from: bigint, to: bigint) => all.filter((key) => key >= from && key < to).length
    const bounds = await boundaries({
      low: BigInt(all[0] as number),
      high: BigInt(all.at(-1) as number),
      count: 4,
      rows,
    })
    const edges = [Number.NEGATIVE_INFINITY, ...bounds.map(Number), Number.POSITIVE_INFINITY]
    const sizes = edges.slice(1).map((edge, i) => all.filter((key) => key >= (edges[i] as number) && key < edge).length)
    expect(sizes).toHaveLength(4)
    for (const size of sizes) expect(Math.abs(size - 250)).toBeLessThan(70)
  })

  test('of one row not at all', async () => {
    expect(await boundaries({ low: 5n, high: 5n, count: 4, rows: async () => 1 })).toEqual([])
  })
})

test('folders differ when names differ only in what a path cannot have, or in case', () => {
  expect([...folders(['shop', 'Shop', 'a b', 'a/b', '..']).values()]).toEqual(['shop', 'Shop.2', 'a_b', 'a_b.2', '_'])
})
