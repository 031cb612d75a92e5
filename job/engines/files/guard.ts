import { JobError } from '../../errors.ts'
import type { Member } from './archive.ts'
import { shown } from './list.ts'
import { notOurs } from './orders.ts'
import { byPath } from './patterns.ts'

/**
 * What of the archive may go to tar. tar itself refuses `..` and puts off links that lead out of the folder; this refuses all that no
 * archive of ours has: paths that lead elsewhere, and members in a folder that did not come as a folder before them.
 */
export function guarded(keep: (member: Member) => boolean): (member: Member) => boolean {
  const folders = new Set<string>(['.'])
  let last: string | undefined
  return (member) => {
    const { path, type, link } = member
    refuseOutside(path, 'a path')
    if (!folders.has(folderOf(path))) throw unsafe(`${shown(path)} is in no folder of the archive`)
    // tar wrote them in order, so none comes twice
    if (last !== undefined && byPath(last, path) >= 0) throw unsafe(`${shown(path)} is not in its place`)
    if (notOurs.includes(path)) throw unsafe(`${shown(path)} is never backed up`)
    last = path
    if (type === 'folder') folders.add(path)
    if (type === 'hardlink') refuseLink(link ?? '', path, folders)
    return keep(member)
  }
}

/** The other name of a hard link came before it, in a folder that is one. */
function refuseLink(link: string, path: string, folders: Set<string>): void {
  refuseOutside(link, 'a link')
  if (byPath(link, path) >= 0 || !folders.has(folderOf(link)) || folders.has(link))
    throw unsafe(`${shown(path)} is another name of ${shown(link)}, which is no file before it`)
}

function folderOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '.'
}

function refuseOutside(path: string, what: string): void {
  const names = path.split('/')
  if (path === '.' || !names.some((name) => name === '' || name === '.' || name === '..')) return
  throw unsafe(`${what} leads elsewhere: ${JSON.stringify(shown(path))}`)
}

function unsafe(what: string): JobError {
  return new JobError('verification', `the archive was not made by holdfast: ${what}`, {
    hint: 'somebody may have put it into the storage: restore another backup, and find out who can write there',
  })
}
