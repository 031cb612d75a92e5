import { describe, expect, test } from 'vitest'
import { chooseDatabases, chooseTables } from '../../../engines/postgres/selection.ts'
import { patternOf, spread } from '../../../engines/postgres/spread.ts'
import { Source } from '../../../engines/postgres/values.ts'

const MB = 1024 * 1024
const tables = (...sizes: number[]) => sizes.map((size, i) => ({ schema: 's', name: `t${i}`, bytes: size * MB }))
const names = (group: { name: string }[]) => group.map((table) => table.name)

describe('tables are spread', () => {
  test.for([
    ['small ones stay together', tables(1, 2, 3), 4, [], ['t2', 't1', 't0']],
    ['one at a time, all together', tables(500, 500), 1, [], ['t0', 't1']],
    ['large ones alone', tables(1000, 900, 10), 2, [['t0'], ['t1']], ['t2']],
    [
      'those of middle size in groups',
      tables(100, 100, 100, 100, 100, 100, 100, 100),
      2,
      [
        ['t0', 't1'],
        ['t2', 't3'],
        ['t4', 't5'],
      ],
      ['t6', 't7'],
    ],
    ['none at all', [], 4, [], []],
  ] as const)('%s', ([, some, parallel, groups, rest]) => {
    const found = spread([...some], parallel)
    expect(found.groups.map(names)).toEqual(groups)
    expect(names(found.rest)).toEqual(rest)
  })

  test('every table is in one place, however many there are', () => {
    const many = tables(...Array.from({ length: 5000 }, (_, i) => 20 + (i % 7)))
    const { groups, rest } = spread(many, 4)
    expect(groups.flat()).toHaveLength(1000)
    expect(new Set([...groups.flat(), ...rest]).size).toBe(5000)
  })
})

test('a pattern is one name, whatever is in it', () => {
  expect(patternOf({ schema: 'a.b', name: 'c"*' })).toBe('"a.b"."c""*"')
})

describe('what is chosen', () => {
  const all = [
    { schema: 's', name: 'a' },
    { schema: 's', name: 'b.c' },
  ]
  const choice = (databases: string[], tables: string[] = []) => ({ databases, tables })

  test.for([
    [undefined, undefined, ['x', 'y'], ['a', 'b.c']],
    [choice(['x']), undefined, ['x'], ['a', 'b.c']],
    [choice([], ['x.s.b.c']), undefined, ['x'], ['b.c']],
    [choice(['x'], ['x.s.a']), undefined, ['x'], ['a', 'b.c']],
    [undefined, choice(['y']), ['x'], ['a', 'b.c']],
    [undefined, choice([], ['x.s.a']), ['x', 'y'], ['b.c']],
  ] as const)('include %j exclude %j', ([include, exclude, databases, tables]) => {
    const chosen = { include, exclude } as Pick<Source, 'include' | 'exclude'>
    expect(chooseDatabases(['x', 'y'], chosen, 'at')).toEqual(databases)
    expect(chooseTables('x', all, { ...chosen, at: 'at' }).map((table) => table.name)).toEqual(tables)
  })

  test('must be there', () => {
    expect(() => chooseDatabases(['x'], { include: choice(['z']), exclude: undefined }, 'at')).toThrow(
      'at.include: there is no database z',
    )
    expect(() => chooseDatabases(['x'], { include: undefined, exclude: choice(['x']) }, 'at')).toThrow(
      'leave no database',
    )
    expect(() => chooseTables('x', all, { include: undefined, exclude: choice([], ['x.s.z']), at: 'at' })).toThrow(
      'no table x.s.z',
    )
  })
})

describe('more options of the clients', () => {
  const source = (option: string) =>
    Source.safeParse({ host: 'h', credentials: { secret: 's' }, extraOptions: [option] }).success

  test.for(['--no-publications', '--exclude-schema=x', '--extra-float-digits=0', '--no-comments'])(
    '%s is taken',
    (option) => {
      expect(source(option)).toBe(true)
    },
  )

  test.for([
    '--password',
    '--pass',
    '-Fp',
    '--fi=/x',
    '--file=/x',
    '--dbname=x',
    '--inserts',
    '--enable-row-security',
    '--sec=data',
    'x',
    '--t=a',
  ])('%s is refused', (option) => {
    expect(source(option)).toBe(false)
  })
})
