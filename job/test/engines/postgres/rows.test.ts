import { expect, test } from 'vitest'
import { isPlain } from '../../../engines/postgres/rows.ts'
import type { Entry } from '../../../engines/postgres/toc.ts'

const entry = (kind: string, { name = 'x', sql = '', copy = '' } = {}): Entry => ({
  ...{ id: 1, oid: '0', schema: 'shop', owner: 'me', needs: [], section: 'data', data: false },
  ...{ kind, name, sql, copy },
})
const encoding = (name: string) => entry('ENCODING', { sql: `SET client_encoding = '${name}';\n` })
const rows = entry('TABLE DATA', { copy: 'COPY shop.x (id) FROM stdin;\n' })
const usual = [
  entry('STDSTRINGS'),
  entry('SEARCHPATH'),
  entry('DATABASE', { name: 'shop' }),
  entry('DATABASE PROPERTIES', { name: 'shop' }),
  entry('COMMENT', { name: 'DATABASE shop' }),
  rows,
  entry('SEQUENCE SET'),
]

test.each<[string, Entry[], boolean]>([
  ['rows and sequences', [encoding('UTF8'), ...usual], true],
  ['rows in another encoding', [encoding('LATIN1'), ...usual], false],
  ['rows in an encoding that is not told', usual, false],
  ['rows as INSERT statements', [encoding('UTF8'), ...usual, entry('TABLE DATA')], false],
  ['large objects', [encoding('UTF8'), ...usual, entry('BLOBS')], false],
  ['rows of a table that the manifest does not know', [encoding('UTF8'), ...usual, { ...rows, id: 2 }], false],
  ['a COPY that takes none', [encoding('UTF8'), { ...rows, copy: 'COPY shop.x (id) TO stdout;\n' }], false],
  ['a table without columns', [encoding('UTF8'), { ...rows, copy: 'COPY shop.x  FROM stdin;\n' }], true],
  ['a kind that nobody knows yet', [encoding('UTF8'), ...usual, entry('STATISTICS DATA')], false],
  ['a comment on a table of that name', [encoding('UTF8'), entry('COMMENT', { name: 'TABLE DATABASE' })], false],
])('an archive with %s: %s', (_, entries, plain) => {
  expect(isPlain(entries, new Map([[1, 7]]))).toBe(plain)
})
