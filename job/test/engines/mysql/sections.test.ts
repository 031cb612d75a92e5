import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { chosen, cut, type Section, sectionsOf } from '../../../engines/mysql/sections.ts'

const head = '-- MySQL dump 10.13\n--\n-- Host: db    Database: shop\n/*!40101 SET NAMES utf8mb4 */;\n'
const section = (title: string, body: string) => `\n--\n-- ${title}\n--\n${body}\n`
const dump = [
  head,
  section('Current Database: `shop`', '\nUSE `shop`;\n'),
  section(
    'Dumping data for table `a``b`',
    "INSERT INTO `a``b` VALUES (1,'x\\n--\\n-- Dumping data for table `no`\\n--\\n');",
  ),
  section('Dumping data for table `c`', 'INSERT INTO `c` VALUES (1);'),
  section(
    "Dumping routines for database 'shop'",
    `DELIMITER ;;\nCREATE PROCEDURE p() BEGIN\n${section('Dumping data for table `c`', '')}END ;;\nDELIMITER ;`,
  ),
  section('Current Database: `other`', '\nUSE `other`;\n'),
  section('Dumping data for table `c`', 'INSERT INTO `c` VALUES (2);'),
  '\n/* end */;\n-- Dump completed on 2026-11-21\n',
].join('')

/** The dump in chunks of a size, so that every mark is cut somewhere. */
function chunked(size: number): Readable {
  const bytes = Buffer.from(dump)
  const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    bytes.subarray(i * size, (i + 1) * size),
  )
  return Readable.from(chunks, { objectMode: false, highWaterMark: size })
}

describe.each([1, 7, 64, 1000, 100_000])('a dump in chunks of %i bytes', (size) => {
  test('has its sections once each, and nothing is lost', async () => {
    const found: string[] = []
    let whole = ''
    for await (const { begins, bytes } of sectionsOf(chunked(size))) {
      if (begins) found.push(`${begins.kind} ${begins.name}`)
      whole += bytes
    }
    expect(whole).toBe(dump)
    expect(found).toEqual([
      'header ',
      'database shop',
      'data a`b',
      'data c',
      'routines shop',
      'database other',
      'data c',
    ])
  })

  test('is cut into parts that name their database and say that they are complete', async () => {
    const parts = new Map<string, string>()
    await cut(chunked(size), {
      partOf: ({ kind, name }, { database }) => (kind === 'data' && name === 'c' ? `${database}/${name}` : undefined),
      write: async (path, data) => parts.set(path, await text(data)),
    })
    expect([...parts.keys()]).toEqual(['shop/c', 'other/c'])
    for (const [path, part] of parts) {
      const [database] = path.split('/')
      expect(part.startsWith(`${head}\nUSE \`${database}\`;\n\n--\n-- Dumping data for table \`c\``)).toBe(true)
      expect(part).toMatch(/-- Dump completed.*\n$/)
      expect(part).not.toContain('PROCEDURE')
    }
  })

  test('is given back without what is not wanted', async () => {
    const wanted = ({ kind }: Section, database: string) =>
      kind === 'database' || (kind === 'data' && database === 'other')
    const left = await text(Readable.from(chosen(chunked(size), { wanted }), { objectMode: false }))
    expect(left).toContain('VALUES (2)')
    expect(left).not.toMatch(/VALUES \(1|PROCEDURE/)
  })
})

test("the first line of MariaDB's program is a command of its client, and left out", async () => {
  const lines = Readable.from([Buffer.from('/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump\n')])
  expect(await text(Readable.from(chosen(lines, { wanted: () => true }), { objectMode: false }))).toBe(
    '\n-- MariaDB dump\n',
  )
})

test('a dump that fails fails the part that is being written', async () => {
  const failing = Readable.from(
    (async function* () {
      yield Buffer.from(`${head}${section('Dumping data for table `a`', 'INSERT')}`)
      throw new Error('the server went away')
    })(),
  )
  const done = cut(failing, { partOf: () => 'a', write: (_, data) => text(data) })
  await expect(done).rejects.toThrow('the server went away')
})
