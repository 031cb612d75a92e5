import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import { scratchFolder } from '../../io/scratch.ts'

test('a folder sweeps those of processes that are gone, also of one that had our number, and no others', async () => {
  const staging = await mkdtemp(join(tmpdir(), 'holdfast-scratch-'))
  try {
    const { pid: gone } = spawnSync('true')
    const live = [`holdfast-${process.ppid}-abcdef`, 'holdfast-data', 'mine']
    for (const name of [`holdfast-${gone}-abcdef`, `holdfast-${process.pid}-abcdef`, ...live]) {
      await mkdir(join(staging, name))
      await writeFile(join(staging, name, 'file'), '')
    }
    const first = await scratchFolder(staging)
    const second = await scratchFolder(staging)
    expect((await readdir(staging)).sort()).toEqual([basename(first), basename(second), ...live].sort())
  } finally {
    await rm(staging, { recursive: true })
  }
})

test('without the folder that it is to be in there is none', async () => {
  await expect(scratchFolder('/nowhere/at/all')).rejects.toMatchObject({ code: 'ENOENT' })
})
