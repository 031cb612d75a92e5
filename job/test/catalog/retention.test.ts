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

  test('every decision has its reason', () => {
    const plan = planRetention({ backups: aged(0, 1, 9), policy: { last: 1, maxAge: 48 * 3600 }, now })
    expect(plan.keep.map(({ reasons }) => reasons)).toEqual([
      ['the newest', 'one of the last 1', 'not older than 2d'],
      ['not older than 2d'],
    ])
    expect(plan.remove.map(({ reason }) => reason)).toEqual(['not one of the last 1 and older than 2d'])
  })
})

describe('for any backups and rules', () => {
  const random = generator(7)
  const cases = Array.from({ length: 300 }, () => {
    const backups = aged(...Array.from({ length: random(30) }, () => random(100) - 10))
    const unique = [...new Map(backups.map((one) => [one.id, one])).values()]
    const policy = { last: random(2) ? random(8) + 1 : undefined, maxAge: random(2) ? random(60) * day : undefined }
    return { backups: unique, policy }
  })

  test('each one is either kept or removed, once', () => {
    for (const { backups, policy } of cases) {
      const { keep, remove } = planRetention({ backups, policy, now })
      expect([...keep, ...remove].map(({ id }) => id).sort()).toEqual(backups.map(({ id }) => id).sort())
    }
  })

  test('the newest is never removed, nor anything newer than something kept by number', () => {
    for (const { backups, policy } of cases) {
      const { keep, remove } = planRetention({ backups, policy, now })
      const oldestKept = Math.min(...keep.map(({ id }) => Number(id)))
      for (const { id } of remove) expect(Number(id)).toBeLessThan(oldestKept)
      if (backups.length > 0) expect(keep.length).toBeGreaterThan(0)
    }
  })

  test('carried out and planned again, nothing more goes', () => {
    for (const { backups, policy } of cases) {
      const kept = new Set(planRetention({ backups, policy, now }).keep.map(({ id }) => id))
      const left = backups.filter(({ id }) => kept.has(id))
      expect(planRetention({ backups: left, policy, now }).remove).toEqual([])
    }
  })

  test('a wider rule never removes more', () => {
    for (const { backups, policy } of cases) {
      const wider = { last: policy.last && policy.last + 1, maxAge: policy.maxAge && policy.maxAge + day }
      const removed = (rules: RetentionPolicy) =>
        planRetention({ backups, policy: rules, now }).remove.map(({ id }) => id)
      expect(removed(policy)).toEqual(expect.arrayContaining(removed(wider)))
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
