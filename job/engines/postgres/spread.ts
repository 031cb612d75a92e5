/** Pure: who dumps what, so that all are done at about the same time. */

interface Sized {
  schema: string
  name: string
  bytes: number
}

export interface Spread<T> {
  /** Tables that are named one by one, for a pg_dump each. Largest first. */
  groups: T[][]
  /** Those that the rest holds: it is everything that no group names, so nothing can be forgotten. */
  rest: T[]
}

/** A name costs a query of pg_dump, and the length of a command line has an end. */
const mostNamed = 1000

/** Below this a pg_dump of its own costs more than it saves. */
const worthIt = 16 * 1024 * 1024

/**
 * Large tables alone, others together in groups of about the same size, and the small ones in the rest.
 * With one at a time everything is the rest.
 */
export function spread<T extends Sized>(tables: readonly T[], parallel: number): Spread<T> {
  if (parallel === 1) return { groups: [], rest: [...tables] }
  const sorted = [...tables].sort((a, b) => b.bytes - a.bytes)
  const total = sorted.reduce((sum, table) => sum + table.bytes, 0)
  const share = Math.max(worthIt, total / (2 * parallel))
  const groups: T[][] = []
  let named = 0
  let left = total
  let room = 0
  for (const table of sorted) {
    if (left <= share || named === mostNamed) break
    if (room < table.bytes) {
      groups.push([])
      room = share
    }
    groups.at(-1)?.push(table)
    room -= table.bytes
    left -= table.bytes
    named++
  }
  return { groups, rest: sorted.slice(named) }
}

/** The pattern that pg_dump finds this table by, and no other. */
export function patternOf({ schema, name }: { schema: string; name: string }): string {
  return [schema, name].map((part) => `"${part.replaceAll('"', '""')}"`).join('.')
}
