import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { render, sizeText, spanText, timeText } from '../../io/print.ts'

const result = {
  data: [{ id: '1795218000', bytes: 5 }],
  table: {
    columns: ['id', { title: 'size', right: true } as const, 'plan'],
    rows: [
      ['1795218000', '5 B', 'a'],
      ['7', '1.0 KiB', ''],
    ],
  },
  notes: ['1 more'],
}

test('a table is aligned, numbers to the right, without spaces at line ends', () => {
  expect(render(result, 'table')).toBe(
    'ID             SIZE  PLAN\n1795218000      5 B  a\n7           1.0 KiB\n1 more\n',
  )
})

test('json and yaml are the data and nothing else, ids staying texts', () => {
  expect(JSON.parse(render(result, 'json'))).toEqual(result.data)
  expect(parse(render(result, 'yaml'))).toEqual(result.data)
})

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1_048_570, '1.0 MiB'],
  [5.5 * 1024 ** 3, '5.5 GiB'],
  [2 ** 60, '1024.0 PiB'],
])('%d bytes are %s', (bytes, text) => expect(sizeText(bytes)).toBe(text))

test.each([
  [0.42, '0.4s'],
  [9, '9s'],
  [59.6, '1m 0s'],
  [185, '3m 5s'],
  [7800, '2h 10m'],
  [273_600, '3d 4h'],
  [-3, '0s'],
])('%d seconds are %s', (seconds, text) => expect(spanText(seconds)).toBe(text))

test('times are UTC in whole seconds', () => {
  expect(timeText('2026-11-21T00:40:00.123+01:00')).toBe('2026-11-20T23:40:00Z')
})
