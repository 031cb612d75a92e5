import { readFileSync } from 'node:fs'
import { buffer } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import { readPart } from '../../io/parts.ts'
import { formatManifest, type Part, parseManifest } from '../../manifest.ts'
import { openStorage, StorageValues } from '../../storages/index.ts'
import { manifestOf } from './store.ts'

const fixture = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))
const fixtures = fileURLToPath(new URL('../fixtures/format-2', import.meta.url))
const context = {
  at: 'storages.old',
  secret: (_: { secret: string }, key: string) => fixture(`format-2/${key}`).toString(),
  secretPath: () => '',
  volumesDir: '',
}
const valuesOf = (key: string) =>
  StorageValues.parse({
    filesystem: { path: fixtures },
    encryption: {
      recipients: ['age15qkw4vchk87slqc30jaxt4fuqe9g829dwahgw9tnyqy58tpej4nst8rcfx'],
      identities: { secret: 'age', key },
    },
  })
const bytesOf = (value: unknown) => Buffer.from(JSON.stringify(value))

/** Written by released versions. They are never edited: a new format gets a new file. */
describe('manifests of all times', () => {
  test('manifest-1.json is read, and written again byte by byte', () => {
    const bytes = fixture('manifest-1.json')
    const manifest = parseManifest(bytes, 'here')
    expect(manifest).toMatchObject({ id: '1795218000', cluster: 'prod-eu', conditionalPut: true })
    expect(manifest.parts.map(({ size }) => size)).toEqual([15, 0])
    expect(manifest.sources[0]?.facts.stopGcp).toBe(27)
    expect(formatManifest(manifest)).toEqual(bytes)
  })

  describe('format-2', async () => {
    const storage = await openStorage({ name: 'old', values: valuesOf('identity.txt'), context })
    const manifest = await openCatalog({ storage, plan: 'nightly' }).manifest('1795218000')

    test('is read, signature and all, and written again byte by byte', () => {
      expect(manifest.signature?.key).toBe('MCowBQYDK2VwAyEAdnTsAmeGGB0l27CdyefwDrVvRB/7nbOQPJyxkcBosgI=')
      expect(formatManifest(manifest)).toEqual(fixture('format-2/nightly/1795218000.json'))
    })

    test.each(['identity.txt', 'identity-2.txt'])('and its parts are opened by %s', async (identity) => {
      const opened = await openStorage({ name: 'old', values: valuesOf(identity), context })
      const backup = { plan: 'nightly', id: '1795218000', storage: opened, signal: new AbortController().signal }
      const read = async (part: Part) => (await buffer(await readPart(part, backup))).toString()
      expect(await Promise.all(manifest.parts.map(read))).toEqual([
        'CREATE DATABASE shop;\n',
        'NDBBCKUP\n',
        'CREATE USER a;\n',
      ])
    })
  })
})

describe('what is no manifest', () => {
  const manifest = manifestOf('1795218000')
  const part = { path: 'users.sql', size: 1, sha256: 'a'.repeat(64) }
  const withPart = (change: object) => ({ ...manifest, parts: [{ ...part, ...change }] })

  test.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a list', []],
    ['no format', { ...manifest, format: undefined }],
    ['no source', { ...manifest, sources: [] }],
    ['an id with a path in it', { ...manifest, id: '../1' }],
    ['a path that leads out', withPart({ path: '../../etc/passwd' })],
    ['a path that leads out in its middle', withPart({ path: 'a/../../b' })],
    ['an absolute path', withPart({ path: '/etc/passwd' })],
    ['a size below zero', withPart({ size: -1 })],
    ['a hash that is none', withPart({ sha256: 'abc' })],
  ])('%s is refused', (_, value) => {
    const parse = () => parseManifest(value === undefined ? Buffer.alloc(0) : bytesOf(value), 'main: 5.json')
    expect(parse).toThrow(
      expect.objectContaining({ kind: 'verification', message: expect.stringContaining('main: 5.json') }),
    )
  })

  test('a later format is refused with a word on what can read it', () => {
    expect(() => parseManifest(bytesOf({ ...manifest, format: 3 }), 'x')).toThrow(
      'x has format 3; this version reads formats 1 and 2',
    )
  })
})
