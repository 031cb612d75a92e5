import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { distance, explain, issuesOf } from '../issues.ts'

const schema = z.strictObject({
  schedule: z.string().min(1),
  port: z.int().min(1).max(65535).default(3306),
  wait: z
    .string()
    .regex(/^\d+s$/, 'a duration is a number with s')
    .default('1s'),
  overwrite: z.boolean().default(false),
  mode: z.enum(['before', 'during']).default('before'),
  tables: z.array(z.string()).min(2).default(['a', 'b']),
  token: z.union([z.string(), z.int()]).optional(),
  place: z
    .union([z.strictObject({ folder: z.string() }), z.strictObject({ bucket: z.string(), region: z.string() })])
    .optional(),
  names: z.record(z.string().regex(/^[a-z]+$/, 'a name has letters'), z.strictObject({ last: z.int() })).default({}),
})

function wrong(values: unknown): string {
  const { error } = schema.safeParse(values, { error: explain })
  return error ? issuesOf(error).join('; ') : 'nothing'
}

describe('a person is told what would be right', () => {
  test.each<[string, object, string]>([
    ['a key with a letter too many', { schedules: 'x' }, 'unrecognized key: "schedules" (is schedule meant?)'],
    ['a key in other letters', { Port: 1 }, 'unrecognized key: "Port" (is port meant?)'],
    ['two keys', { tokn: 1, tabels: [] }, '"tokn" (is token meant?), unrecognized key: "tabels" (is tables meant?)'],
    [
      'a key like none',
      { cron: 'x' },
      'unrecognized key: "cron" (known: schedule, port, wait, overwrite, mode, tables, token, place, names)',
    ],
    ['a key of an entry', { names: { a: { lst: 1 } } }, 'names.a: unrecognized key: "lst" (is last meant?)'],
    ['a duration without its unit', { wait: '5' }, 'wait: a duration is a number with s'],
    ['a duration that is a number', { wait: 5 }, 'wait: must be a text: put it into quotes'],
    ['a number in quotes', { port: '5432' }, 'port: must be a number: leave its quotes out'],
    ['a text for a number', { port: 'mysql' }, 'port: must be a number, not a text'],
    ['a fraction', { port: 1.5 }, 'port: must be a whole number'],
    ['a number that is too big', { port: 70_000 }, 'port: must be at most 65535'],
    ['a choice in quotes', { overwrite: 'true' }, 'overwrite: must be true or false: leave its quotes out'],
    ['a word for a choice', { overwrite: 'yes' }, 'overwrite: must be true or false, not a text'],
    ['one that is not to be chosen', { mode: 'after' }, 'mode: must be "before" or "during"'],
    ['a text for a list', { tables: 'a' }, 'tables: must be a list, not a text'],
    ['a list that is too short', { tables: ['a'] }, 'tables: must have at least 2 entries'],
    ['an empty text', { schedule: '' }, 'schedule: must have at least 1 character'],
    ['a list for a map', { names: [] }, 'names: must be a map of names, not a list'],
    ['nothing after a key', { names: null }, 'names: must be a map of names, and is empty'],
    ['a name', { names: { A: { last: 1 } } }, 'names.A: a name has letters'],
    ['none of several kinds', { token: true }, 'token: must be a text or a number'],
    ['the shape that came nearest', { place: { folder: 1 } }, 'place.folder: must be a text: put it into quotes'],
  ])('for %s', (_, values, text) => expect(wrong({ schedule: 'x', ...values })).toContain(text))

  test('for what is missing', () => expect(wrong({})).toBe('schedule: must be a text, and is missing'))

  test('without the value, which may be a password in the wrong place', () =>
    expect(wrong({ schedule: 'x', mode: 'hunter2', port: 'hunter2', names: 'hunter2' })).not.toContain('hunter2'))
})

test.each([
  ['port', 'port', 0],
  ['port', 'prot', 2],
  ['retension', 'retention', 1],
  ['', 'abc', 3],
  ['kitten', 'sitting', 3],
])('from %j to %j it is %i letters', (a, b, far) => expect(distance(a, b)).toBe(far))
