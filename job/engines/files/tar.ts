import type { Command } from '../../engine.ts'
import { JobError, textOf } from '../../errors.ts'
import { hintFor } from './look.ts'
import { notOurs, tarOf } from './orders.ts'
import { byPath } from './patterns.ts'

/** Names of files that warnings show; more are counted. */
const mostWarnings = 20

export interface Creating {
  path: string
  clients?: string | undefined
  /** Paths in bytes: those that come with all below them, and the folders above them, which come alone. All when absent. */
  roots?: { tops: string[]; above: string[] } | undefined
  exclude: readonly string[]
  oneFileSystem: boolean
  onError(line: string): void
}

/**
 * Names in a fixed order, and no times but the last change: equal folders make equal archives. Exit code 1 means that files changed
 * or went away while they were read, and each is named; what tar could not read at all makes it 2.
 */
export function createTar({ path, clients, roots, exclude, oneFileSystem, onError }: Creating): Command {
  const args = [
    '--create',
    '--file=-',
    '--format=posix',
    '--pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f',
    '--sort=name',
    '--sparse',
    '--acls',
    '--xattrs',
    '--xattrs-include=*',
    // labels of SELinux belong to the machine
    '--xattrs-exclude=security.selinux',
    '--numeric-owner',
    ...(oneFileSystem ? ['--one-file-system'] : []),
    ...exclusions(exclude),
    ...members(roots),
  ]
  return { ...tar(path, clients, args), accepts: [1], onError }
}

/** Names alone, in the same order and one a line, as `--quoting-style=escape` writes them: the bytes are not read. */
export function namesTar({ path, clients }: { path: string; clients?: string | undefined }): Command {
  const args = ['--create', '--file=/dev/null', '--verbose', '--sort=name', '--one-file-system']
  const command = tar(path, clients, [...args, '--quoting-style=escape', ...exclusions([]), '.'])
  return { ...command, accepts: [1] }
}

export interface Extracting {
  path: string
  clients?: string | undefined
  root: boolean
  keepOwners: boolean
  onError(line: string): void
}

/** Files that are there make room and are not written into: what has them open, or linked elsewhere, keeps the old ones. */
export function extractTar({ path, clients, root, keepOwners, onError }: Extracting): Command {
  const args = [
    '--extract',
    '--file=-',
    '--same-permissions',
    '--numeric-owner',
    keepOwners ? '--same-owner' : '--no-same-owner',
    '--acls',
    '--xattrs',
    `--xattrs-include=${root ? '*' : 'user.*'}`,
    '--warning=no-timestamp',
  ]
  return { ...tar(path, clients, args), onError }
}

function tar(path: string, clients: string | undefined, args: string[]): Command {
  return { file: tarOf(clients), args: [`--directory=${path}`, ...args], env: { LC_ALL: 'C' } }
}

function exclusions(exclude: readonly string[]): string[] {
  const own = notOurs.map((name) => `--exclude=./${name}`)
  const anchored = exclude.filter((pattern) => !pattern.startsWith('**/')).map((pattern) => `--exclude=./${pattern}`)
  const anywhere = exclude
    .filter((pattern) => pattern.startsWith('**/'))
    .map((pattern) => `--exclude=${pattern.slice(3)}`)
  const matching = ['--wildcards', '--no-wildcards-match-slash']
  return [
    '--anchored',
    ...matching,
    ...own,
    ...anchored,
    ...(anywhere.length > 0 ? ['--no-anchored', ...anywhere] : []),
  ]
}

function members(roots: Creating['roots']): string[] {
  if (!roots) return ['.']
  const alone = new Set(roots.above)
  const paths = [...roots.above, ...roots.tops].sort(byPath)
  return paths.flatMap((path) => [
    alone.has(path) ? '--no-recursion' : '--recursion',
    path === '.' ? '.' : `./${argument(path)}`,
  ])
}

/** Programs are given text. */
function argument(path: string): string {
  const raw = Buffer.from(path, 'latin1')
  const text = raw.toString('utf8')
  if (Buffer.from(text, 'utf8').equals(raw)) return text
  throw new JobError('configuration', `include chooses ${text}, whose name is not UTF-8`, {
    hint: 'choose the folder that it is in',
  })
}

/** What tar says while it works, for warnings. */
export function complaints() {
  const texts: string[] = []
  let more = 0
  return {
    heard: (line: string) => {
      const [, text] = /^[^:]*tar: (.*)$/.exec(line) ?? []
      if (text === undefined || /^(Exiting with failure|Removing leading)/.test(text)) return
      if (texts.length < mostWarnings) texts.push(text)
      else more++
    },
    all: () => (more > 0 ? [...texts, `${more} more files of that kind`] : texts),
  }
}

/** A failure of tar, with what to do about it. */
export function explained(error: unknown): unknown {
  if (!(error instanceof JobError) || error.hint) return error
  const hint = hintFor(textOf(error))
  return hint ? new JobError(error.kind, error.message, { hint, cause: error.cause }) : error
}
