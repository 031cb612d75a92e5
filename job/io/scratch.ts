import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** Folders of this process. In every pod it has the same few numbers: what bears ours and is not among these is of one that was killed. */
const ours = new Set<string>()

/**
 * A folder for temporary files, named after this process: what processes that are gone have left in `staging` is swept before. Rejects when none
 * can be made.
 */
export async function scratchFolder(staging: string): Promise<string> {
  await sweepDead(staging)
  const folder = await mkdtemp(join(staging, `holdfast-${process.pid}-`))
  ours.add(folder)
  return folder
}

async function sweepDead(staging: string): Promise<void> {
  for (const name of await readdir(staging).catch(() => [])) {
    const pid = /^holdfast-(\d+)-\w{6}$/.exec(name)?.[1]
    const folder = join(staging, name)
    if (pid && !ours.has(folder) && (Number(pid) === process.pid || !alive(Number(pid))))
      await rm(folder, { recursive: true, force: true }).catch(() => {})
  }
}

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
