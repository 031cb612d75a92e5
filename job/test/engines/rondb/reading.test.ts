import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { followRows } from '../../../engines/rondb/reading.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-reading-'))
  for (const part of ['BACKUP-7-PART-1-OF-2', 'BACKUP-7-PART-2-OF-2']) {
    await mkdir(join(folder, part))
    await writeFile(join(folder, part, 'BACKUP-7-0.1.Data'), Buffer.alloc(1000))
    await writeFile(join(folder, part, 'BACKUP-7.1.log'), Buffer.alloc(50))
  }
})
afterEach(() => rm(folder, { recursive: true }))

/** As ndb_restore 9.7 says it. */
const says = (part: number, bytes: number) =>
  `2026-11-23T04:59:04.175043Z INFO: [part ${part}] Data file progress:  ${bytes / 10}percent(${bytes} bytes)`

async function told(...lines: string[]): Promise<number[]> {
  const told: number[] = []
  const reading = await followRows(folder, (bytes) => told.push(bytes))
  for (const line of lines) reading.line(line)
  reading.end()
  return told
}

test('what each thread has read is told once, and what is left at the end', async () => {
  expect(await told(says(1, 100), says(2, 300), says(1, 400), says(1, 400))).toEqual([100, 300, 300, 1300])
})

test('of what was compressed not more is told than there is', async () => {
  expect(await told(says(1, 1900), says(2, 4000))).toEqual([1900, 100])
})

test('other lines say nothing', async () => {
  expect(await told('INFO: [part 1] Log file progress:  52percent(100 bytes)', 'INFO: File size 48 bytes')).toEqual([
    2000,
  ])
})

test('programs before NDB 8 name no part', async () => {
  expect(await told('Data file progress: 52%(1040 bytes)')).toEqual([1040, 960])
})
