import { describe, expect, test } from 'vitest'
import { Limits, limitOver, pacingOf } from '../limits.ts'

const Mi = 2 ** 20
const pacing = (limits: unknown, timeZone = 'Etc/UTC') => ({ limits: Limits.parse(limits), timeZone })

test.each<[string | number, number]>([
  ['50Mi', 50 * Mi],
  ['1Gi', 1024 * Mi],
  ['64Ki', 65_536],
  ['50M', 50e6],
  ['1500k', 1.5e6],
  ['2G', 2e9],
  ['65536', 65_536],
  [65_536, 65_536],
])('%s is %i bytes a second', (bytesPerSecond, expected) => {
  expect(limitOver(pacing({ bytesPerSecond }))(new Date())).toBe(expected)
})

test.each<[unknown, RegExp]>([
  [{ bytesPerSecond: '0' }, /a size is a number/],
  [{ bytesPerSecond: 0 }, /less than 64Ki/],
  [{ bytesPerSecond: '63Ki' }, /less than 64Ki/],
  [{ bytesPerSecond: '50MiB' }, /such as 50Mi/],
  [{ bytesPerSecond: '1.5Mi' }, /such as 50Mi/],
  [{ bytesPerSecond: '-1' }, /such as 50Mi/],
  [{ between: { from: '22:00', to: '06:00' } }, /bytesPerSecond/],
  [{ bytesPerSecond: '1Mi', between: { from: '22:00' } }, /to/],
  [{ bytesPerSecond: '1Mi', between: { from: '24:00', to: '06:00' } }, /"07:00" to "23:59"/],
  [{ bytesPerSecond: '1Mi', between: { from: '7:00', to: '08:00' } }, /"07:00" to "23:59"/],
  // what YAML 1.1 makes of 22:00 without quotes
  [{ bytesPerSecond: '1Mi', between: { from: 1320, to: '06:00' } }, /from/],
  [{ bytesPerSecond: '1Mi', between: { from: '06:00', to: '06:00' } }, /leave `between` out/],
])('%j is refused', (limits, message) => {
  const { error } = Limits.safeParse(limits)
  expect(error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')).toMatch(message)
})

describe('the hours of a limit', () => {
  const day = { from: '07:00', to: '19:00' }
  const night = { from: '22:00', to: '06:00' }
  test.each<[string, { from: string; to: string }, string, string, boolean]>([
    ['before them', day, 'Etc/UTC', '2026-11-21T06:59:59.999Z', false],
    ['from their first second', day, 'Etc/UTC', '2026-11-21T07:00:00Z', true],
    ['to their last', day, 'Etc/UTC', '2026-11-21T18:59:59.999Z', true],
    ['not after them', day, 'Etc/UTC', '2026-11-21T19:00:00Z', false],
    ['over midnight, in the evening', night, 'Etc/UTC', '2026-11-21T22:00:00Z', true],
    ['over midnight, at midnight', night, 'Etc/UTC', '2026-11-22T00:00:00Z', true],
    ['over midnight, in the morning', night, 'Etc/UTC', '2026-11-22T05:59:00Z', true],
    ['over midnight, not by day', night, 'Etc/UTC', '2026-11-22T06:00:00Z', false],
    ['over midnight, not before', night, 'Etc/UTC', '2026-11-22T21:59:00Z', false],
    ['in Stockholm in winter', day, 'Europe/Stockholm', '2026-11-21T06:00:00Z', true],
    ['in Stockholm in winter, before', day, 'Europe/Stockholm', '2026-11-21T05:59:00Z', false],
    ['in Stockholm in summer', day, 'Europe/Stockholm', '2026-07-21T05:00:00Z', true],
    ['in Stockholm in summer, after', day, 'Europe/Stockholm', '2026-07-21T17:00:00Z', false],
    ['half an hour beside UTC', day, 'Asia/Kolkata', '2026-11-21T01:30:00Z', true],
    ['half an hour beside UTC, before', day, 'Asia/Kolkata', '2026-11-21T01:29:00Z', false],
    ['of the last minute of a day', { from: '23:59', to: '00:00' }, 'Etc/UTC', '2026-11-21T23:59:30Z', true],
    [
      'of the last minute of a day, and not the next',
      { from: '23:59', to: '00:00' },
      'Etc/UTC',
      '2026-11-22T00:00:00Z',
      false,
    ],
  ])('%s', (_, between, timeZone, time, holds) => {
    const limit = limitOver(pacing({ bytesPerSecond: '1Mi', between }, timeZone))
    expect(limit(new Date(time))).toBe(holds ? Mi : undefined)
  })

  /** How many minutes of a day, from one midnight there to the next, the limit holds. */
  function minutes(between: { from: string; to: string }, first: string, last: string): number {
    const limit = limitOver(pacing({ bytesPerSecond: '1Mi', between }, 'Europe/Stockholm'))
    let count = 0
    for (let at = Date.parse(first); at < Date.parse(last); at += 60_000) if (limit(new Date(at))) count++
    return count
  }
  // clocks go from 02:00 to 03:00 on March 29 and from 03:00 to 02:00 on October 25
  const spring = ['2026-03-28T23:00:00Z', '2026-03-29T22:00:00Z'] as const
  const autumn = ['2026-10-24T22:00:00Z', '2026-10-25T23:00:00Z'] as const
  test.each<[string, { from: string; to: string }, readonly [string, string], number]>([
    ['that spring skips are none', { from: '02:00', to: '03:00' }, spring, 0],
    ['that begin in the hour that spring skips begin after it', { from: '02:30', to: '04:00' }, spring, 60],
    ['that end in the hour that spring skips end before it', { from: '01:00', to: '02:30' }, spring, 60],
    ['of a day of 23 hours', { from: '00:00', to: '23:59' }, spring, 23 * 60 - 1],
    ['that autumn has twice hold twice', { from: '02:00', to: '02:30' }, autumn, 60],
    ['of a day of 25 hours', { from: '00:00', to: '23:59' }, autumn, 25 * 60 - 1],
    ['on a day as any other', { from: '02:00', to: '02:30' }, ['2026-10-25T23:00:00Z', '2026-10-26T23:00:00Z'], 30],
  ])('%s', (_, between, [first, last], expected) => expect(minutes(between, first, last)).toBe(expected))
})

describe('a run has the limits of', () => {
  const limits = (bytesPerSecond: string) => ({ limits: { bytesPerSecond }, timeZone: 'Europe/Stockholm' })
  const values = {
    backups: { nightly: limits('1Mi'), free: {} },
    restores: { once: limits('2Mi'), free: {} },
    copies: { offsite: limits('3Mi') },
  } as unknown as Parameters<typeof pacingOf>[0]
  test.each([
    ['its plan', { plan: 'nightly' }, '1Mi'],
    ['the plan that a restore without an entry reads', { backup: 'nightly' }, '1Mi'],
    ['its restore', { restore: 'once' }, '2Mi'],
    ['its copy', { name: 'offsite' }, '3Mi'],
    ['the plan that is copied without an entry', { name: 'nightly' }, '1Mi'],
    ['none when the restore has none', { restore: 'free' }, undefined],
    ['none when the plan has none', { plan: 'free' }, undefined],
    ['none when nobody knows the plan', { plan: 'foreign' }, undefined],
    ['none when it is of no plan', {}, undefined],
  ])('%s', (_, subject, expected) => expect(pacingOf(values, subject)?.limits.bytesPerSecond).toBe(expected))
})
