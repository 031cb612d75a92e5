import type { Listed } from './list.ts'
import { byPath } from './patterns.ts'

export interface Pairing<A, B> {
  left: AsyncIterable<A>
  right: AsyncIterable<B>
}

/** Two lists in tar's order side by side; what only one has comes alone. Nothing is kept in memory. */
export async function* pairs<A extends { path: string }, B extends { path: string }>({
  left,
  right,
}: Pairing<A, B>): AsyncGenerator<{ left?: A; right?: B }> {
  const [ones, others] = [left[Symbol.asyncIterator](), right[Symbol.asyncIterator]()]
  try {
    let [one, other] = [await ones.next(), await others.next()]
    while (!one.done || !other.done) {
      const order = one.done ? 1 : other.done ? -1 : byPath(one.value.path, other.value.path)
      yield { ...(order <= 0 ? { left: one.value } : {}), ...(order >= 0 ? { right: other.value } : {}) }
      if (order <= 0) one = await ones.next()
      if (order >= 0) other = await others.next()
    }
  } finally {
    await ones.return?.()
    await others.return?.()
  }
}

export interface Sameness {
  /** Only root can give files away, and set what runs as somebody else. */
  owners: boolean
  allModes: boolean
}

/** What of a file is not as the list says; undefined when all is. */
export function difference(wanted: Listed, found: Listed, { owners, allModes }: Sameness): string | undefined {
  const mask = allModes ? 0o7777 : 0o777
  if (wanted.type !== found.type) return `is a ${found.type}, not a ${wanted.type}`
  if (wanted.size !== found.size) return `has ${found.size} bytes, not ${wanted.size}`
  if (wanted.sha256 !== found.sha256) return 'has other content'
  if (wanted.link !== found.link) return 'points elsewhere'
  if (wanted.type !== 'symlink' && (wanted.mode & mask) !== (found.mode & mask))
    return `has mode ${found.mode.toString(8)}, not ${wanted.mode.toString(8)}`
  if (owners && (wanted.uid !== found.uid || wanted.gid !== found.gid))
    return `belongs to ${found.uid}:${found.gid}, not ${wanted.uid}:${wanted.gid}`
  if (wanted.path !== '.' && seconds(wanted) !== seconds(found)) return 'has another time'
  return undefined
}

/** Not every file system keeps more. */
function seconds({ mtime }: Listed): number {
  return Math.floor(Number(mtime))
}
