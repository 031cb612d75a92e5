import type { Folder, Marker } from '../../engine.ts'
import { JobError, textOf } from '../../errors.ts'
import { parseMarkers } from '../../io/restores.ts'
import { decoded } from '../../io/text.ts'
import { type Looked, markerName, notOurs, tarOf } from './orders.ts'
import { byPath, bytesOf, isPlain, nameMatcher } from './patterns.ts'

/** Names that a message can show. */
const mostNames = 10

/** What tar speaks: the format and its options came in 1.27 to 1.29. */
const oldest = [1, 29] as const

/** What is at a place. A folder that is not there is empty. */
export async function look(beside: Folder, clients: string | undefined): Promise<Looked> {
  const tar = await tarVersion(beside, clients)
  const uid = Number(await said(beside, 'id', ['-u']))
  const names = await namesIn(beside)
  if (!names) return { tar, there: false, names: [], count: 0, uid, markers: [] }
  const owner = Number(await said(beside, 'stat', ['-c', '%u', '--', beside.path]))
  const others = names.filter((name) => !notOurs.includes(name)).sort()
  return {
    tar,
    there: true,
    names: others.slice(0, mostNames),
    count: others.length,
    uid,
    owner,
    markers: await readMarkers(beside, names),
  }
}

/** GNU tar only: no other keeps holes, extended attributes and every name, and refuses what leads out of the folder. */
async function tarVersion(beside: Folder, clients: string | undefined): Promise<string> {
  const text = await said(beside, tarOf(clients), ['--version'])
  const version = /^tar \(GNU tar\) (\d+)\.(\d+)/.exec(text)
  const [, major, minor] = version ?? []
  const hint = 'install GNU tar there, or read the files by access: volume'
  if (!version)
    throw new JobError('configuration', `the tar beside ${beside.name} is not GNU tar: ${text.split('\n')[0]}`, {
      hint,
    })
  if (Number(major) === oldest[0] && Number(minor) < oldest[1])
    throw new JobError(
      'configuration',
      `tar ${major}.${minor} beside ${beside.name} is older than ${oldest.join('.')}`,
      {
        hint,
      },
    )
  return `${major}.${minor}`
}

/** Undefined when the folder is not there. */
async function namesIn(beside: Folder): Promise<string[] | undefined> {
  try {
    return await beside.names()
  } catch (cause) {
    if (/ENOENT|No such file or directory/.test(textOf(cause))) return undefined
    throw new JobError('server', `${beside.name} cannot be read`, { hint: hintFor(textOf(cause)), cause })
  }
}

/** What restores left in a folder that has these names. */
export async function readMarkers(beside: Folder, names: readonly string[]): Promise<Marker[]> {
  if (!names.includes(markerName)) return []
  const text = await beside.text(markerName)
  try {
    return parseMarkers(text)
  } catch (cause) {
    throw new JobError('server', `${markerName} in ${beside.name} is not what a restore wrote there`, {
      hint: 'look at it, and remove it',
      cause,
    })
  }
}

/** What to do about a refusal of the file system; undefined for another trouble. */
export function hintFor(said: string): string | undefined {
  if (!/EACCES|EPERM|Permission denied|Operation not permitted/.test(said)) return undefined
  return 'it must be readable, and for a restore writable, for the user that does it (workers.pod.podSecurityContext of the chart)'
}

/** The output of a small program. */
export async function said(beside: Folder, file: string, args: string[]): Promise<string> {
  let text = ''
  for await (const chunk of decoded(beside.output({ file, args, env: { LC_ALL: 'C' } }))) text += chunk
  return text.trim()
}

/** Patterns as paths that are there, in tar's order, with the folders above them. Throws when nothing matches. */
export async function expand(beside: Folder, include: readonly string[]) {
  const found = new Set<string>()
  const missing: string[] = []
  for (const pattern of include) {
    const paths = await matching(beside, pattern)
    if (paths.length === 0) missing.push(pattern)
    for (const path of paths) found.add(path)
  }
  if (found.size === 0)
    throw new JobError('nothing-matches', `nothing in ${beside.name} matches include: ${include.join(', ')}`, {
      hint: 'the patterns are paths below the folder',
    })
  const above = new Set([...found].flatMap(foldersAbove))
  // what is below a chosen folder comes with it
  const tops = [...found].filter((path) => !foldersAbove(path).some((folder) => found.has(folder)))
  return { tops: tops.sort(byPath), above: [...above].filter((path) => !tops.includes(path)).sort(byPath), missing }
}

function foldersAbove(path: string): string[] {
  const names = path.split('/')
  return ['.', ...names.slice(1).map((_, i) => names.slice(0, i + 1).join('/'))]
}

async function matching(beside: Folder, pattern: string): Promise<string[]> {
  let paths = ['']
  for (const name of pattern.split('/')) {
    const next: string[] = []
    for (const path of paths) {
      const plain = isPlain(name)
      const names = await listed(beside, path)
      const matcher = nameMatcher(bytesOf(name))
      next.push(
        ...names.filter((one) => (plain ? one === bytesOf(name) : matcher.test(one))).map((one) => below(path, one)),
      )
    }
    paths = next
  }
  return paths
}

function below(path: string, name: string): string {
  return path ? `${path}/${name}` : name
}

/** Names in a folder below the place, as strings of bytes; none where there is no folder. */
async function listed(beside: Folder, path: string): Promise<string[]> {
  const at = Buffer.from(`${beside.path}/${path}`, 'latin1').toString('utf8')
  const chunks: Buffer[] = []
  const args = [at, '-mindepth', '1', '-maxdepth', '1', '-printf', '%f\\0']
  const out = beside.output({ file: 'find', args, env: { LC_ALL: 'C' }, accepts: [1] })
  for await (const chunk of out) chunks.push(chunk)
  return Buffer.concat(chunks).toString('latin1').split('\0').filter(Boolean)
}
