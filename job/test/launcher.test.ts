import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'

const holdfast = fileURLToPath(new URL('../../holdfast', import.meta.url))

describe('the launcher lets Node keep what it compiled', () => {
  let home: string
  const kept = () => readdir(join(home, '.cache/holdfast/node')).catch(() => [])

  beforeEach(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
    home = folder
    onTestFinished(() => rm(folder, { recursive: true }))
  })

  async function start(environment: Record<string, string>): Promise<void> {
    const { NODE_COMPILE_CACHE, XDG_CACHE_HOME, HOME, ...inherited } = process.env
    const { stdout } = await promisify(execFile)(holdfast, ['--version'], { env: { ...inherited, ...environment } })
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  }

  test('in a folder that only its user can enter', async () => {
    await start({ HOME: home })
    expect(await kept()).toHaveLength(1)
    expect((await stat(join(home, '.cache/holdfast/node'))).mode & 0o777).toBe(0o700)
  })

  test.each(['.cache', '.cache/holdfast', '.cache/holdfast/node'])(
    'not when others can write to %s',
    async (folder) => {
      await mkdir(join(home, '.cache/holdfast/node'), { recursive: true })
      await chmod(join(home, folder), 0o777)
      await start({ HOME: home })
      expect(await kept()).toEqual([])
    },
  )

  test('not without a home, nor where none can be made', async () => {
    await start({})
    await start({ HOME: '/dev/null' })
  })
})
