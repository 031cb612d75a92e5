import { z } from 'zod'
import type { WorkContext } from '../../engine.ts'

/** The copies that NDB leaves in the data nodes' own folders: `BACKUP-<id>`. */
export const Settle = z.object({
  do: z.literal('settle'),
  backupId: z.string(),
  keep: z.int(),
  failed: z.array(z.string()),
  running: z.array(z.string()),
})

/** Beside each folder that a run of ours made: whose it is. Folders without one belong to somebody else. */
const markOf = (backupId: string) => `BACKUP-${backupId}.holdfast`

export async function markCopy(backupId: string, { beside, owner }: Copies): Promise<void> {
  await beside.write(markOf(backupId), `${owner} running\n`)
}

type Copies = Pick<WorkContext, 'beside' | 'owner'>

/**
 * After the commit: of our local copies the newest `keep` stay, as long as they are of finished backups. Those of runs that ended
 * otherwise go with them, since this backup takes their place; those of a run that is still running stay, and so do other owners'.
 */
export async function settle(
  { backupId, keep, failed, running }: z.infer<typeof Settle>,
  context: Copies,
): Promise<void> {
  const { beside, owner } = context
  await beside.write(markOf(backupId), `${owner} committed\n`)
  const older = (id: string) => Number(id) <= Number(backupId) && !running.includes(id)
  // a run that died before it marked its copy left one without an owner
  const ended = new Set(failed.filter(older))
  const committed: string[] = []
  for (const name of await beside.names()) {
    const id = /^BACKUP-(\d+)\.holdfast$/.exec(name)?.[1]
    if (!id || !older(id)) continue
    const [who, state] = (await beside.text(name)).trim().split(' ')
    if (who !== owner) ended.delete(id)
    else if (state === 'committed') committed.push(id)
    else ended.add(id)
  }
  const newest = committed.sort((a, b) => Number(b) - Number(a))
  for (const id of new Set([...ended, ...newest]).difference(new Set(newest.slice(0, keep)))) {
    await beside.remove(`BACKUP-${id}`)
    await beside.remove(markOf(id))
  }
}
