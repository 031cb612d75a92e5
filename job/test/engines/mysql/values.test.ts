import { expect, test } from 'vitest'
import { foreign } from '../../../engines/mysql/content.ts'
import { select } from '../../../engines/mysql/selection.ts'
import { clientVersion } from '../../../engines/mysql/server.ts'
import { Source } from '../../../engines/mysql/values.ts'

const base = { host: 'db', credentials: { secret: 'db' } }
const accepts = (values: object) => Source.safeParse({ ...base, ...values }).success

test.each([
  '--password=x',
  '--pass',
  '-px',
  '--where=1',
  '--skip-comments',
  '--skip-dump-date --user=x',
  '--host=x',
  '--compact',
  '--loose-tab=/',
  'x',
])('the option %s is refused', (option) => expect(accepts({ extraOptions: [option] })).toBe(false))

test.each(['--skip-tz-utc', '--hex-blob', '--skip-generated-invisible-primary-key', '--disable-keys', '--replace'])(
  'the option %s, which concerns rows, is taken by mysqldump alone',
  (option) => {
    expect(accepts({ method: 'mysqldump', extraOptions: [option] })).toBe(true)
    expect(accepts({ extraOptions: [option] })).toBe(false)
  },
)

test.each(['--net-buffer-length=100000', '--column-statistics=0', '--skip-opt'])('the option %s is taken', (option) =>
  expect(accepts({ extraOptions: [option] })).toBe(true),
)

test.each<[string, object]>([
  ['host and socket', { socket: '/s' }],
  ['a transaction that parallel needs', { singleTransaction: false }],
  ['a table without a database', { include: { tables: ['orders'] } }],
])('refused: %s', (_, values) => expect(accepts(values)).toBe(false))

test.each([
  ['mysqldump from 11.8.6-MariaDB, client 10.19 for debian-linux-gnu (x86_64)', '11.8.6'],
  ['mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)', '10.11.19'],
  ['mysqldump  Ver 9.7.4-2 for Linux on x86_64 ((Debian))', '9.7.4'],
  ['mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)', '8.0.36'],
])('%s is %s', (text, version) => expect(clientVersion(text)).toBe(version))

const backup = {
  databases: ['a', 'b'],
  tables: [
    { database: 'a', name: 'x' },
    { database: 'a', name: 'y' },
    { database: 'b', name: 'x' },
  ],
  at: 'restores.once.targets.0.mysql',
  from: 'the backup',
}
const choice = (databases: string[], tables: string[] = []) => ({ databases, tables })

test.each<[string, object, { tables: string[]; whole: string[]; objects: string[] }]>([
  ['everything', {}, { tables: ['a.x', 'a.y', 'b.x'], whole: ['a', 'b'], objects: ['a', 'b'] }],
  ['a database', { include: choice(['a']) }, { tables: ['a.x', 'a.y'], whole: ['a'], objects: ['a'] }],
  ['a table', { include: choice([], ['b.x']) }, { tables: ['b.x'], whole: [], objects: [] }],
  ['all but a table', { exclude: choice([], ['a.x']) }, { tables: ['a.y', 'b.x'], whole: ['b'], objects: ['a', 'b'] }],
])('chosen: %s', (_, values, expected) => {
  const { tables, ...rest } = select({ ...backup, values })
  expect({ tables: tables.map(({ database, name }) => `${database}.${name}`), ...rest }).toEqual(expected)
})

test('a name that is not in the backup restores nothing instead of less', () => {
  expect(() => select({ ...backup, values: { include: choice(['c']) } })).toThrow('the backup has no database c')
})

const creates = { databases: ['a'], objects: ['a'], tables: ['a.x', 'b.x'], accounts: [] }
const thing = (database: string, name: string, kind: 'table' | 'view' = 'table') => ({ database, name, kind })

test.each<[string, ReturnType<typeof thing>[], boolean, boolean, number]>([
  ['another database', [thing('c', 'x')], false, false, 0],
  ['another table of a database that does not come as a whole', [thing('b', 'y')], false, false, 0],
  ['a table that would be replaced', [thing('b', 'x')], false, false, 1],
  ['anything in a database that comes as a whole', [thing('a', 'other', 'view')], false, false, 1],
  ['the same with overwrite', [thing('a', 'other', 'view')], false, true, 0],
  ['what an unfinished run made', [thing('a', 'x'), thing('a', 'v', 'view')], true, false, 0],
  ['a table that came into it since', [thing('a', 'z')], true, false, 1],
])('in the way: %s', (_, things, unfinished, overwrite, count) => {
  expect(foreign({ content: { databases: [], things }, creates, unfinished, overwrite })).toHaveLength(count)
})
