import { describe, expect, test } from 'vitest'
import type { Marker } from '../../engine.ts'
import type { JobError } from '../../errors.ts'
import {
  changedBy,
  isUnfinished,
  markerOf,
  parseMarkers,
  refuseRestored,
  refuseUnfinished,
  stepOf,
  withMarker,
} from '../../io/restores.ts'

const marker = (request: string, state: Marker['state'], backupId = '100'): Marker => ({
  request,
  backupId,
  plan: 'nightly',
  state,
  creates: ['shop'],
})
const kindOf = (act: () => unknown) => {
  try {
    act()
  } catch (error) {
    return (error as JobError).kind
  }
  return undefined
}

describe('markers of a target', () => {
  test('that begins a request: others are replaced or overtaken, its own is another one', () =>
    expect(
      withMarker(
        [marker('a', 'finished'), marker('b', 'begun'), marker('c', 'replaced'), marker('d', 'finished', '90')],
        marker('d', 'begun'),
      ),
    ).toEqual([
      { ...marker('a', 'replaced'), creates: [] },
      { ...marker('b', 'overtaken'), creates: [] },
      { ...marker('c', 'replaced'), creates: [] },
      marker('d', 'begun'),
    ]))

  test.each<[string, unknown, unknown, unknown]>([
    ['another list', ['shop', 'bank'], ['bank', 'zoo'], ['shop']],
    [
      'whole databases',
      { databases: ['shop'], tables: ['shop.a', 'bank.b'] },
      { databases: ['shop'], tables: [] },
      { databases: [], tables: ['bank.b'] },
    ],
    [
      'tables alone',
      { databases: ['shop'], tables: ['shop.a'] },
      { databases: [], tables: ['shop.a'] },
      { databases: ['shop'], tables: [] },
    ],
    [
      'databases by name',
      { databases: [{ name: 'x', inPlace: true }] },
      { databases: [{ name: 'x', inPlace: false }] },
      { databases: [] },
    ],
    ['numbers, and no accounts', { databases: [0, 1], accounts: ['a@b'] }, { databases: [1] }, { databases: [0] }],
  ])('keep of an unfinished one what the next does not make: %s', (_, some, others, left) => {
    const [overtaken] = withMarker([{ ...marker('a', 'begun'), creates: some }], {
      ...marker('b', 'begun'),
      creates: others,
    })
    expect(overtaken).toMatchObject({ state: 'overtaken', creates: left })
    expect(isUnfinished(overtaken as Marker)).toBe(JSON.stringify(left).match(/[\w"]\]|\["/) !== null)
  })

  test('that finishes a request: all others stay', () =>
    expect(withMarker([marker('a', 'replaced'), marker('d', 'begun')], marker('d', 'finished'))).toEqual([
      marker('a', 'replaced'),
      marker('d', 'finished'),
    ]))

  test('are written when they changed, the new one first', () => {
    const before = [marker('a', 'finished'), { ...marker('c', 'replaced'), creates: [] }]
    expect(changedBy(before, marker('d', 'begun')).map(({ request, state }) => [request, state])).toEqual([
      ['d', 'begun'],
      ['a', 'replaced'],
    ])
  })

  test('come from rows and from JSON; anything else is refused', () => {
    const row = { request: 'a', backup_id: '100', plan: 'nightly', state: 'begun', creates: '["shop"]' }
    expect(markerOf(row)).toEqual(marker('a', 'begun'))
    expect(markerOf({ ...row, creates: ['shop'] })).toEqual(marker('a', 'begun'))
    expect(parseMarkers(JSON.stringify([marker('a', 'begun')]))).toEqual([marker('a', 'begun')])
    expect(() => parseMarkers('{"request":"a"}')).toThrow()
    expect(() => parseMarkers('[{"request":"a"}]')).toThrow()
  })

  test('make a backup of half a restore impossible', () => {
    expect(kindOf(() => refuseUnfinished([marker('a', 'finished'), marker('b', 'begun')], 'db', 'x'))).toBe('busy')
    expect(
      kindOf(() => refuseUnfinished([marker('a', 'finished'), marker('b', 'replaced')], 'db', 'x')),
    ).toBeUndefined()
    const before = [marker('a', 'finished'), marker('b', 'finished')]
    expect(kindOf(() => refuseRestored(before, before.toReversed(), 'db'))).toBeUndefined()
    expect(kindOf(() => refuseRestored(before, [marker('a', 'finished')], 'db'))).toBe('busy')
    expect(kindOf(() => refuseRestored(before, [...before.slice(1), marker('a', 'finished', '101')], 'db'))).toBe(
      'busy',
    )
  })
})

test('a step that no plan has is a bug', () => {
  const says = { says: '', writes: false }
  expect(stepOf({ data: 1 }, { name: 'data', ...says })).toBe(1)
  expect(kindOf(() => stepOf({ data: 1 }, { name: 'date', ...says }))).toBe('bug')
})
