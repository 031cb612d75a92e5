import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { storageContract } from '../contracts/storage.ts'
import { findRclone } from '../servers/rclone.ts'
import { openRemote } from './remote.ts'

const newest = await findRclone('sid')
const ofImage = await findRclone('trixie')

for (const [version, clients] of [
  ['newest', newest],
  ['the image’s', ofImage],
] as const) {
  if (!clients) continue
  storageContract(`rclone (${version}), a folder`, async () => {
    const root = await mkdtemp(join(tmpdir(), 'holdfast-remote-'))
    const storage = openRemote({
      clients,
      config: '[disk]\ntype = local\n',
      remote: 'disk',
      path: `${root}/some/prefix/`,
    })
    return {
      storage,
      conditionalPut: 'none',
      dispose: () => rm(root, { recursive: true, force: true }),
      leftovers: () => readdir(join(root, 'some/prefix/.tmp')).catch(() => []),
    }
  })
}

describe.skipIf(!newest)('rclone', () => {
  test('is there', () => expect(newest).toMatch(/^\//))
})
