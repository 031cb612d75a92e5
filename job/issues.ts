import type { z } from 'zod'

/** What is wrong with values, as a person would say it: where, what it must be, and what was probably meant. */

/** The error map of the values: texts of schemas go before these. Never shows a value, which may be a password in the wrong place. */
export function explain(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'unrecognized_keys':
      return unrecognized(issue.keys, knownKeys(issue.inst))
    case 'invalid_type':
      return `${mustBe(kindOf(issue.expected))}${butIs(issue.expected, issue.input)}`
    case 'invalid_value':
      return mustBe(either(issue.values.map((value) => JSON.stringify(value))))
    case 'too_small':
      return limit(issue.origin, `at least ${issue.minimum}`)
    case 'too_big':
      return limit(issue.origin, `at most ${issue.maximum}`)
    default:
      return undefined
  }
}

/** One sentence for each wrong value, with its path. */
export function issuesOf(error: z.ZodError): string[] {
  return error.issues.flatMap((issue) => issueTexts(issue, []))
}

function issueTexts(issue: z.core.$ZodIssue, above: PropertyKey[]): string[] {
  const path = [...above, ...issue.path]
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const kinds = kindsOf(issue.errors)
    if (kinds) return [placed(path, mustBe(either(kinds)))]
    // the branch that came nearest
    const nearest = issue.errors.toSorted((a, b) => a.length - b.length)[0] ?? []
    return nearest.flatMap((inner) => issueTexts(inner, path))
  }
  if (issue.code === 'invalid_key') return issue.issues.flatMap((inner) => issueTexts(inner, path))
  return [placed(path, issue.message)]
}

/** What a union takes, when the value is of none of its kinds. */
function kindsOf(branches: z.core.$ZodIssue[][]): string[] | undefined {
  const kinds = branches.map(([first]) =>
    first?.code === 'invalid_type' && first.path.length === 0 ? kindOf(first.expected) : undefined,
  )
  return kinds.every((kind) => kind !== undefined) ? [...new Set(kinds)] : undefined
}

function placed(path: PropertyKey[], text: string): string {
  const at = path.map(String).join('.')
  return at ? `${at}: ${lower(text)}` : lower(text)
}

function lower(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}

const kinds: Record<string, string> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map of keys',
  record: 'a map of names',
}

function kindOf(expected: string): string {
  return kinds[expected] ?? expected
}

function mustBe(what: string): string {
  return `must be ${what}`
}

function butIs(expected: string, input: unknown): string {
  if (input === undefined) return ', and is missing'
  if (input === null) return ', and is empty'
  if (Array.isArray(input)) return ', not a list'
  const quotes = quotesFor(expected, input)
  if (quotes) return `: ${quotes}`
  return expected === 'int' && typeof input === 'number' ? '' : `, not ${kindOf(typeof input)}`
}

/** YAML takes `08` for a number and `"8"` for a text. */
function quotesFor(expected: string, input: unknown): string | undefined {
  if (expected === 'string' && typeof input !== 'object') return 'put it into quotes'
  const isUnquoted = expected === 'boolean' ? ['true', 'false'].includes(`${input}`) : /^-?\d+$/.test(`${input}`)
  return typeof input === 'string' && ['number', 'int', 'boolean'].includes(expected) && isUnquoted
    ? 'leave its quotes out'
    : undefined
}

function limit(origin: string, many: string): string {
  const one = many.endsWith(' 1')
  if (origin === 'array') return `must have ${many} ${one ? 'entry' : 'entries'}`
  if (origin === 'string') return `must have ${many} ${one ? 'character' : 'characters'}`
  return mustBe(many)
}

function either(choices: string[]): string {
  return choices.length > 1 ? `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}` : `${choices[0]}`
}

function knownKeys(schema: unknown): string[] {
  return Object.keys((schema as z.ZodObject | undefined)?.shape ?? {})
}

function unrecognized(keys: string[], known: string[]): string {
  return keys.map((key) => `unrecognized key: "${key}"${meant(key, known)}`).join(', ')
}

function meant(key: string, known: string[]): string {
  const [near] = known
    .map((one) => ({ one, far: distance(key.toLowerCase(), one.toLowerCase()) }))
    .filter(({ one, far }) => far <= Math.max(1, Math.floor(Math.max(key.length, one.length) / 3)))
    .sort((a, b) => a.far - b.far)
  if (near) return ` (is ${near.one} meant?)`
  return known.length > 0 ? ` (known: ${known.join(', ')})` : ''
}

/** How many letters have to be changed, added or left out (Levenshtein). */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (let j = 1; j <= b.length; j++) {
      const replaced = Number(row[j - 1]) + (letter === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, Number(row[j]) + 1, Number(next[j - 1]) + 1))
    }
    row = next
  }
  return Number(row[b.length])
}
