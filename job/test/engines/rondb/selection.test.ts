import { describe, expect, test } from 'vitest'
import { type Selection, select } from '../../../engines/rondb/selection.ts'
import { keyOf } from '../../../engines/rondb/tables.ts'
import type { Target } from '../../../engines/rondb/values.ts'

const tables = ['shop.orders', 'shop.items', 'crm.people', 'crm.calls', 'crm.notes', 'dbt2.x', 'holdfast.restores'].map(
  (key) => ({ database: key.split('.')[0] as string, name: key.split('.')[1] as string }),
)
const databases = ['crm', 'empty', 'shop']

type Choice = { databases?: string[]; tables?: string[] }
function selected({ include, exclude }: { include?: Choice; exclude?: Choice } = {}): Selection {
  const full = (choice: Choice | undefined) => choice && { databases: [], tables: [], ...choice }
  const target = { include: full(include), exclude: full(exclude) } as Target
  return select({ tables, databases, target, at: 'restores.once.targets.0.rondb' })
}

const shop = ['shop.orders', 'shop.items']
const crm = ['crm.people', 'crm.calls', 'crm.notes']

test.each<[string, Parameters<typeof selected>[0], { tables: string[]; whole: string[]; objects: string[] }]>([
  ['all but what is always left out', {}, { tables: [...shop, ...crm], whole: databases, objects: databases }],
  ['a database', { include: { databases: ['shop'] } }, { tables: shop, whole: ['shop'], objects: ['shop'] }],
  [
    'a table, without the objects of its database',
    { include: { tables: ['shop.items'] } },
    { tables: ['shop.items'], whole: [], objects: [] },
  ],
  [
    'a database and a table of another',
    { include: { databases: ['shop'], tables: ['crm.calls'] } },
    { tables: [...shop, 'crm.calls'], whole: ['shop'], objects: ['shop'] },
  ],
  [
    'a database without tables',
    { include: { databases: ['empty'] } },
    { tables: [], whole: ['empty'], objects: ['empty'] },
  ],
  [
    'all but a database',
    { exclude: { databases: ['crm'] } },
    { tables: shop, whole: ['empty', 'shop'], objects: ['empty', 'shop'] },
  ],
  [
    'all but a table: its database is not whole',
    { exclude: { tables: ['crm.calls'] } },
    { tables: [...shop, 'crm.people', 'crm.notes'], whole: ['empty', 'shop'], objects: databases },
  ],
  [
    'an include narrowed by an exclude',
    { include: { databases: ['crm'] }, exclude: { tables: ['crm.calls', 'crm.notes'] } },
    { tables: ['crm.people'], whole: [], objects: ['crm'] },
  ],
  [
    'an included table of an excluded database is excluded',
    { include: { databases: ['shop'], tables: ['crm.calls'] }, exclude: { databases: ['crm'] } },
    { tables: shop, whole: ['shop'], objects: ['shop'] },
  ],
  [
    'what is always left out also when it is included',
    { include: { databases: ['shop', 'dbt2', 'holdfast'] } },
    { tables: shop, whole: ['shop'], objects: ['shop'] },
  ],
])('%s', (_, choice, expected) => {
  const { tables: chosen, whole, objects } = selected(choice)
  expect({ tables: chosen.map(keyOf), whole, objects }).toEqual(expected)
})

test.each<[string, Parameters<typeof selected>[0], string]>([
  [
    'an included database',
    { include: { databases: ['shopp'] } },
    'include.databases: the backup has no database shopp',
  ],
  ['an included table', { include: { tables: ['shop.order'] } }, 'include.tables: the backup has no table shop.order'],
  [
    'an excluded database',
    { exclude: { databases: ['shop', 'x'] } },
    'exclude.databases: the backup has no database x',
  ],
  [
    'an excluded table',
    { exclude: { tables: ['orders.shop'] } },
    'exclude.tables: the backup has no table orders.shop',
  ],
  [
    'a choice that leaves nothing',
    { include: { databases: ['shop'] }, exclude: { databases: ['shop'] } },
    'include and exclude leave nothing',
  ],
  ['an empty include', { include: {} }, 'include and exclude leave nothing'],
])('%s is refused when the backup has none of it', (_, choice, message) => {
  expect(() => selected(choice)).toThrow(
    expect.objectContaining({ kind: 'nothing-matches', message: expect.stringContaining(message) }),
  )
})

test('a backup without anything restores to nothing', () => {
  const target = { include: undefined, exclude: undefined }
  expect(select({ tables: [], databases: [], target, at: 'here' })).toMatchObject({
    tables: [],
    whole: [],
    objects: [],
  })
})

const leftOut = 'heartbeat,ycsb,dbt2,holdfast'

test.each<[string, Parameters<typeof selected>[0], string[]]>([
  ['all', {}, [`--exclude-databases=${leftOut}`]],
  ['all but a database', { exclude: { databases: ['crm'] } }, [`--exclude-databases=${leftOut},crm`]],
  [
    'all but a table',
    { exclude: { tables: ['crm.calls'] } },
    [`--exclude-databases=${leftOut}`, '--exclude-tables=crm.calls'],
  ],
  ['a table of many: the shorter list', { include: { tables: ['crm.calls'] } }, ['--include-tables=crm.calls']],
])('ndb_restore is told %s', (_, choice, options) => expect(selected(choice).options).toEqual(options))

describe('every choice of three databases', () => {
  const names: Choice[] = [
    {},
    ...databases.map((database) => ({ databases: [database] })),
    { tables: ['shop.orders'] },
    { tables: ['crm.calls', 'crm.notes'] },
  ]
  const choices = [undefined, ...names].flatMap((include) =>
    [undefined, ...names].map((exclude) => ({ include, exclude })),
  )

  /** What ndb_restore does with its options. */
  function brought(options: string[]): string[] {
    const list = (option: string) =>
      options
        .find((one) => one.startsWith(`--${option}=`))
        ?.split('=')[1]
        ?.split(',')
    const [includes, databasesOut = [], tablesOut = []] = [
      list('include-tables'),
      list('exclude-databases'),
      list('exclude-tables'),
    ]
    return tables
      .filter((table) =>
        includes
          ? includes.includes(keyOf(table))
          : !databasesOut.includes(table.database) && !tablesOut.includes(keyOf(table)),
      )
      .map(keyOf)
  }

  test('the options bring exactly the chosen tables, and a whole database is one that comes back with all its tables', () => {
    let seen = 0
    for (const { include, exclude } of choices) {
      let chosen: Selection
      try {
        chosen = selected({ ...(include ? { include } : {}), ...(exclude ? { exclude } : {}) })
      } catch {
        continue
      }
      seen++
      const keys = chosen.tables.map(keyOf)
      expect(brought(chosen.options)).toEqual(keys)
      for (const database of chosen.whole) {
        expect(chosen.objects).toContain(database)
        expect(keys).toEqual(expect.arrayContaining(tables.filter((table) => table.database === database).map(keyOf)))
      }
    }
    expect(seen).toBeGreaterThan(20)
  })
})
