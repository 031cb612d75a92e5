// Writes chart/values.schema.json from the schema that the job checks its values with.
//
//   node test_scripts/values-schema.ts            writes chart/values.schema.json
//   node test_scripts/values-schema.ts --check    ends with 1 when the file is not what it would write

import { readFileSync, writeFileSync } from 'node:fs'
import { parse } from 'yaml'
import { z } from 'zod'
import { Values } from '../job/config.ts'

type Schema = z.core.JSONSchema.BaseSchema

const chart = new URL('../chart/', import.meta.url)
const file = new URL('values.schema.json', chart)

const json = z.toJSONSchema(Values, { target: 'draft-7', io: 'input', override: ({ jsonSchema }) => tidy(jsonSchema) })
requireDefaults(json as Schema, parse(readFileSync(new URL('values.yaml', chart), 'utf8')))
const text = `${JSON.stringify({ title: 'Values of the chart holdfast', ...json }, null, 1)}\n`

if (!process.argv.includes('--check')) writeFileSync(file, text)
else if (readFileSync(file, 'utf8') !== text) {
  console.error(
    'chart/values.schema.json is stale: node_modules/.bin/node test_scripts/values-schema.ts writes it anew',
  )
  process.exitCode = 1
}

/** Takes out what says nothing to a reader of Helm's messages; templates/_validate.tpl says it better. */
function tidy(schema: Schema): void {
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum
  delete schema.propertyNames
  delete schema.oneOf
  const [ref] = schema.allOf ?? []
  if (ref?.$ref && schema.allOf?.length === 1) {
    schema.$ref = ref.$ref
    delete schema.allOf
  }
  const [only, nothing, ...more] = schema.anyOf ?? []
  if (!only?.type || nothing?.type !== 'null' || more.length > 0) return
  // One type or null: Helm then names both in one message instead of one for each branch.
  delete schema.anyOf
  Object.assign(schema, only, { type: [only.type, 'null'] })
  if (only.enum) schema.enum = [...only.enum, null]
}

/** What values.yaml has is there, unless somebody takes it away with null: the templates do without empty texts alone. */
function requireDefaults(schema: Schema, defaults: Record<string, unknown>): void {
  const needed = Object.keys(defaults).filter((key) => schema.properties?.[key] && defaults[key] !== '')
  if (needed.length > 0) schema.required = [...new Set([...(schema.required ?? []), ...needed])]
  for (const key of needed) {
    const below = schema.properties?.[key] as Schema
    if (below.properties) requireDefaults(below, defaults[key] as Record<string, unknown>)
  }
}
