import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { progressTo } from '../../io/progress.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** What is said on a terminal or in a log. */
function watched({ isTTY = false } = {}) {
  const written: string[] = []
  const lines: Record<string, unknown>[] = []
  const log = pino({ base: null, timestamp: false }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const stream = { isTTY, columns: 120, write: (text: string) => written.push(text) > 0 } as NodeJS.WriteStream
  return { progress: progressTo({ log, stream }), written, lines }
}

test('a line every 10 s: of what, how fast, and what moved since the last', () => {
  const { progress, lines } = watched()
  progress.begin('backup 5', 4000)
  progress.add('a', 1000)
  progress.add('b', 500)
  vi.advanceTimersByTime(10_000)
  progress.add('b', 1500)
  vi.advanceTimersByTime(20_000)
  expect(progress.end()).toBe(3000)
  vi.advanceTimersByTime(60_000)
  const line = { level: 30, msg: 'in progress', phase: 'backup 5', total: 4000 }
  expect(lines).toEqual([
    { ...line, bytes: 1500, bytesPerSecond: 150, by: { a: 1000, b: 500 } },
    { ...line, bytes: 3000, bytesPerSecond: 150, by: { b: 2000 } },
    { ...line, bytes: 3000, bytesPerSecond: 0, by: {} },
  ])
})

test('of thousands of parts the largest few are named', () => {
  const { progress, lines } = watched()
  progress.begin('restore')
  for (let i = 0; i < 5000; i++) progress.add(`part ${i}`, i)
  vi.advanceTimersByTime(10_000)
  progress.end()
  expect(Object.keys(lines[0]?.by ?? {})).toEqual(
    [4999, 4998, 4997, 4996, 4995, 4994, 4993, 4992].map((i) => `part ${i}`),
  )
})

test('each phase counts for itself', () => {
  const { progress } = watched()
  progress.begin('one')
  progress.add('a', 10)
  progress.begin('two')
  expect(progress.end()).toBe(0)
})

test('a bar on a terminal, which is gone at the end', () => {
  const { progress, written, lines } = watched({ isTTY: true })
  progress.begin('restore', 8e6)
  progress.add('a', 4e6)
  vi.advanceTimersByTime(200)
  progress.end()
  expect(written).toEqual(['\r\x1b[Krestore [============            ] 50% 4.0 MB at 20 MB/s (a 4.0 MB)', '\r\x1b[K'])
  expect(lines).toEqual([])
})
