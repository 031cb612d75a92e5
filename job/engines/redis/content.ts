import { infoOf, keysOf } from './info.ts'
import type { Reply } from './protocol.ts'
import { isMarker, markerKey, type Selection } from './selection.ts'
import type { Wire } from './wire.ts'

/** Chosen keys of a target, by the number of the database. */
export type Content = Map<number, number>

/** Counts what is chosen on all masters; where patterns choose, every key of the chosen databases is looked at. */
export async function look(wires: readonly Wire[], selection: Selection): Promise<Content> {
  const content: Content = new Map()
  const found = await Promise.all(wires.map((wire) => (selection.whole ? counted(wire) : scanned(wire, selection))))
  for (const [database, keys] of found.flatMap((one) => [...one])) {
    if (keys > 0 && selection.database(database)) content.set(database, (content.get(database) ?? 0) + keys)
  }
  return content
}

async function counted(wire: Wire): Promise<Content> {
  const keys = new Map([...keysOf(await infoOf(wire))].map(([database, counts]) => [database, counts.keys]))
  const marked = keys.has(0) && (await hasMarker(wire))
  if (marked) keys.set(0, (keys.get(0) as number) - 1)
  return keys
}

/** Nodes of a cluster answer for their own slots only. */
async function hasMarker(wire: Wire): Promise<boolean> {
  const [reply] = await wire.send([exists], 1)
  return reply === 1
}
const exists = Buffer.from(`*2\r\n$6\r\nEXISTS\r\n$${markerKey.length}\r\n${markerKey}\r\n`)

async function scanned(wire: Wire, selection: Selection): Promise<Content> {
  const content: Content = new Map()
  for (const database of keysOf(await infoOf(wire)).keys()) {
    if (!selection.database(database)) continue
    let keys = 0
    for await (const batch of chosenKeys(wire, { database, selection })) keys += batch.length
    content.set(database, keys)
  }
  return content
}

/** The chosen keys of a database, some at a time. Leaves the wire in database 0. */
export async function* chosenKeys(
  wire: Wire,
  { database, selection }: { database: number; selection: Selection },
): AsyncGenerator<Buffer[]> {
  let cursor = '0'
  do {
    if (database !== 0) await wire.ask('SELECT', database)
    const [next, keys] = (await wire.ask('SCAN', cursor, 'COUNT', 1000)) as [Reply, string[]]
    if (database !== 0) await wire.ask('SELECT', 0)
    cursor = String(next)
    const chosen = keys.map((key) => Buffer.from(key, 'latin1')).filter((key) => isChosen(database, key, selection))
    if (chosen.length > 0) yield chosen
  } while (cursor !== '0')
}

function isChosen(database: number, key: Buffer, selection: Selection): boolean {
  return !isMarker({ database, key: () => key, keySize: () => key.length }) && selection.key(() => key)
}

/** Pure: for people. */
export function contentTexts(content: Content): string[] {
  return [...content]
    .sort(([a], [b]) => a - b)
    .map(([database, keys]) => `database ${database} (${keys} ${keys === 1 ? 'key' : 'keys'})`)
}
