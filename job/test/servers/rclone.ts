import { execFile } from 'node:child_process'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

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
