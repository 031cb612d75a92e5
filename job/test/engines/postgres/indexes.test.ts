import { expect, test } from 'vitest'
import { earlyIndexes } from '../../../engines/postgres/indexes.ts'
import type { Entry, Section } from '../../../engines/postgres/toc.ts'

const entry = (id: number, kind: string, name: string, needs: number[], section: Section = 'post-data'): Entry => ({
  ...{ id, kind, name, needs, section, schema: 'shop' },
  ...{ oid: '0', owner: 'me', sql: '', copy: '', data: false },
})

const orders = entry(1, 'TABLE', 'orders', [], 'pre-data')
const events = entry(2, 'TABLE', 'events', [], 'pre-data')
const view = entry(3, 'MATERIALIZED VIEW', 'totals', [1], 'pre-data')
const lower = entry(4, 'FUNCTION', 'lower', [], 'pre-data')
const ordersKey = entry(10, 'CONSTRAINT', 'orders orders_pkey', [1])
const byName = entry(11, 'INDEX', 'orders_name', [1, 4])
const clustered = {
  ...entry(14, 'INDEX', 'orders_c', [1]),
  sql: 'CREATE INDEX c;\n\nALTER TABLE shop.orders CLUSTER ON c;',
}
const byDay = entry(12, 'INDEX', 'orders_day', [1])
const eventsKey = entry(13, 'CONSTRAINT', 'events events_pkey', [2])

test('of a table, what needs nothing else can be made when its rows are there', () => {
  const others = [
    entry(20, 'FK CONSTRAINT', 'events to_orders', [2, 1, 10]),
    entry(21, 'TRIGGER', 'orders touch', [1, 4]),
    entry(22, 'INDEX', 'totals_day', [3]),
    entry(23, 'COMMENT', 'INDEX orders_day', [12]),
  ]
  const entries = [orders, events, view, lower, byName, byDay, clustered, ordersKey, eventsKey, ...others]
  expect(Object.fromEntries(earlyIndexes('db', entries))).toEqual({
    'db.shop.orders': { first: [clustered, ordersKey], rest: [byDay] },
    'db.shop.events': { first: [eventsKey], rest: [] },
  })
})

test('what needs another index, or a key, waits as what needs a function does', () => {
  const onKey = entry(30, 'INDEX', 'orders_by_key', [1, 10])
  expect(earlyIndexes('db', [orders, ordersKey, onKey]).get('db.shop.orders')).toEqual({
    first: [ordersKey],
    rest: [],
  })
})
