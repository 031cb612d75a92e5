import type { Reader, TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { look } from './content.ts'
import { infoOf, keysOf } from './info.ts'
import { clockOf, type Restored, type Tally } from './keys.ts'
import type { Progress } from './restore.ts'
import type { Wire } from './wire.ts'

/**
 * Nothing is missing and nothing came in: each database has the keys that were restored, as many of them with an end. Each single key was
 * confirmed by the server when it was restored, and its end read back.
 */
export async function prove(
  _: TargetRun,
  __: Reader,
  { detail, wires, restored }: Progress,
): Promise<Record<string, unknown>> {
  const { databases, selection } = detail
  const { expired, tallies } = restored as Restored
  const content = await look(wires, selection)
  const now = (await clockOf(wires[0] as Wire))()
  const expires = selection.whole ? await expiresOf(wires) : new Map<number, number>()
  for (const database of databases) {
    const tally = tallies.get(database) ?? { keys: 0, expires: 0, ends: new Map() }
    const gone = endedBy(tally, now)
    compare({ what: `database ${database} has`, found: content.get(database) ?? 0, most: tally.keys, gone })
    const ends = { found: expires.get(database) ?? 0, most: tally.expires, gone }
    if (selection.whole) compare({ what: `of database ${database} expire`, ...ends })
  }
  const keys = databases.reduce((sum, database) => sum + (content.get(database) ?? 0), 0)
  const gone = (restored as Restored).keys - keys + expired
  return { databases: databases.length, keys, ...(gone > 0 ? { expired: gone } : {}) }
}

/** Pure: how many keys may have expired since; ends are known by the minute. */
function endedBy({ ends }: Tally, now: number): number {
  let gone = 0
  for (const [minute, keys] of ends) if (minute * 60_000 <= now) gone += keys
  return gone
}

interface Comparison {
  what: string
  found: number
  most: number
  /** Keys that may have expired since. */
  gone: number
}

function compare({ what, found, most, gone }: Comparison): void {
  if (found <= most && found >= most - gone) return
  throw new JobError('verification', `${what} ${found} keys, ${most} were restored`, {
    hint:
      found > most
        ? 'something else writes to the target: stop it, and run the restore again with another token and overwrite'
        : 'the target lost keys: a maxmemory-policy that evicts, or something else that removes; raise maxmemory, and restore again',
  })
}

async function expiresOf(wires: readonly Wire[]): Promise<Map<number, number>> {
  const sums = new Map<number, number>()
  for (const wire of wires) {
    for (const [database, { expires }] of keysOf(await infoOf(wire)))
      sums.set(database, (sums.get(database) ?? 0) + expires)
  }
  return sums
}
