import { describe, expect, test } from 'vitest'
import { versionIn } from '../../../engines/rondb/clients.ts'
import { checkComplete, parseRestored, parseTables } from '../../../engines/rondb/native.ts'

const files = (folder = '') => [`${folder}BACKUP-7-0.2.Data`, `${folder}BACKUP-7.2.ctl`, `${folder}BACKUP-7.2.log`]
const parts = (n: number) => Array.from({ length: n }, (_, i) => files(`BACKUP-7-PART-${i + 1}-OF-${n}/`)).flat()

describe('a native backup is complete', () => {
  test.each<[string, string[], number]>([
    ['with one LDM and no PART folder', files(), 1],
    ['with one LDM in a PART folder', parts(1), 1],
    ['with four LDMs', parts(4), 4],
    ['with sixteen, in any order', parts(16).reverse(), 16],
    ['with our own mark beside it', [...parts(2), 'holdfast-committed'], 2],
  ])('%s', (_, paths, count) => expect(checkComplete(paths, '7', 2)).toBe(count))

  test.each<[string, string[], string]>([
    ['a file of one LDM', files().slice(1), 'BACKUP-7-0.2.Data'],
    [
      'a control file',
      parts(2).filter((path) => path !== 'BACKUP-7-PART-2-OF-2/BACKUP-7.2.ctl'),
      'BACKUP-7-PART-2-OF-2/BACKUP-7.2.ctl',
    ],
    ['a whole part', parts(4).filter((path) => !path.includes('PART-3')), 'BACKUP-7-PART-3-OF-4/BACKUP-7-0.2.Data'],
    ['everything', [], 'BACKUP-7-0.2.Data'],
    ['the files of this node', files().map((path) => path.replace('.2.', '.3.')), 'BACKUP-7-0.2.Data'],
  ])('but not without %s, which is named', (_, paths, missing) => {
    expect(() => checkComplete(paths, '7', 2)).toThrow(
      expect.objectContaining({ kind: 'verification', message: expect.stringContaining(missing) }),
    )
  })
})

test('--print-meta gives the user tables once, without blob parts, indexes and tables of NDB', () => {
  const text = [
    'Backup Id = 7',
    '-- shop/def/orders --',
    '-- shop/def/orders --',
    '-- shop/def/NDB$BLOB_12_3 --',
    '-- sys/def/12/PRIMARY --',
    '-- mysql/def/ndb_schema --',
    '-- shop/def/#sql-1-2 --',
    '-- crm/def/caf\u00e9/x --',
    '-- Fragment header --',
  ].join('\n')
  expect(parseTables(text)).toEqual([
    { database: 'crm', name: 'caf\u00e9/x' },
    { database: 'shop', name: 'orders' },
  ])
})

test('the counts of all parts add up', () => {
  const text =
    '2026 [restore_data] Restored 65560 tuples and 4 log entries\nx\n[restore_data] Restored 65563 tuples and 0 log entries\nNDBT_ProgramExit: 0 - OK'
  expect(parseRestored(text)).toEqual({ tuples: 131_123, logEntries: 4 })
  expect(parseRestored('')).toEqual({ tuples: 0, logEntries: 0 })
})

test.each([
  ['MySQL distrib mysql-9.7.2 ndb-9.7.2, for Linux (x86_64)', '9.7.2'],
  ['MySQL distrib mysql-8.4.0-RonDB-24.10.1, for Linux (x86_64)', '24.10.1'],
  ['RonDB-24.10.1', '24.10.1'],
  ['mysql-8.0.34 ndb-8.1.0', '8.1.0'],
  ['mysqldump  Ver 9.7.2-cluster for Linux on x86_64 (Source distribution)', '9.7.2'],
  ['mysqldump  Ver 10.13 Distrib 5.7.33, for Linux (x86_64)', '5.7.33'],
  ['no version', undefined],
])('the version in %j is %s', (text, version) => expect(versionIn(text)).toBe(version))
