import { expect, test } from 'vitest'
import type { Marker } from '../../../engine.ts'
import { type Creates, foreign, withEarlier } from '../../../engines/rondb/content.ts'

type Things = Parameters<typeof foreign>[0]['content']['databases'] extends Map<string, infer T> ? T : never

const table = (name: string) => ({ name, kind: 'NDB table' as const })
const local = (name: string) => ({ name, kind: 'table' as const })
const view = (name: string) => ({ name, kind: 'view' as const })
const creates = {
  databases: ['shop'],
  objects: ['shop', 'crm'],
  tables: ['shop.orders', 'shop.items', 'crm.people'],
  accounts: {},
}
const marker = (state: Marker['state'], request = 'other'): Marker => ({
  request,
  backupId: '1795218000',
  plan: 'nightly',
  state,
  creates,
})

interface Case {
  content?: Record<string, Things>
  unfinished?: boolean
  overwrite?: boolean
  markers?: Marker[]
}

function found({ content = {}, unfinished = false, overwrite = false, markers = [] }: Case): string[] {
  const disk = { tablespaces: [], logFileGroups: [] }
  return foreign({
    content: { disk, databases: new Map(Object.entries(content)) },
    ours: unfinished ? creates : undefined,
    overwrite,
    markers,
  })
}

test.each<[string, Case, string[]]>([
  ['an empty target has nothing', {}, []],
  [
    'a table of ours by name is foreign when no crash explains it',
    { content: { shop: [table('orders')] } },
    ['database shop (1 object: orders)'],
  ],
  [
    'another database is named too',
    { content: { shop: [table('orders')], blog: [view('v')] } },
    ['database shop (1 object: orders)', 'database blog (1 object: v)'],
  ],
  [
    'long lists are cut',
    { content: { blog: ['a', 'b', 'c', 'd', 'e'].map(table) } },
    ['database blog (5 objects: a, b, c, …)'],
  ],
  [
    'overwrite allows everything',
    { content: { shop: [table('orders'), table('x')], blog: [table('y')] }, overwrite: true },
    [],
  ],
  [
    'after a crash what the restore makes is ours',
    { content: { shop: [table('orders'), view('v')], crm: [table('people')] }, unfinished: true },
    [],
  ],
  [
    'also the views of a database that some tables are left out of',
    { content: { crm: [table('people'), view('v'), { name: 'p', kind: 'routine' }] }, unfinished: true },
    [],
  ],
  [
    'a foreign table in our database is refused',
    { content: { shop: [table('orders'), table('theirs')] }, unfinished: true },
    ['database shop (1 object: theirs)'],
  ],
  [
    'one that is not NDB too',
    { content: { shop: [local('theirs')] }, unfinished: true },
    ['database shop (1 object: theirs)'],
  ],
  [
    'a foreign database is refused after a crash',
    { content: { blog: [view('v')] }, unfinished: true },
    ['database blog (1 object: v)'],
  ],
  [
    'the unfinished restore of another request is named',
    { content: { shop: [table('orders')] }, markers: [marker('begun')] },
    ['database shop (1 object: orders)', 'an unfinished restore of backup 1795218000'],
  ],
  [
    'a finished one is not',
    { content: { shop: [table('orders')] }, markers: [marker('finished')] },
    ['database shop (1 object: orders)'],
  ],
  ['an unfinished one that left nothing is no obstacle', { markers: [marker('begun')] }, []],
])('%s', (_, state, expected) => expect(found(state)).toEqual(expected))

test('an unfinished run of an older backup is cleared away with what it made', () => {
  const earlier: Creates = { ...creates, accounts: { 'db:3306': ['shopper@%'] } }
  const { accounts: _, ...now } = { ...creates, databases: ['blog'], objects: ['blog'], tables: ['blog.posts'] }
  expect(withEarlier(now, earlier)).toEqual({
    databases: ['blog', 'shop'],
    objects: ['blog', 'shop', 'crm'],
    tables: ['blog.posts', 'shop.orders', 'shop.items', 'crm.people'],
    accounts: { 'db:3306': ['shopper@%'] },
  })
  expect(withEarlier(now, undefined)).toEqual({ ...now, accounts: {} })
})
