import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { publicKeyOf } from '../io/signature.ts'
import { formatManifest, formatOf, Manifest, Part, parseManifest, requireTrust, signManifest } from '../manifest.ts'

const manifest: Manifest = {
  format: 1,
  id: '1795218000',
  plan: 'nightly',
  started: '2026-11-20T23:40:00.000Z',
  finished: '2026-11-20T23:41:00.000Z',
  jobVersion: '0.1.0',
  conditionalPut: true,
  sources: [{ name: 'rondb', engine: 'rondb', server: { product: 'NDB', version: '9.7.2' }, tools: {}, facts: {} }],
  parts: [{ path: 'users.sql', size: 15, sha256: 'a'.repeat(64) }],
  warnings: [],
}
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value))

test('a manifest is written and read without change, and ends in a newline', () => {
  const written = formatManifest(manifest)
  expect(written.toString().endsWith('}\n')).toBe(true)
  expect(parseManifest(written, 'here')).toEqual(manifest)
})

test.each([
  'users.sql',
  'rondb/1/BACKUP-5-PART-1-OF-2/BACKUP-5-0.1.Data',
  '.hidden',
  '...',
  '..a/b..',
  'a b',
  'caf\u00e9',
])('the path %j lies in a backup', (path) => expect(Part.shape.path.safeParse(path).success).toBe(true))

test.each(['', '/', '/etc', 'a/', 'a//b', '.', '..', './a', '../a', 'a/.', 'a/..', 'a/../b', 'a/./b', 'a\\b', 'a\0b'])(
  'the path %j does not',
  (path) => expect(Part.shape.path.safeParse(path).success).toBe(false),
)

test.each<[string, Partial<Record<keyof Manifest, unknown>>, string]>([
  ['an id with a leading zero', { id: '0123' }, 'id'],
  ['a time that is none', { started: 'yesterday' }, 'started'],
  ['parts that are no list', { parts: {} }, 'parts'],
  ['a hash in capitals', { parts: [{ path: 'a', size: 1, sha256: 'A'.repeat(64) }] }, 'sha256'],
  ['half a byte', { parts: [{ path: 'a', size: 1.5, sha256: 'a'.repeat(64) }] }, 'size'],
  ['format 0', { format: 0 }, 'format'],
  ['a format that is a text', { format: '2' }, 'format'],
])('%s is refused by its name, on one line', (_, change, name) => {
  const parse = () => parseManifest(bytes({ ...manifest, ...change }), 'main: nightly/5.json')
  expect(parse).toThrow(expect.objectContaining({ kind: 'verification' }))
  expect(parse).toThrow(new RegExp(`^main: nightly/5.json is no manifest: .*${name}.*$`))
})

test('what is not JSON is refused', () => {
  expect(() => parseManifest(formatManifest(manifest).subarray(0, 100), 'here')).toThrow('here is not JSON')
})

test('a newer format is refused before anything else of it is looked at', () => {
  expect(() => parseManifest(bytes({ format: 3, parts: 'elsewhere' }), 'here')).toThrow(
    expect.objectContaining({
      message: 'here has format 3; this version reads formats 1 and 2',
      hint: expect.stringContaining('version of holdfast'),
    }),
  )
})

test('what a later version adds to format 1 does no harm', () => {
  expect(Manifest.parse({ ...manifest, color: 'red' })).toEqual(manifest)
})

const content = { size: 1, sha256: 'a'.repeat(64) }
const age = { header: 'age-encryption.org/v1\n', recipients: ['age1'] }

test.each<[string, object]>([
  ['as it is', { path: 'a', ...content }],
  ['compressed', { path: 'a.zst', ...content, codec: 'zstd', plain: content }],
  ['encrypted', { path: 'a.age', ...content, age, plain: content }],
  ['both', { path: 'a.zst.age', ...content, codec: 'zstd', age, plain: content }],
])('a part can be stored %s', (_, part) => expect(Part.parse(part)).toEqual(part))

test.each<[string, object]>([
  ['compressed without what is plain', { path: 'a.zst', ...content, codec: 'zstd' }],
  ['encrypted without what is plain', { path: 'a.age', ...content, age }],
  ['plain of nothing', { path: 'a', ...content, plain: content }],
  ['encrypted and not named so', { path: 'a.zst', ...content, codec: 'zstd', age, plain: content }],
  ['compressed and not named so', { path: 'a.age', ...content, codec: 'zstd', age, plain: content }],
  ['encrypted for nobody', { path: 'a.age', ...content, age: { ...age, recipients: [] }, plain: content }],
  ['done in a way of a later version', { path: 'a.lz4', ...content, codec: 'lz4', plain: content }],
])('a part cannot be %s', (_, part) => expect(Part.safeParse(part).success).toBe(false))

test('only encrypted parts need the second format', () => {
  const part = Part.parse({ path: 'a.age', ...content, age, plain: content })
  expect([formatOf(manifest.parts), formatOf([...manifest.parts, part])]).toEqual([1, 2])
})

describe('a signed manifest', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const key = publicKeyOf(pemOf(publicKey), 'here')
  const other = publicKeyOf(pemOf(generateKeyPairSync('ed25519').publicKey), 'here')
  const signed = signManifest(manifest, privateKey)
  const trust = (...keys: string[]) => ({ keys, at: 'restores.once.trust' })

  test('is read with its signature, and every change of it is found', () => {
    expect(parseManifest(formatManifest(signed), 'here')).toEqual({ ...manifest, signature: signed.signature })
    const part = { ...manifest.parts[0], sha256: 'b'.repeat(64) }
    for (const change of [
      { parts: [part] },
      { id: '1795218001' },
      { color: 'red' },
      { signature: { key: other, value: 'AA' } },
    ])
      expect(() => parseManifest(bytes({ ...signed, ...change }), 'here')).toThrow(
        expect.objectContaining({ kind: 'verification', message: expect.stringContaining('is not what') }),
      )
  })

  test('covers what a later version added to it', () => {
    const later = signManifest({ ...manifest, color: 'red' } as Manifest, privateKey)
    expect(parseManifest(formatManifest(later), 'here').signature).toEqual(later.signature)
  })

  test('can be signed again', () => {
    expect(signManifest(signed, privateKey)).toEqual(signed)
  })

  test('counts when its key is trusted, and no other does', () => {
    expect(() => requireTrust(signed, trust(other, key), 'here')).not.toThrow()
    expect(() => requireTrust(signed, trust(other), 'here')).toThrow(
      expect.objectContaining({
        kind: 'verification',
        message: `here is signed by ${key}, which is not in restores.once.trust`,
      }),
    )
    expect(() => requireTrust(manifest, trust(key), 'here')).toThrow(
      expect.objectContaining({
        kind: 'verification',
        message: 'here is not signed, and restores.once.trust names keys',
      }),
    )
  })
})

function pemOf(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }).toString()
}
