import { execFile, spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort, listening, type S3Server, serverAt } from './s3.ts'

/**
 * The folder of an rclone: `sid`, the newest, or `trixie`, which the job's image has. From HOLDFAST_TEST_RCLONE (for both), or as
 * test_scripts/rclone finds it. undefined, and a line why, when there is none.
 */
export async function findRclone(suite: 'sid' | 'trixie'): Promise<string | undefined> {
  const { HOLDFAST_TEST_RCLONE: told, CI } = process.env
  if (told) return dirname(told)
  const script = fileURLToPath(new URL('../../../test_scripts/rclone', import.meta.url))
  try {
    return dirname((await promisify(execFile)(script, [suite])).stdout.trim())
  } catch (cause) {
    const reason = 'no rclone: put one on the PATH, or name it in HOLDFAST_TEST_RCLONE'
    if (CI) throw new Error(reason, { cause })
    console.log(`skipped, ${reason}`)
    return undefined
  }
}

/** Another S3 server than versitygw: `rclone serve s3` over a folder. It needs rclone 1.65. */
export async function startRcloneS3(): Promise<S3Server | undefined> {
  const program = await findRclone('sid')
  if (!program) return undefined
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-rclone-s3-'))
  const dataDir = join(folder, 'data')
  await mkdir(dataDir)
  const keys = { accessKey: 'test', secretKey: 'testtesttest' }
  const port = await freePort()
  const args = [
    'serve',
    's3',
    dataDir,
    '--addr',
    `127.0.0.1:${port}`,
    '--config',
    '',
    '--cache-dir',
    join(folder, 'cache'),
  ]
  const child = spawn(join(program, 'rclone'), args, {
    env: { ...process.env, RCLONE_AUTH_KEY: `${keys.accessKey},${keys.secretKey}` },
    stdio: 'ignore',
  })
  const ended = new Promise((resolve) => child.once('close', resolve))
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  await listening(child, port)
  return serverAt({
    endpoint: `http://127.0.0.1:${port}`,
    ...keys,
    dataDir,
    async stop() {
      process.removeListener('exit', kill)
      kill()
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  })
}
