import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { chart, ciFile, helms, type Json, noHelm } from './helm.ts'

interface Case {
  it: string
  set: Record<string, unknown>
  asserts: { failedTemplate?: { errorMessage?: string; errorPattern?: string } }[]
}

const suite = parse(readFileSync(join(chart, 'tests/validations_test.yaml'), 'utf8'), { merge: true })
const cases = (suite.tests as Case[]).flatMap(({ it, set, asserts }) => {
  const { errorMessage, errorPattern } = asserts[0]?.failedTemplate ?? {}
  const said = errorMessage ? new RegExp(RegExp.escape(errorMessage)) : new RegExp(errorPattern ?? '')
  return errorMessage || errorPattern ? [{ it, values: nested(set), said, bySchema: !errorMessage }] : []
})
const files = [ciFile('rondb'), ciFile('rondb-standby')]

test('there are at least 30 cases', () => expect(cases.length).toBeGreaterThan(30))

describe.skipIf(noHelm).each(helms)('$name template stops at', ({ name, template }) => {
  // the templates are the same for all; what reads the schema is not
  const differing = name === helms[0]?.name ? cases : cases.filter(({ bySchema }, i) => bySchema || i % 10 === 0)

  test.concurrent.each(differing)('$it', async ({ values, said }) => {
    const { code, stdout, stderr } = await template({ files, values })
    expect(stderr).toMatch(said)
    expect(stdout).toBe('')
    expect(code).toBe(1)
  })
})

/** { 'a.b': 1 } is { a: { b: 1 } }, as in the suites of helm-unittest. */
function nested(set: Record<string, unknown>): Json {
  const values: Json = {}
  for (const [path, value] of Object.entries(set)) {
    const steps = path.split('.')
    const last = steps.pop() ?? ''
    let here = values
    for (const step of steps) here = here[step] ??= {}
    here[last] = value
  }
  return values
}
