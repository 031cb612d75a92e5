import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { markCopy, settle } from '../../../engines/rondb/copies.ts'
import { localFolder } from '../../../io/folder.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-copies-'))
})
afterEach(() => rm(folder, { recursive: true }))

const beside = () => localFolder(folder, new AbortController().signal)
const as = (owner: string) => ({ beside: beside(), owner })

async function begin(id: number, owner?: string): Promise<void> {
  await mkdir(join(folder, `BACKUP-${id}`))
  if (owner) await markCopy(`${id}`, as(owner))
}

async function commit(id: number, owner: string, more: { keep?: number; failed?: string[]; running?: string[] } = {}) {
  await begin(id, owner)
  await settle({ do: 'settle', backupId: `${id}`, keep: 0, failed: [], running: [], ...more }, as(owner))
}

/** Ids of the copies that are there; each of ours has its mark. */
async function copies(): Promise<number[]> {
  const names = await readdir(folder)
  const ids = names.flatMap((name) => /^BACKUP-(\d+)$/.exec(name)?.[1] ?? [])
  const marks = names.flatMap((name) => /^BACKUP-(\d+)\.holdfast$/.exec(name)?.[1] ?? [])
  expect(ids).toEqual(expect.arrayContaining(marks))
  return ids.map(Number).sort((a, b) => a - b)
}

test('the newest copies of finished backups stay, as many as are kept', async () => {
  for (const id of [1, 2, 3, 4]) await commit(id, 'nightly@main', { keep: 2 })
  expect(await copies()).toEqual([3, 4])
  await commit(5, 'nightly@main', { keep: 0 })
  expect(await copies()).toEqual([])
})

test('what ended runs left goes, marked or not; what runs or is newer stays', async () => {
  await begin(1, 'nightly@main')
  await begin(2)
  await begin(3, 'nightly@main')
  await begin(9, 'nightly@main')
  await commit(4, 'nightly@main', { keep: 1, failed: ['2'], running: ['3'] })
  expect(await copies()).toEqual([3, 4, 9])
})

test('copies of somebody else stay, though the plan has the same name and a failed run the same id', async () => {
  await begin(1, 'nightly@elsewhere')
  await begin(2)
  await commit(3, 'nightly@elsewhere', { keep: 1 })
  await begin(4, 'nightly@elsewhere')
  await commit(5, 'nightly@main', { failed: ['4'] })
  expect(await copies()).toEqual([2, 3, 4])
})
