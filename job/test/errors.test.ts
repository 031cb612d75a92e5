import { describe, expect, test } from 'vitest'
import { type ErrorKind, exitCodeOf, exitCodes, JobError, ObjectError, textOf } from '../errors.ts'
import { SqlError } from '../io/mysql.ts'

test.each<[ErrorKind, number]>([
  ['bug', 1],
  ['configuration', 2],
  ['nothing-matches', 20],
  ['target-not-empty', 21],
  ['server', 22],
  ['storage', 23],
  ['verification', 24],
  ['busy', 25],
  ['interrupted', 130],
  ['terminated', 143],
])('%s ends with %d for ever', (kind, code) => {
  expect(exitCodeOf(new JobError(kind, 'x'))).toBe(code)
  expect(exitCodes[kind]).toBe(code)
})

test('no two kinds have the same code, and none has that of success', () => {
  const codes = Object.values(exitCodes)
  expect(new Set(codes).size).toBe(10)
  expect(codes).not.toContain(0)
})

test.each<[string, unknown, number]>([
  ['a storage without an object', new ObjectError('ObjectMissing', 'a'), 23],
  ['an error of MySQL', new SqlError('x', 1146, undefined), 22],
  ['an error of Node', new TypeError('x'), 1],
  ['a text', 'x', 1],
  ['nothing', undefined, 1],
])('%s ends with its code', (_, error, code) => expect(exitCodeOf(error)).toBe(code))

describe('the text of an error', () => {
  const cause = new Error('connect ECONNREFUSED')

  test.each<[unknown, string]>([
    [new JobError('server', 'no answer'), 'no answer'],
    [new JobError('server', 'no answer', { cause }), 'no answer: connect ECONNREFUSED'],
    [new JobError('server', 'no answer: connect ECONNREFUSED', { cause }), 'no answer: connect ECONNREFUSED'],
    [new JobError('storage', 'a', { cause: new JobError('storage', 'b', { cause }) }), 'a: b: connect ECONNREFUSED'],
    [new Error('two\n  lines \n\n more'), 'two lines more'],
    [new RangeError(''), 'RangeError'],
    [new JobError('server', 'x', { cause: 'a text' }), 'x: a text'],
    ['a text', 'a text'],
    [null, ''],
  ])('%o is %j', (error, text) => expect(textOf(error)).toBe(text))

  test('ends when errors are each other\u2019s cause', () => {
    const a = new Error('a')
    const b = new Error('b', { cause: a })
    a.cause = b
    expect(textOf(a)).toBe('a: b')
  })
})
