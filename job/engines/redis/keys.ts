import type { Reader, TargetRun } from '../../engine.ts'
import { type Entry, readEntries } from './entries.ts'
import { replayTo } from './replay.ts'
import { isMarker } from './selection.ts'
import { slotOf } from './slots.ts'
import type { Detail } from './target.ts'
import { allSlots, type Master } from './topology.ts'
import type { Wire } from './wire.ts'

/** What a restore brought. */
export interface Restored {
  keys: number
  /** Expired since the backup, and left out. */
  expired: number
  tallies: Map<number, Tally>
}

/** Of one database. */
export interface Tally {
  keys: number
  expires: number
  /** How many may end in each minute since 1970. */
  ends: Map<number, number>
}

interface Restoring {
  run: TargetRun
  reader: Reader
  detail: Detail
  wires: Wire[]
}

/** Every chosen key of every snapshot, to the master that has its slot. */
export async function restoreKeys({ run, reader, detail, wires }: Restoring): Promise<Restored> {
  const { facts, masters, selection } = detail
  const now = await clockOf(wires[0] as Wire)
  const readsEnds = Number.parseInt(run.state?.server.version ?? '', 10) >= 7
  const replays = wires.map((wire) => replayTo(wire, { now, readsEnds }))
  const replayOf = routes(masters)
  const restored: Restored = { keys: 0, expired: 0, tallies: new Map() }
  for (const { part } of facts.snapshots) {
    await readEntries(await reader.read(part), {
      wanted: (head) => selection.database(head.database) && !isMarker(head) && selection.key(head.key),
      entry: (entry, rdbVersion) => {
        if (entry.expires !== undefined && entry.expires <= now()) restored.expired += 1
        else {
          replays[replayOf(entry.key)]?.restore(entry, rdbVersion)
          add(restored, entry)
        }
      },
      pace: async () => {
        run.signal.throwIfAborted()
        for (const replay of replays) await replay.pace()
      },
    })
  }
  await Promise.all(replays.map((replay) => replay.finish()))
  return restored
}

function add(restored: Restored, entry: Entry): void {
  restored.keys += 1
  let tally = restored.tallies.get(entry.database)
  if (!tally) {
    tally = { keys: 0, expires: 0, ends: new Map() }
    restored.tallies.set(entry.database, tally)
  }
  tally.keys += 1
  if (entry.expires !== undefined) tally.expires += 1
  const end = earliestEnd(entry)
  if (end === undefined) return
  const minute = Math.floor(end / 60_000)
  tally.ends.set(minute, (tally.ends.get(minute) ?? 0) + 1)
}

/** When the key may be gone by itself: servers take a hash whose fields have all ended, and have no key then. */
function earliestEnd({ expires, encoding, value }: Entry): number | undefined {
  if (encoding.fieldEnds === undefined) return expires
  return encoding.fieldEnds === 'ahead' ? Number(value[0]?.readBigInt64LE()) : 0
}

/** Which master takes a key. */
function routes(masters: readonly Master[]): (key: Buffer) => number {
  if (masters.length === 1) return () => 0
  const owners = new Uint16Array(allSlots)
  masters.forEach(({ slots }, i) => {
    for (const [from, to] of slots) owners.fill(i, from, to + 1)
  })
  return (key) => owners[slotOf(key)] as number
}

/** The server's time in ms: it decides what has expired. */
export async function clockOf(wire: Wire): Promise<() => number> {
  const [seconds, micros] = (await wire.ask('TIME')) as [string, string]
  const offset = Number(seconds) * 1000 + Number(micros) / 1000 - performance.now()
  return () => offset + performance.now()
}
