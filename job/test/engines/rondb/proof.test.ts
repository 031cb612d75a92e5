import { describe, expect, test } from 'vitest'
import type { RondbFacts } from '../../../engines/rondb/facts.ts'
import { compareTables, compareTotals, rangeText, recordsIn } from '../../../engines/rondb/proof.ts'
import type { Selection } from '../../../engines/rondb/selection.ts'
import { leftRecords, tally } from '../../../engines/rondb/tables.ts'

const row = (fq_name: string, table_id: number, records: number) => ({ fq_name, table_id, records: String(records) })

describe('the tally of NDB', () => {
  const counts = tally([
    row('shop/def/NDB$BLOB_12_3', 13, 30),
    row('shop/def/orders', 12, 100),
    row('shop/def/NDB$BLOB_12_4', 14, 5),
    row('mysql/def/ndb_schema', 3, 7),
    row('mysql/def/NDB$BLOB_3_2', 4, 2),
    row('sys/def/SYSTAB_0', 1, 1),
    row('heartbeat/def/beats', 20, 50),
    row('shop/def/#sql-1', 21, 9),
    row('lost/def/NDB$BLOB_99_1', 22, 1000),
  ])

  test('adds blob parts to the records of their table, not to its rows', () => {
    expect(counts.tables.get('shop.orders')).toEqual({ database: 'shop', name: 'orders', rows: 100, records: 135 })
  })

  test('counts the tables of NDB apart, with their blob parts', () => expect(counts.system).toBe(10))

  test('leaves to no restore what is of NDB, of an ALTER or always left out', () => {
    expect(leftRecords(counts)).toBe(10 + 50 + 9)
  })
})

const quiet: RondbFacts = {
  consistency: { snapshot: 'end', startGcp: 1, stopGcp: 2, epoch: '12884901887' },
  topology: { nodes: [{ id: 1, group: 0, parts: 2 }] },
  records: 160,
  logRecords: 0,
  bytes: 1,
  systemRecords: [10, 10],
  encrypted: false,
  databases: ['shop'],
  tables: [
    { database: 'shop', name: 'orders', rows: [80, 80], records: [100, 100] },
    { database: 'shop', name: 'items', rows: [50, 50], records: [50, 50] },
  ],
  localTables: { names: [], dumped: false },
}
const busy: RondbFacts = {
  ...quiet,
  logRecords: 20,
  systemRecords: [10, 12],
  tables: [
    { database: 'shop', name: 'orders', rows: [80, 90], records: [100, 110] },
    { database: 'shop', name: 'items', rows: [50, 45], records: [50, 45] },
  ],
}

function totals(facts: RondbFacts, names: string[], tuples: number, logEntries = 0): string | undefined {
  const tables = names.map((name) => ({ database: 'shop', name }))
  const selection: Selection = { tables, whole: [], objects: [], options: [] }
  return compareTotals({ facts, selection, tuples, logEntries })
}

const both = ['orders', 'items']

describe('the totals', () => {
  test.each<[string, string | undefined]>([
    ['all of a quiet cluster', totals(quiet, both, 150)],
    ['one table of a quiet cluster', totals(quiet, ['items'], 50)],
    ['the fewest under writers', totals(busy, both, 148)],
    ['the most under writers', totals(busy, both, 150)],
    ['a table under writers', totals(busy, ['items'], 45)],
    ['log entries as many as there are', totals(busy, both, 149, 20)],
    ['what was adopted without counts', totals({ ...quiet, records: null }, both, 3)],
    ['what was adopted without counts of the system', totals({ ...quiet, systemRecords: null }, both, 3)],
    ['what was adopted without log counts', totals({ ...quiet, logRecords: null }, both, 150, 99)],
  ])('agree for %s', (_, wrong) => expect(wrong).toBeUndefined())

  test.each<[string, string | undefined, string]>([
    ['a record too few', totals(quiet, both, 149), 'restored 149 records, the backup has 150'],
    ['a record too many', totals(quiet, both, 151), 'restored 151 records, the backup has 150'],
    ['an excluded table that came along', totals(quiet, ['items'], 150), 'restored 150 records, the backup has 50'],
    ['fewer than can be under writers', totals(busy, both, 147), 'the backup has 148 to 150'],
    ['more than can be under writers', totals(busy, both, 151), 'the backup has 148 to 150'],
    ['log entries from nowhere', totals(busy, both, 149, 21), 'applied 21 log entries, the backup has 20'],
  ])('differ for %s', (_, wrong, text) => expect(wrong).toContain(text))
})

test.each<[string, RondbFacts, string[], string | undefined]>([
  ['those of user tables only', quiet, both, '150'],
  ['those of one table', quiet, ['items'], '50'],
  ['between two numbers under writers', busy, both, '148 to 150'],
  ['not known of what nobody counted', { ...quiet, records: null }, both, undefined],
])('records of a backup are %s', (_, facts, names, text) => {
  const range = recordsIn(facts, new Set(names.map((name) => `shop.${name}`)))
  expect(range && rangeText(range)).toBe(text)
})

describe('the tables', () => {
  const counted = (orders: number, items?: number) =>
    new Map([['shop.orders', orders], ...(items === undefined ? [] : [['shop.items', items] as const])] as [
      string,
      number,
    ][])

  test.each<[string, RondbFacts, Map<string, number>, string[]]>([
    ['agree row by row on a quiet cluster', quiet, counted(80, 50), []],
    [
      'are named when they differ',
      quiet,
      counted(79, 51),
      ['shop.orders has 79 rows instead of 80', 'shop.items has 51 rows instead of 50'],
    ],
    ['that were left out are not asked for', quiet, counted(80), []],
    ['cannot be compared under writers', busy, counted(1, 1), []],
    ['that changed without a log entry are not compared', { ...busy, logRecords: 0 }, counted(1, 1), []],
  ])('%s', (_, facts, counts, wrong) => expect(compareTables(facts, counts)).toEqual(wrong))
})
