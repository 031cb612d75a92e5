import { describe, expect, test } from 'vitest'
import { byPath, bytesOf, chooser, patternTrouble } from '../../../engines/files/patterns.ts'

describe('patterns', () => {
  test.each([
    ['uploads', 'uploads/2026/a.png', true],
    ['uploads', 'uploads2/a.png', false],
    ['*/logo.png', 'one/logo.png', true],
    ['*/logo.png', 'one/two/logo.png', false],
    ['file.?', 'file.a', true],
    ['file.?', 'file.ab', false],
    ['[a-c]*', 'beta', true],
    ['[!a-c]*', 'beta', false],
    ['[!a-c]*', 'delta', true],
    ['a+(b)', 'a+(b)', true],
    ['a+(b)', 'aab', false],
    ['a[', 'a[', true],
    ['über', bytesOf('über/x'), true],
    ['line*', 'line\nend', true],
  ])('%s chooses %j: %s', (pattern, path, chosen) => {
    expect(chooser({ include: [pattern], exclude: [] }).chosen(path)).toBe(chosen)
    expect(chooser({ exclude: [pattern] }).chosen(path)).toBe(!chosen)
  })

  test.each([
    ['**/*.tmp', 'a/b/c.tmp', true],
    ['**/*.tmp', 'c.tmp', true],
    ['**/cache', 'a/cache/deep/x', true],
    ['**/cache', 'a/mycache/x', false],
  ])('%s leaves out %s: %s', (pattern, path, out) => expect(chooser({ exclude: [pattern] }).chosen(path)).toBe(!out))

  test('lead through the folders above what they choose', () => {
    const { leadsTo, chosen } = chooser({ include: ['themes/*/logo.png'], exclude: ['themes/old'] })
    expect(['themes', 'themes/one', 'themes/old', 'other', 'themes/one/deep'].filter(leadsTo)).toEqual([
      'themes',
      'themes/one',
    ])
    expect(chosen('themes/old/logo.png')).toBe(false)
  })

  test.each(['', '/etc', 'a/../b', './a', 'a/', 'a//b', 'a\\b', 'a/**/b', 'a\nb', '**/'])('are not %j', (pattern) =>
    expect(patternTrouble(pattern, 'exclude')).toBeDefined(),
  )

  test('at any depth are for what is left out', () => {
    expect(patternTrouble('**/x', 'exclude')).toBeUndefined()
    expect(patternTrouble('**/x', 'include')).toBeDefined()
  })

  test('sort as tar does: a folder, what is in it, then its neighbours', () =>
    expect(['a-b', 'a/x', 'a', 'B', '.', 'a/x/y', 'ab', 'a.b'].sort(byPath)).toEqual([
      ...['.', 'B', 'a', 'a/x', 'a/x/y', 'a-b', 'a.b', 'ab'],
    ]))
})
