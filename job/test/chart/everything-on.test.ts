import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { chart, ciFile, type Json } from './helm.ts'

const schema = JSON.parse(readFileSync(join(chart, 'values.schema.json'), 'utf8'))

test('chart/ci/everything-on.yaml and databases.yaml use every value that there is', () => {
  const files = ['everything-on', 'databases'].map((name) => parse(readFileSync(ciFile(name), 'utf8')))
  const used = new Set(files.flatMap((values) => pathsOf(values, schema, '')))
  // the same keys for every pod, job and hook: one use is enough; a hook can name a pod, too
  const anywhere = (path: string) =>
    path.replace(/^.*\.hooks\b/, 'hooks').replace(/^(?!hooks).*\.(pod|job)(?=\.)/, '$1')
  const seen = new Set([...used].map(anywhere))
  expect(allPaths(schema, '').filter((path) => !seen.has(anywhere(path)))).toEqual([])
})

/** Paths of the schema: `.name` of a property, `.*` of any name, `[]` of any entry. */
function allPaths(here: Json, path: string): string[] {
  const { properties = {}, additionalProperties, items } = resolved(here)
  const paths = Object.entries(properties).flatMap(([name, value]) => [
    `${path}.${name}`,
    ...allPaths(value, `${path}.${name}`),
  ])
  if (isSchema(additionalProperties)) paths.push(...allPaths(additionalProperties, `${path}.*`))
  if (isSchema(items)) paths.push(...allPaths(items, `${path}[]`))
  return paths
}

/** Paths of the schema that a value uses. */
function pathsOf(value: Json, here: Json, path: string): string[] {
  const { properties = {}, additionalProperties, items } = resolved(here)
  if (Array.isArray(value)) return value.flatMap((one) => (isSchema(items) ? pathsOf(one, items, `${path}[]`) : []))
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, below]) => {
    if (properties[name]) return [`${path}.${name}`, ...pathsOf(below, properties[name], `${path}.${name}`)]
    return isSchema(additionalProperties) ? pathsOf(below, additionalProperties, `${path}.*`) : []
  })
}

function resolved(here: Json): Json {
  if (!here.$ref) return here
  return schema.definitions[here.$ref.replace('#/definitions/', '')]
}

function isSchema(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}
