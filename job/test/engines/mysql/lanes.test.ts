import { describe, expect, test } from 'vitest'
import { boundaries, conditions, cuts, deal, folders } from '../../../engines/mysql/lanes.ts'
import type { Table } from '../../../engines/mysql/tables.ts'

const mega = 1024 * 1024
const table = (name: string, size: number): Table => ({
  ...{ database: 'shop', name, kind: 'table', engine: 'InnoDB', bytes: size * mega, versioned: false, digest: '' },
})

describe('large tables are cut', () => {
  test.each<[string, [string, number][], number, Record<string, number>]>([
    ['one that is all', [['a', 1000]], 4, { a: 4 }],
    [
      'one that is nearly all, and leaves a connection to the others',
      [
        ['a', 1000],
        ['b', 1],
      ],
      4,
      { a: 3 },
    ],
    [
      'two that are half each',
      [
        ['a', 1000],
        ['b', 1000],
      ],
      4,
      { a: 2, b: 2 },
    ],
    [
      'none of four equal ones',
      [
        ['a', 500],
        ['b', 500],
        ['c', 500],
        ['d', 500],
      ],
      4,
      {},
    ],
    ['none that is small', [['a', 60]], 4, {}],
    ['none with one connection', [['a', 1000]], 1, {}],
  ])('%s', (_, sizes, parallel, expected) => {
    const found = cuts(
      sizes.map(([name, size]) => table(name, size)),
      parallel,
    )
    expect(Object.fromEntries(found.map((cut) => [cut.table.name, cut.pieces]))).toEqual(expected)
  })
})

test('whole tables are dealt out by size, each to one connection', () => {
  const lanes = deal([table('a', 5), table('b', 4), table('c', 3), table('d', 3), table('e', 0)], 2)
  expect(lanes.map((lane) => lane.tables.map(({ name }) => name).join(''))).toEqual(['ad', 'bce'])
})

test('there are no more connections than tables', () => expect(deal([table('a', 1)], 4)).toHaveLength(1))

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
