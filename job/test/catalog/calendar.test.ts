import { describe, expect, test } from 'vitest'
import { calendarOf, isTimeZone, type Period, periods } from '../../catalog/calendar.ts'

describe('a time lies in', () => {
  const table: [zone: string, time: string, period: Period, name: string][] = [
    ['UTC', '2026-11-20T23:40:00Z', 'hourly', '2026-11-20T23h'],
    ['UTC', '2026-11-20T23:40:00Z', 'daily', '2026-11-20'],
    ['UTC', '2026-11-20T23:40:00Z', 'weekly', '2026-W47'],
    ['UTC', '2026-11-20T23:40:00Z', 'monthly', '2026-11'],
    ['UTC', '2026-11-20T23:40:00Z', 'yearly', '2026'],
    ['Europe/Stockholm', '2026-11-20T23:40:00Z', 'hourly', '2026-11-21T00h+01:00'],
    ['Europe/Stockholm', '2026-12-31T23:00:00Z', 'yearly', '2027'],
    ['America/New_York', '2027-01-01T04:59:59Z', 'yearly', '2026'],
    ['Asia/Kolkata', '2026-11-20T18:30:00Z', 'daily', '2026-11-21'],
    ['Pacific/Kiritimati', '2026-11-20T10:00:00Z', 'daily', '2026-11-21'],
    ['Pacific/Niue', '2026-11-20T10:59:59Z', 'daily', '2026-11-19'],
    ['UTC', '2028-02-29T12:00:00Z', 'daily', '2028-02-29'],
    ['UTC', '2028-02-29T12:00:00Z', 'monthly', '2028-02'],
    // weeks of ISO 8601 around New Year
    ['UTC', '2026-12-31T00:00:00Z', 'weekly', '2026-W53'],
    ['UTC', '2027-01-03T23:59:59Z', 'weekly', '2026-W53'],
    ['UTC', '2027-01-04T00:00:00Z', 'weekly', '2027-W01'],
    ['UTC', '2029-12-31T00:00:00Z', 'weekly', '2030-W01'],
    ['Asia/Tokyo', '2027-01-03T15:00:00Z', 'weekly', '2027-W01'],
    // in Stockholm October 25 has 25 hours, two of them from 2 to 3
    ['Europe/Stockholm', '2026-10-25T00:30:00Z', 'hourly', '2026-10-25T02h+02:00'],
    ['Europe/Stockholm', '2026-10-25T01:30:00Z', 'hourly', '2026-10-25T02h+01:00'],
    ['Europe/Stockholm', '2026-10-24T22:00:00Z', 'daily', '2026-10-25'],
    ['Europe/Stockholm', '2026-10-25T22:59:59Z', 'daily', '2026-10-25'],
    // and March 29 has 23, none of them from 2 to 3
    ['Europe/Stockholm', '2026-03-29T00:59:59Z', 'hourly', '2026-03-29T01h+01:00'],
    ['Europe/Stockholm', '2026-03-29T01:00:00Z', 'hourly', '2026-03-29T03h+02:00'],
    ['Europe/Stockholm', '2026-03-29T21:59:59Z', 'daily', '2026-03-29'],
    ['Europe/Stockholm', '2026-03-29T22:00:00Z', 'daily', '2026-03-30'],
    // half an hour is put back on Lord Howe
    ['Australia/Lord_Howe', '2026-04-04T14:45:00Z', 'hourly', '2026-04-05T01h+11:00'],
    ['Australia/Lord_Howe', '2026-04-04T15:15:00Z', 'hourly', '2026-04-05T01h+10:30'],
    // the clocks of Santiago go back at midnight, to the day before
    ['America/Santiago', '2026-04-05T02:30:00Z', 'daily', '2026-04-04'],
    ['America/Santiago', '2026-04-05T03:30:00Z', 'daily', '2026-04-04'],
    ['America/Santiago', '2026-04-05T04:00:00Z', 'daily', '2026-04-05'],
    // Samoa had no December 30, 2011
    ['Pacific/Apia', '2011-12-30T09:59:59Z', 'daily', '2011-12-29'],
    ['Pacific/Apia', '2011-12-30T10:00:00Z', 'daily', '2011-12-31'],
  ]
  test.each(table)('%s: %s, %s, %s', (zone, time, period, name) => {
    expect(calendarOf(zone)(new Date(time), period)).toBe(name)
  })
})

test('a day of 25 hours has 25 hours, and one of 23 has 23', () => {
  const calendar = calendarOf('Europe/Stockholm')
  const hoursFrom = (start: string, hours: number) =>
    new Set(Array.from({ length: hours * 4 }, (_, i) => calendar(new Date(Date.parse(start) + i * 900_000), 'hourly')))
      .size
  expect(hoursFrom('2026-10-24T22:00:00Z', 25)).toBe(25)
  expect(hoursFrom('2026-03-28T23:00:00Z', 23)).toBe(23)
})

test('every period is a part of the next longer one, but for weeks', () => {
  const calendar = calendarOf('America/Sao_Paulo')
  const nested = periods.filter((period) => period !== 'weekly')
  for (let time = Date.UTC(2016, 0, 1); time < Date.UTC(2020, 0, 1); time += 5 * 3_600_000) {
    const names = nested.map((period) => calendar(new Date(time), period))
    for (const [i, name] of names.slice(1).entries()) expect(names[i]?.startsWith(name)).toBe(true)
  }
})

test('a zone that nobody knows is none', () => {
  expect(isTimeZone('Europe/Stockholm')).toBe(true)
  expect(isTimeZone('Europe/Atlantis')).toBe(false)
  expect(() => calendarOf('Europe/Atlantis')).toThrow(RangeError)
})
