import { describe, expect, test } from 'vitest'
import { bytesOf } from '../../catalog/layout.ts'
import { sampleOf } from '../../catalog/sample.ts'
import type { Manifest, Part } from '../../manifest.ts'
import { manifestOf } from './store.ts'

const part = (path: string, size: number): Part => ({ path, size, sha256: '0'.repeat(64) })
const [source] = manifestOf('1').sources as [Manifest['sources'][number]]

function backupOf(parts: Part[], names: string[] = ['shop']): Manifest {
  return manifestOf('1795218000', { parts, sources: names.map((name) => ({ ...source, name, engine: 'mysql' })) })
}

const even = backupOf(Array.from({ length: 200 }, (_, i) => part(`shop/${i}.sql.zst`, 1000)))
const pathsOf = (manifest: Manifest, fraction: number, seed: number) =>
  sampleOf(manifest, { fraction, seed }).map(({ path }) => path)

test.each([
  [0.05, 10],
  [0.5, 100],
  [0.001, 1],
  [1, 200],
])('%d of 200 equal parts is %i of them', (fraction, count) => {
  expect(pathsOf(even, fraction, 7)).toHaveLength(count)
})

test('a seed picks the same parts each time, another seed others, and over many seeds every part comes', () => {
  expect(pathsOf(even, 0.05, 7)).toEqual(pathsOf(even, 0.05, 7))
  expect(pathsOf(even, 0.05, 7)).not.toEqual(pathsOf(even, 0.05, 8))
  const seen = new Set(Array.from({ length: 300 }, (_, seed) => pathsOf(even, 0.05, seed)).flat())
  expect(seen.size).toBe(200)
})

test('another backup of the same paths has another sample', () => {
  expect(pathsOf({ ...even, id: '1795218060' }, 0.05, 7)).not.toEqual(pathsOf(even, 0.05, 7))
})

test('never less than the fraction of the bytes, by at most one part more', () => {
  const uneven = backupOf(Array.from({ length: 60 }, (_, i) => part(`shop/${i}`, i * i)))
  const whole = bytesOf(uneven.parts)
  for (let seed = 0; seed < 50; seed++) {
    const bytes = bytesOf(sampleOf(uneven, { fraction: 0.2, seed }))
    expect(bytes).toBeGreaterThanOrEqual(whole * 0.2)
    expect(bytes).toBeLessThan(whole * 0.2 + 59 * 59)
  }
})

describe('at least one part of every source', () => {
  const large = Array.from({ length: 50 }, (_, i) => part(`shop/${i}`, 1_000_000))

  test('also of one that has hardly any bytes', () => {
    const manifest = backupOf([...large, part('cache/a', 1), part('cache/b', 1)], ['shop', 'cache'])
    for (let seed = 0; seed < 50; seed++) {
      const sources = pathsOf(manifest, 0.02, seed).map((path) => path.split('/')[0])
      expect(new Set(sources)).toEqual(new Set(['shop', 'cache']))
    }
  })

  test('but none of one without parts', () => {
    expect(pathsOf(backupOf(large, ['shop', 'empty']), 0.02, 7)).toHaveLength(1)
  })
})

test('a backup without bytes and one without parts', () => {
  expect(pathsOf(backupOf([part('shop/a', 0), part('shop/b', 0)]), 0.5, 7)).toHaveLength(1)
  expect(pathsOf(backupOf([]), 0.5, 7)).toEqual([])
})
