import { describe, expect, test } from 'vitest'
import { planRetention, type Retained, type RetentionPolicy } from '../../catalog/retention.ts'

const day = 86_400
const now = new Date('2026-11-20T12:00:00Z')
const today = now.getTime() / 1000

/** Backups by their age in days; negative ones lie in the future. */
function aged(...days: number[]): Retained[] {
  return days.map((age) => ({ id: String(today - age * day), time: new Date((today - age * day) * 1000) }))
}

function keptDays(backups: readonly Retained[], policy: RetentionPolicy): number[] {
  return planRetention({ backups, policy, now }).keep.map(({ id }) => (today - Number(id)) / day)
}

const tenDays = aged(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)

describe('what stays', () => {
  const table: [string, Retained[], RetentionPolicy, number[]][] = [
    ['without a rule everything', tenDays, {}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    ['the last 3', tenDays, { last: 3 }, [0, 1, 2]],
    ['the last 1', tenDays, { last: 1 }, [0]],
    ['more than there are', aged(0, 1), { last: 7 }, [0, 1]],
    ['what is not older than 2 days', tenDays, { maxAge: 2 * day }, [0, 1, 2]],
    ['either rule, last being wider', tenDays, { last: 5, maxAge: 2 * day }, [0, 1, 2, 3, 4]],
    ['either rule, age being wider', tenDays, { last: 2, maxAge: 4 * day }, [0, 1, 2, 3, 4]],
    ['the last 3 after a long gap', aged(400, 401, 402, 403), { last: 3, maxAge: 30 * day }, [400, 401, 402]],
    ['the newest though all are too old', aged(400, 401), { maxAge: 30 * day }, [400]],
    ['a single old one', aged(5000), { maxAge: 1 }, [5000]],
    ['nothing of nothing', [], { last: 1 }, []],
    ['several of one day, by number', aged(0, 0.1, 0.2, 0.3), { last: 2 }, [0, 0.1]],
    ['future ones, and they take no places', aged(-300, -2, 0, 1, 2), { last: 2 }, [-300, -2, 0, 1]],
    ['all, when the clock fell behind all of them', aged(-3, -2, -1), { last: 1, maxAge: 1 }, [-3, -2, -1]],
    ['whatever the order they come in', aged(2, 0, 3, 1), { last: 2 }, [0, 1]],
  ]
  test.each(table)('%s', (_, backups, policy, expected) => {
    expect(keptDays(backups, policy).map((one) => Math.round(one * 10) / 10)).toEqual(expected)
  })

  test('a backup whose time nobody knows stays', () => {
    const unknown = { id: '265371530', time: undefined }
    const { keep } = planRetention({ backups: [...tenDays, unknown], policy: { last: 1 }, now })
    expect(keep.map(({ id }) => id)).toContain('265371530')
    expect(keep).toHaveLength(2)
  })

  test('an adopted backup counts by its own time and not by its id, and `latest` stays what it was', () => {
    const adopted = { id: '265371530', time: new Date((today - day) * 1000) }
    const backups = [...aged(50, 60), adopted]
    const plan = planRetention({ backups, policy: { last: 1 }, now })
    expect(plan.keep).toEqual([
      { id: '265371530', reasons: ['the newest', 'one of the last 1'] },
      { id: String(today - 50 * day), reasons: ['the one that `latest` picks'] },
    ])
    expect(plan.remove).toHaveLength(1)
  })

  test('what guards a backup keeps it, and takes no places of the others', () => {
    const backups = tenDays.map((backup, i) =>
      i === 5 ? { ...backup, guards: ['pinned: before the upgrade'] } : backup,
    )
    const plan = planRetention({ backups, policy: { last: 2 }, now })
    expect(plan.keep.map(({ id, reasons }) => [(today - Number(id)) / day, reasons.at(-1)])).toEqual([
      [0, 'one of the last 2'],
      [1, 'one of the last 2'],
      [5, 'pinned: before the upgrade'],
    ])
  })

  test('every decision has its reason', () => {
    const policy = { last: 1, maxAge: 48 * 3600, daily: 2, minimum: 4, timeZone: 'Europe/Stockholm' }
    const plan = planRetention({ backups: aged(0, 0.1, 2.1, 3, 9), policy, now })
    expect(plan.keep.map(({ reasons }) => reasons)).toEqual([
      ['the newest', 'one of the last 1', 'not older than 2d', 'the newest of 2026-11-20 (daily 1 of 2)'],
      ['not older than 2d'],
      ['the newest of 2026-11-18 (daily 2 of 2)'],
      ['at least 4 stay'],
    ])
    expect(plan.remove.map(({ reason }) => reason)).toEqual([
      'not one of the last 1 and older than 2d and not kept by daily 2',
    ])
  })
})

describe('of each hour, day, week, month, year', () => {
  const at = (...times: string[]): Retained[] =>
    times.map((text) => ({ id: String(Date.parse(text) / 1000), time: new Date(text) }))
  const every = (hours: number, from: string, count: number): Retained[] =>
    at(...Array.from({ length: count }, (_, i) => new Date(Date.parse(from) + i * hours * 3_600_000).toISOString()))

  const table: [name: string, backups: Retained[], policy: RetentionPolicy, kept: string[]][] = [
    [
      'the newest of each day',
      at('2026-11-20T02:00:00Z', '2026-11-19T22:00:00Z', '2026-11-19T02:00:00Z', '2026-11-18T02:00:00Z'),
      { daily: 2 },
      ['2026-11-20T02:00', '2026-11-19T22:00'],
    ],
    [
      'days of the time zone: 23:30 in UTC is the next day in Stockholm',
      at('2026-11-19T23:30:00Z', '2026-11-19T22:30:00Z', '2026-11-18T23:30:00Z'),
      { daily: 2, timeZone: 'Europe/Stockholm' },
      ['2026-11-19T23:30', '2026-11-19T22:30'],
    ],
    [
      'days without a backup take no place',
      at('2026-11-20T02:00:00Z', '2026-10-01T02:00:00Z', '2026-09-30T02:00:00Z', '2026-09-29T02:00:00Z'),
      { daily: 3 },
      ['2026-11-20T02:00', '2026-10-01T02:00', '2026-09-30T02:00'],
    ],
    [
      'an hour that comes twice in autumn is two hours',
      every(0.5, '2026-10-24T23:00:00Z', 8),
      { hourly: 4, timeZone: 'Europe/Stockholm' },
      ['2026-10-25T02:30', '2026-10-25T01:30', '2026-10-25T00:30', '2026-10-24T23:30'],
    ],
    [
      'an hour that is left out in spring is none',
      every(0.5, '2026-03-28T23:00:00Z', 8),
      { hourly: 4, timeZone: 'Europe/Stockholm' },
      ['2026-03-29T02:30', '2026-03-29T01:30', '2026-03-29T00:30', '2026-03-28T23:30'],
    ],
    [
      'the long day of autumn is one day',
      every(1, '2026-10-24T20:00:00Z', 30),
      { daily: 3, timeZone: 'Europe/Stockholm' },
      ['2026-10-26T01:00', '2026-10-25T22:00', '2026-10-24T21:00'],
    ],
    [
      'February 29 is a day like any other, and in February',
      at('2024-03-01T02:00:00Z', '2024-02-29T02:00:00Z', '2024-02-28T02:00:00Z', '2024-01-31T02:00:00Z'),
      { daily: 2, monthly: 3 },
      ['2024-03-01T02:00', '2024-02-29T02:00', '2024-01-31T02:00'],
    ],
    [
      'weeks from Monday, over New Year',
      every(24, '2026-12-25T02:00:00Z', 14).filter(({ time }) => (time as Date) < new Date('2027-01-08')),
      { weekly: 3 },
      ['2027-01-07T02:00', '2027-01-03T02:00', '2026-12-27T02:00'],
    ],
    [
      'grandfather, father and son, each from what there is',
      at(
        '2026-11-20T02:00:00Z',
        '2026-11-19T02:00:00Z',
        '2026-11-15T02:00:00Z',
        '2026-10-31T02:00:00Z',
        '2025-12-31T02:00:00Z',
      ),
      { daily: 1, weekly: 2, monthly: 2, yearly: 2 },
      ['2026-11-20T02:00', '2026-11-15T02:00', '2026-10-31T02:00', '2025-12-31T02:00'],
    ],
    [
      'the newest besides when a rule leaves fewer than the minimum',
      at('2026-11-20T02:00:00Z', '2026-11-20T01:00:00Z', '2026-11-20T00:00:00Z', '2026-11-19T02:00:00Z'),
      { daily: 1, minimum: 3 },
      ['2026-11-20T02:00', '2026-11-20T01:00', '2026-11-20T00:00'],
    ],
    [
      'no more than the rule keeps when that is enough',
      at('2026-11-20T02:00:00Z', '2026-11-20T01:00:00Z', '2026-11-19T02:00:00Z'),
      { daily: 2, minimum: 2 },
      ['2026-11-20T02:00', '2026-11-19T02:00'],
    ],
    [
      'all with a minimum alone',
      at('2026-11-20T02:00:00Z', '2026-11-19T02:00:00Z'),
      { minimum: 1 },
      ['2026-11-20T02:00', '2026-11-19T02:00'],
    ],
  ]
  test.each(table)('%s', (_, backups, policy, expected) => {
    const later = new Date('2027-01-08T00:00:00Z')
    const { keep } = planRetention({ backups, policy, now: later })
    expect(keep.map(({ id }) => new Date(Number(id) * 1000).toISOString().slice(0, 16))).toEqual(expected)
  })

  test('the example of docs/retention.md', () => {
    const nights = every(24, '2019-06-01T01:15:00Z', 2735)
    const policy = { daily: 7, weekly: 4, monthly: 12, yearly: 5, timeZone: 'Europe/Stockholm' }
    const kept = (time: string) => {
      const backups = nights.filter((night) => (night.time as Date) <= new Date(time))
      const { keep } = planRetention({ backups, policy, now: new Date(time) })
      return keep.map(({ id }) => new Date(Number(id) * 1000).toISOString().slice(0, 10))
    }
    const days = (month: string, ...numbers: number[]) =>
      numbers.map((number) => `${month}-${String(number).padStart(2, '0')}`)
    const rest = ['2026-10-31', '2026-09-30', '2026-08-31', '2026-07-31', '2026-06-30', '2026-05-31', '2026-04-30']
    const old = ['2026-03-31', '2026-02-28', '2026-01-31', '2025-12-31', '2024-12-31', '2023-12-31', '2022-12-31']
    expect(kept('2026-11-21T12:00:00Z')).toEqual([
      ...days('2026-11', 21, 20, 19, 18, 17, 16, 15, 8, 1),
      ...rest,
      ...old,
    ])
    expect(kept('2026-11-22T12:00:00Z')).toEqual([
      ...days('2026-11', 22, 21, 20, 19, 18, 17, 16, 15, 8, 1),
      ...rest,
      ...old,
    ])
  })

  test('backups of a clock that ran ahead stay until their time has come, and push nothing out meanwhile', () => {
    const ahead = at('2026-11-22T02:00:00Z', '2026-11-21T02:00:00Z')
    const right = at('2026-11-20T02:00:00Z', '2026-11-19T02:00:00Z', '2026-11-18T02:00:00Z')
    const kept = (time: string) =>
      planRetention({ backups: [...ahead, ...right], policy: { daily: 2 }, now: new Date(time) }).keep.map(({ id }) =>
        new Date(Number(id) * 1000).getUTCDate(),
      )
    expect(kept('2026-11-20T12:00:00Z')).toEqual([22, 21, 20, 19])
    expect(kept('2026-11-21T12:00:00Z')).toEqual([22, 21, 20])
    expect(kept('2026-11-22T12:00:00Z')).toEqual([22, 21])
  })
})

describe('for any backups and rules', () => {
  const random = generator(7)
  const zones = ['UTC', 'Europe/Stockholm', 'America/Santiago', 'Australia/Lord_Howe', 'Pacific/Apia']
  const maybe = (most: number) => (random(2) ? random(most) + 1 : undefined)
  const cases = Array.from({ length: 400 }, () => {
    const span = [10, 100, 2000][random(3)] ?? 10
    const backups = aged(...Array.from({ length: random(60) }, () => (random(span * 24) - 5) / 24))
    const unique = [...new Map(backups.map((one) => [one.id, one])).values()]
    const odd = unique.map((one, i) => {
      if (i % 11 === 3) return { ...one, time: undefined }
      return i % 7 === 5 ? { ...one, guards: ['pinned'] } : one
    })
    const policy: RetentionPolicy = {
      last: maybe(8),
      maxAge: random(2) ? random(60) * day : undefined,
      hourly: maybe(12),
      daily: maybe(10),
      weekly: maybe(6),
      monthly: maybe(12),
      yearly: maybe(4),
      minimum: maybe(10),
      timeZone: zones[random(zones.length)],
    }
    return { backups: odd as Retained[], policy }
  })
  const planned = (backups: readonly Retained[], policy: RetentionPolicy) => planRetention({ backups, policy, now })
  const leftBy = (backups: readonly Retained[], policy: RetentionPolicy) => {
    const kept = new Set(planned(backups, policy).keep.map(({ id }) => id))
    return backups.filter(({ id }) => kept.has(id))
  }

  test('each one is either kept or removed, once', () => {
    for (const { backups, policy } of cases) {
      const { keep, remove } = planned(backups, policy)
      expect([...keep, ...remove].map(({ id }) => id).sort()).toEqual(backups.map(({ id }) => id).sort())
    }
  })

  test('the newest, the highest id, the guarded and those of no known time stay', () => {
    for (const { backups, policy } of cases) {
      const removed = new Set(planned(backups, policy).remove.map(({ id }) => id))
      const timed = backups.filter(({ time }) => time && time <= now)
      const must = [
        timed.toSorted((a, b) => Number(b.time) - Number(a.time))[0],
        backups.toSorted((a, b) => Number(b.id) - Number(a.id))[0],
        ...backups.filter(({ time, guards }) => guards || !time || time > now),
      ]
      for (const one of must) if (one) expect(removed).not.toContain(one.id)
    }
  })

  test('carried out and planned again, nothing more goes, and what stays does so for the same reasons', () => {
    for (const { backups, policy } of cases) {
      const first = planned(backups, policy)
      expect(planned(leftBy(backups, policy), policy)).toEqual({ ...first, remove: [] })
    }
  })

  test('cut short at any point, the next run comes to the same end', () => {
    for (const { backups, policy } of cases) {
      const { keep, remove } = planned(backups, policy)
      const gone = new Set(remove.slice(random(remove.length + 1)).map(({ id }) => id))
      const next = planned(
        backups.filter(({ id }) => !gone.has(id)),
        policy,
      )
      expect(next.keep).toEqual(keep)
    }
  })

  test('never fewer than the minimum are left, as long as there are as many', () => {
    for (const { backups, policy } of cases) {
      const timed = backups.filter(({ time }) => time && time <= now)
      const left = leftBy(backups, policy).filter(({ time }) => time && time <= now)
      expect(left.length).toBeGreaterThanOrEqual(Math.min(policy.minimum ?? 0, timed.length))
    }
  })

  test('a wider rule never removes more', () => {
    const wider = (rule: number | undefined, by: number) => (rule === undefined ? undefined : rule + by)
    for (const { backups, policy } of cases) {
      const removed = (rules: RetentionPolicy) => planned(backups, rules).remove.map(({ id }) => id)
      const wide = {
        ...policy,
        last: wider(policy.last, 1),
        maxAge: wider(policy.maxAge, day),
        hourly: wider(policy.hourly, 3),
        daily: wider(policy.daily, 1),
        yearly: wider(policy.yearly, 1),
      }
      // the minimum fills up what rules leave: it may choose others then
      const rules = { ...policy, minimum: undefined }
      expect(removed(rules)).toEqual(expect.arrayContaining(removed({ ...wide, minimum: undefined })))
    }
  })

  test('time that goes by without backups removes nothing that gaps alone would, except by age', () => {
    for (const { backups, policy } of cases) {
      const timed = backups.filter(({ time }) => time && time <= now)
      const rules = { ...policy, maxAge: undefined }
      const later = new Date(now.getTime() + 900 * day * 1000)
      expect(planRetention({ backups: timed, policy: rules, now: later })).toEqual(planned(timed, rules))
    }
  })
})

/** The same numbers in every run. */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((state / 2_147_483_648) * below)
  }
}
