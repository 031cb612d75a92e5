import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'

const script = fileURLToPath(new URL('../../test_scripts/values-schema.ts', import.meta.url))
const file = new URL('../../chart/values.schema.json', import.meta.url)

test('chart/values.schema.json says what the schema of the job says', async () => {
  const checked = await promisify(execFile)(process.execPath, [script, '--check']).catch((error) => error)
  expect(checked).toMatchObject({ stderr: '' })
  expect(checked).not.toHaveProperty('code')
})

describe('chart/values.schema.json', () => {
  const schema = JSON.parse(readFileSync(file, 'utf8'))

  test('is closed: only what Kubernetes checks by itself, and values of a parent chart, may hold anything', () => {
    const openOnes = objectsOf(schema, '').filter(({ here }) => here.additionalProperties !== false && !isMap(here))
    expect(openOnes.map(({ path }) => path)).toEqual([
      '/definitions/pod/properties/affinity/properties/nodeAffinity',
      '/definitions/pod/properties/affinity/properties/podAffinity',
      '/definitions/pod/properties/affinity/properties/podAntiAffinity',
      '/definitions/pod/properties/topologySpreadConstraints/items/properties/labelSelector',
      '/definitions/pod/properties/extraEnv/items/properties/valueFrom',
      '/definitions/pod/properties/extraVolumes/items',
      '/definitions/pod/properties/resources/properties/claims/items',
      '/definitions/pod/properties/securityContext/properties/appArmorProfile',
      '/definitions/pod/properties/securityContext/properties/seLinuxOptions',
      '/definitions/pod/properties/securityContext/properties/seccompProfile',
      '/definitions/pod/properties/podSecurityContext/properties/appArmorProfile',
      '/definitions/pod/properties/podSecurityContext/properties/seLinuxOptions',
      '/definitions/pod/properties/podSecurityContext/properties/seccompProfile',
      '/definitions/job/properties/podFailurePolicy/properties/rules/items',
      '/properties/global',
      '/properties/networkPolicy/properties/egress/items',
    ])
  })
})

// biome-ignore lint/suspicious/noExplicitAny: JSON Schema has any shape
type Json = any

/** A map says what each of its entries is. */
function isMap({ additionalProperties }: Json): boolean {
  return typeof additionalProperties === 'object' && Object.keys(additionalProperties).length > 0
}

/** Every schema of an object, definitions first, in the order of the file. */
function objectsOf(here: Json, path: string): { path: string; here: Json }[] {
  const found: { path: string; here: Json }[] = []
  if ([here.type].flat().includes('object')) found.push({ path, here })
  for (const [key, values] of Object.entries({ definitions: here.definitions, properties: here.properties })) {
    for (const [name, value] of Object.entries(values ?? {})) found.push(...objectsOf(value, `${path}/${key}/${name}`))
  }
  for (const [key, value] of Object.entries({ items: here.items, additionalProperties: here.additionalProperties })) {
    if (typeof value === 'object') found.push(...objectsOf(value, `${path}/${key}`))
  }
  for (const [i, one] of (here.anyOf ?? []).entries()) found.push(...objectsOf(one, `${path}/anyOf/${i}`))
  return found
}
