import { expect, test } from 'vitest'
import { formatManifest, Manifest, Part, parseManifest } from '../manifest.ts'

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
  expect(() => parseManifest(bytes({ format: 2, parts: 'elsewhere' }), 'here')).toThrow(
    expect.objectContaining({
      message: 'here has format 2; this version reads format 1',
      hint: expect.stringContaining('version of holdfast'),
    }),
  )
})

test('what a later version adds to format 1 does no harm', () => {
  expect(Manifest.parse({ ...manifest, color: 'red' })).toEqual(manifest)
})
