import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const top = join(import.meta.dirname, '../..')

/** What is against the law, and where. */
const against: [file: string, code: string][] = [
  ['job/engines/redis.ts', "import { s3 } from '../storages/s3.ts'"],
  ['job/engines/redis.ts', "import type { Listing } from '../catalog/catalog.ts'"],
  ['job/engines/redis.ts', "import { pods } from '../kubernetes/pods.ts'"],
  ['job/engines/redis.ts', "import { mysql } from './mysql.ts'"],
  ['job/engines/redis.ts', "import { sql } from './rondb/mysql.ts'"],
  ['job/engines/redis.ts', "const { mysql } = await import('./mysql.ts')"],
  ['job/engines/redis.ts', "export * from './mysql.ts'"],
  ['job/engines/rondb/restore.ts', "import { mysql } from '../mysql.ts'"],
  ['job/engines/rondb/restore.ts', "import { keyOf } from '../../catalog/layout.ts'"],
  ['job/engines/rondb/restore.ts', "import { s3 } from '../../storages/s3.ts'"],
  ['job/engines/rondb/restore.ts', "import { dump } from '../postgres/dump.ts'"],
  ['job/storages/s3.ts', "import { rondb } from '../engines/rondb/index.ts'"],
  ['job/storages/rclone/index.ts', "import { engines } from '../../engines/index.ts'"],
  ['job/catalog/layout.ts', "import { readFileSync } from 'node:fs'"],
  ['job/catalog/layout.ts', "import { log } from '../io/log.ts'"],
  ['job/catalog/retention.ts', "import { hostname } from 'node:os'"],
  ['job/catalog/retention.ts', "import { readAll } from '../storage.ts'"],
  ['job/commands/backup.ts', 'const home = process.env.HOME'],
  ['job/main.ts', "const home = process['env'].HOME"],
  ['job/config.ts', "import process from 'node:process'"],
  ['job/commands/backup.ts', 'process.exit(1)'],
  ['job/cli.ts', 'process.exit()'],
  ['job/commands/backup.ts', "import { execa } from 'execa'"],
  ['job/commands/backup.ts', "import { spawn } from 'node:child_process'"],
  ['job/storages/rclone.ts', "import { execa } from 'execa'"],
  ['job/storages/rclone.ts', "import { S3Client } from '@aws-sdk/client-s3'"],
  ['job/commands/backup.ts', "const sdk = await import('@aws-sdk/client-s3')"],
  ['job/commands/backup.ts', "import { KubeConfig } from '@kubernetes/client-node'"],
  ['job/main.ts', "import yargs from 'yargs'"],
  ['job/main.ts', "import { hideBin } from 'yargs/helpers'"],
  ['job/commands/backup.ts', "import type { Argv } from 'yargs'"],
]

const within: [file: string, code: string][] = [
  ['job/engines/redis.ts', "import type { Engine } from '../engine.ts'"],
  ['job/engines/redis.ts', "import { run } from '../io/process.ts'"],
  ['job/engines/index.ts', "import { rondb } from './rondb/index.ts'"],
  ['job/engines/index.ts', "import { kubernetes } from './kubernetes/index.ts'"],
  ['job/engines/rondb/restore.ts', "import { sql } from './mysql.ts'"],
  ['job/engines/rondb/restore.ts', "import type { Engine } from '../../engine.ts'"],
  ['job/storages/rclone.ts', "import { startDaemon } from '../io/daemon.ts'"],
  ['job/storages/retrying.ts', "import type { Storage } from '../storage.ts'"],
  ['job/catalog/layout.ts', "import { posix } from 'node:path'"],
  ['job/catalog/catalog.ts', "import { readAll } from '../storage.ts'"],
  ['job/config.ts', 'const home = process.env.HOME'],
  ['job/main.ts', 'process.exit(1)'],
  ['job/commands/backup.ts', 'process.exitCode = 1'],
  ['job/io/process.ts', "import { execa } from 'execa'"],
  ['job/storages/s3.ts', "import { S3Client } from '@aws-sdk/client-s3'"],
  ['job/kubernetes/pods.ts', "import { KubeConfig } from '@kubernetes/client-node'"],
  ['job/cli.ts', "import yargs from 'yargs'"],
  ['job/verbs/backup.ts', "import type { Argv } from 'yargs'"],
  ['job/test/storages/s3.test.ts', "import { S3Client } from '@aws-sdk/client-s3'"],
  ['job/test/servers/ndb.ts', 'const home = process.env.HOME'],
]

let folder: string
const verdicts = new Map<string, string[]>()

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-law-'))
  const config = JSON.parse(await readFile(join(top, 'biome.json'), 'utf8'))
  await writeFile(
    join(folder, 'biome.json'),
    JSON.stringify({ plugins: config.plugins, linter: { rules: { preset: 'none' } } }),
  )
  await cp(join(top, 'job/import-law.grit'), join(folder, 'job/import-law.grit'), { recursive: true })
  for (const [file, code] of [...against, ...within]) await place(file, code)
  for (const { path, message } of await lint()) verdicts.set(path, [...(verdicts.get(path) ?? []), message])
})

afterAll(() => rm(folder, { recursive: true, force: true }))

describe('the import law', () => {
  test.each(against)('forbids in %s: %s', (file, code) => {
    expect(verdicts.get(placeOf(file, code))).toEqual([expect.any(String)])
  })

  test.each(within)('allows in %s: %s', (file, code) => {
    expect(verdicts.get(placeOf(file, code))).toBeUndefined()
  })
})

/** Every sample gets a checkout of its own, so that one run of the linter judges them all. */
function placeOf(file: string, code: string): string {
  const index = [...against, ...within].findIndex(([f, c]) => f === file && c === code)
  return `sample-${index}/${file}`
}

async function place(file: string, code: string) {
  const path = join(folder, placeOf(file, code))
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, `${code}\n`)
}

function lint(): Promise<{ path: string; message: string }[]> {
  const biome = join(top, 'node_modules/.bin/biome')
  const args = ['lint', '--reporter=json', '--max-diagnostics=none', '--diagnostic-level=error', '.']
  return new Promise((resolve, reject) => {
    execFile(biome, args, { cwd: folder, maxBuffer: 16 << 20 }, (_error, stdout, stderr) => {
      try {
        const { diagnostics } = JSON.parse(stdout) as { diagnostics: { message: string; location: { path: string } }[] }
        resolve(diagnostics.map(({ message, location }) => ({ message, path: location.path })))
      } catch (cause) {
        reject(new Error(`biome said: ${stdout}${stderr}`, { cause }))
      }
    })
  })
}
