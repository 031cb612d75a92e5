import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { filesystemStorage } from '../../storages/filesystem.ts'
import { storageContract } from '../contracts/storage.ts'

async function makeFolder() {
  const root = await mkdtemp(join(tmpdir(), 'holdfast-files-'))
  return { root, dispose: () => rm(root, { recursive: true, force: true }) }
}

storageContract('filesystem', async () => {
  const { root, dispose } = await makeFolder()
  const leftovers = () => readdir(join(root, '.tmp')).catch(() => [])
  return { storage: filesystemStorage({ name: 'files', root }), dispose, leftovers }
})
