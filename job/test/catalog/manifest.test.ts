import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { formatManifest, parseManifest } from '../../manifest.ts'
import { manifestOf } from './store.ts'

const fixture = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))
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
    expect(() => parseManifest(bytesOf({ ...manifest, format: 2 }), 'x')).toThrow(
      'x has format 2; this version reads format 1',
    )
  })
})
