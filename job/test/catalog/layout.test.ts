import { describe, expect, test } from 'vitest'
import {
  backupId,
  dateOf,
  helmDateOf,
  isId,
  isTime,
  parseName,
  partsOf,
  sourceFolder,
  sourcePath,
} from '../../catalog/layout.ts'

describe('ids', () => {
  test.each([
    ['1', true],
    ['1795218000', true],
    ['4294967294', true],
    ['4294967295', false],
    ['0', false],
    ['01', false],
    ['', false],
    ['-1', false],
    ['1e9', false],
    ['17952180000', false],
    ['1795218000 ', false],
    ['latest', false],
  ])('%j is an id: %s', (text, expected) => expect(isId(text)).toBe(expected))

  test('an id is the second in which a backup started, and the way back', () => {
    expect(backupId(new Date('2026-11-20T23:40:00.999Z'))).toBe('1795218000')
    expect(dateOf('1795218000')).toEqual(new Date('2026-11-20T23:40:00Z'))
  })

  test.each(['1969-12-31T23:59:59Z', '1970-01-01T00:00:00Z', '2106-02-07T06:28:15Z'])(
    'a clock at %s is refused',
    (time) => {
      expect(() => backupId(new Date(time))).toThrow('the clock says')
    },
  )

  test("the ids of rondb-helm's folders tell no time", () => {
    expect(isTime('265371530')).toBe(false)
    expect(isTime('995372359')).toBe(false)
    expect(isTime('1795218000')).toBe(true)
  })
})

describe("rondb-helm's ids", () => {
  test.each([
    ['264752340', '2026-11-20T23:40:00.000Z'],
    ['260140005', '2026-01-01T00:05:00.000Z'],
    ['265342359', '2026-12-31T23:59:00.000Z'],
    ['275361200', '2027-01-02T12:00:00.000Z'],
    ['240110000', '2024-01-01T00:00:00.000Z'],
    ['1795218000', undefined],
    ['264782340', undefined],
    ['265472340', undefined],
    ['264752440', undefined],
    ['5', undefined],
  ])('%s was begun at %s', (id, time) => expect(helmDateOf(id)?.toISOString()).toBe(time))
})

describe('names in a listing', () => {
  test.each([
    ['nightly/1795218000.json', { kind: 'manifest', id: '1795218000' }],
    ['nightly/1795218000/', { kind: 'folder', id: '1795218000' }],
    ['nightly/1795218000.pin.json', { kind: 'sibling', id: '1795218000', word: 'pin' }],
    ['nightly/1795218000.hold-3f2a.json', { kind: 'sibling', id: '1795218000', word: 'hold-3f2a' }],
    ['nightly/readme.txt', undefined],
    ['nightly/1795218000.json.tmp', undefined],
    ['nightly/01795218000.json', undefined],
    ['nightly/4294967295.json', undefined],
    ['nightly/1795218000/users.sql', undefined],
    ['other/1795218000.json', undefined],
    ['nightly-2/1795218000.json', undefined],
  ])('%s', (key, expected) => expect(parseName('nightly', key)).toEqual(expected))
})

describe('folders of sources', () => {
  test.each([
    ['rondb', 'rondb', ''],
    ['second', 'rondb', 'second'],
    ['shop', 'mysql', 'shop'],
    ['rondb', 'files', 'rondb'],
  ])('source %s of engine %s lies in "%s"', (source, engine, folder) => {
    expect(sourceFolder(source, engine)).toBe(folder)
  })

  test('a RonDB source named rondb has the paths of rondb-helm', () => {
    expect(sourcePath({ source: 'rondb', engine: 'rondb', path: 'users.sql' })).toBe('users.sql')
    expect(sourcePath({ source: 'shop', engine: 'mysql', path: 'users.sql' })).toBe('shop/users.sql')
  })

  test('every part belongs to one source', () => {
    const parts = ['users.sql', 'rondb/1/a.ctl', 'shop/dump.sql', 'shop2/dump.sql'].map((path) => ({ path }))
    const sources = [
      { name: 'rondb', engine: 'rondb' },
      { name: 'shop', engine: 'mysql' },
      { name: 'shop2', engine: 'mysql' },
    ]
    const paths = (source: string) => partsOf({ sources, parts }, source).map(({ path }) => path)
    expect(paths('rondb')).toEqual(['users.sql', 'rondb/1/a.ctl'])
    expect(paths('shop')).toEqual(['shop/dump.sql'])
    expect(paths('shop2')).toEqual(['shop2/dump.sql'])
  })
})
