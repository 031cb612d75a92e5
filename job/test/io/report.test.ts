import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JobError } from '../../errors.ts'
import { report, type Summary, summarise, terminationMessage } from '../../io/report.ts'

describe('a summary', () => {
  const facts = { plan: 'nightly', backup: '1795218000' }

  test('of a run that is done says what it made', () => {
    expect(summarise({ verb: 'backup', seconds: 12.345, facts, warnings: [] })).toEqual({
      verb: 'backup',
      seconds: 12.3,
      ...facts,
      outcome: 'done',
      code: 0,
    })
  })

  test('has its warnings', () => {
    expect(summarise({ verb: 'backup', seconds: 1, facts, warnings: ['data node 2 is down'] }).warnings).toEqual([
      'data node 2 is down',
    ])
  })

  test('of a failure says why, what to do and with which code', () => {
    const error = new JobError('server', 'no data node is started', {
      hint: 'start the cluster',
      cause: new Error('refused'),
    })
    expect(summarise({ verb: 'backup', seconds: 1, facts: {}, warnings: [], error })).toMatchObject({
      outcome: 'failed',
      code: 22,
      kind: 'server',
      error: 'no data node is started: refused',
      hint: 'start the cluster',
    })
  })

  test.each([new TypeError('x is undefined'), 'a text', null])('of %s is that of a bug', (error) => {
    expect(summarise({ verb: 'backup', seconds: 1, facts, warnings: [], error })).toMatchObject({
      outcome: 'failed',
      code: 1,
      kind: 'bug',
    })
  })

  test('says what it came to whatever the facts are called', () => {
    const wrong = { verb: 'x', outcome: 'done', code: 0 }
    expect(summarise({ verb: 'backup', seconds: 1, facts: wrong, warnings: [], error: new Error('x') })).toMatchObject({
      outcome: 'failed',
      code: 1,
    })
  })
})

const done: Summary = { verb: 'backup', outcome: 'done', code: 0, seconds: 1 }
const failed: Summary = { verb: 'restore', outcome: 'failed', code: 22, seconds: 1 }
const long = (text: string, times = 5000) => text.repeat(times)

describe('a termination message', () => {
  test('is the whole summary when that is short', () => {
    const summary = {
      ...failed,
      error: 'no data node is started',
      warnings: ['a', 'b'],
      steps: { fetch: { bytes: 1 } },
    }
    expect(JSON.parse(terminationMessage(summary))).toEqual(summary)
  })

  test.each<[string, Summary]>([
    ['very many warnings', { ...done, warnings: Array.from({ length: 1000 }, (_, i) => `warning ${i}`) }],
    ['one very long warning', { ...done, warnings: [long('x')] }],
    ['very many steps', { ...done, steps: Array.from({ length: 1000 }, (_, i) => ({ name: `step ${i}` })) }],
    ['a very long error', { ...failed, error: long('x') }],
    ['an error of wide letters', { ...failed, error: long('\u20ac') }],
    ['an error of pairs, cut in one', { ...failed, error: `x${long('\u{1f600}')}` }],
    ['an error of control characters', { ...failed, error: long('\u0001') }],
    ['a very long hint', { ...failed, error: 'short', hint: long('x') }],
    ['very many facts', { ...done, parts: Array.from({ length: 1000 }, (_, i) => ({ path: `p${i}` })) }],
    [
      'too much of everything',
      {
        ...failed,
        error: long('\u20ac'),
        hint: long('"'),
        warnings: [long('w')],
        steps: [long('s')],
        parts: [long('p')],
      },
    ],
  ])('is JSON of at most 4096 bytes that says the outcome, with %s', (_, summary) => {
    const message = terminationMessage(summary)
    expect(Buffer.byteLength(message)).toBeLessThanOrEqual(4096)
    const { verb, outcome, code } = summary
    expect(JSON.parse(message)).toMatchObject({ verb, outcome, code })
  })

  test.each<[string, Summary]>([
    ['a hint', { ...failed, error: 'no data node is started', hint: long('x') }],
    ['its own length', { ...failed, error: `no data node is started${long('\u0001')}` }],
    ['facts', { ...failed, error: 'no data node is started', parts: [long('p')] }],
  ])('keeps the beginning of the error whatever is too long: %s', (_, summary) => {
    expect(JSON.parse(terminationMessage(summary)).error).toMatch(/^no data node is started/)
  })

  test('says how many warnings the log has', () => {
    const warnings = Array.from({ length: 1000 }, (_, i) => `warning ${i}`)
    expect(JSON.parse(terminationMessage({ ...done, warnings })).warnings).toEqual(['1000 warnings: see the log'])
  })
})

describe('a report', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-report-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  function logged() {
    const lines: Record<string, unknown>[] = []
    const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) })
    return { log, lines }
  }

  test('is a line of the log and the termination message', async () => {
    const { log, lines } = logged()
    const file = join(folder, 'message')
    report({ ...failed, error: 'x' }, { log, terminationLog: file })
    expect(lines).toEqual([expect.objectContaining({ level: 50, msg: 'restore failed', code: 22, error: 'x' })])
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject(failed)
  })

  test('replaces what the file has', async () => {
    const file = join(folder, 'full')
    await writeFile(file, long('x'))
    report(done, { log: logged().log, terminationLog: file })
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(done)
  })

  test('that cannot be written does not change what the run came to', () => {
    const { log, lines } = logged()
    report(done, { log, terminationLog: join(folder, 'no/such/folder') })
    expect(lines.map(({ msg }) => msg)).toEqual([
      'backup done',
      expect.stringMatching(/termination message was not written/),
    ])
  })
})
