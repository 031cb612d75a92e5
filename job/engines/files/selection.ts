import type { WorkContext } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import type { Member } from './archive.ts'
import { readList, shown } from './list.ts'
import { type Counts, type Looked, noCounts, type Selection, type Work } from './orders.ts'
import { count } from './pack.ts'
import { chooser } from './patterns.ts'

/**
 * Which members a restore brings back. The folder itself is left as it is when only a part of it is restored, or when only its owner
 * could change it; devices can be made by root only.
 */
export function selected(
  choice: Selection,
  { uid, owner }: Pick<Looked, 'uid' | 'owner'>,
): (member: Member) => boolean {
  const ours = chooser(choice)
  const whole = choice.include === undefined && (uid === 0 || owner === undefined || owner === uid)
  return ({ path, type }) => {
    if (path === '.') return whole
    if (type === 'device' && uid !== 0) return false
    return ours.chosen(path) || (type === 'folder' && ours.leadsTo(path))
  }
}

/** Before anything is changed: the choice matches something, and takes no hard link apart. */
export async function choose({ choice }: Extract<Work, { do: 'choose' }>, { read }: WorkContext): Promise<Counts> {
  const ours = chooser(choice)
  const counts = noCounts()
  for await (const member of readList(await read('list.jsonl'))) {
    const { path, type, link } = member
    if (path === '.' || !ours.chosen(path)) continue
    count(counts, member)
    if (type !== 'hardlink' || link === undefined || ours.chosen(link)) continue
    const both = `${shown(path)} and ${shown(link)} are one file`
    throw new JobError('nothing-matches', `${both}, and only the first is to be restored`, {
      hint: 'include both names, or exclude both',
    })
  }
  if (counts.files + counts.folders + counts.links + counts.others > 0) return counts
  throw new JobError(
    'nothing-matches',
    `nothing in the backup matches include: ${choice.include?.join(', ') ?? 'all'}`,
    {
      hint: 'the part list.jsonl has the paths of all files',
    },
  )
}
