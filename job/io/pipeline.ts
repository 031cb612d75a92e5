import type { Readable } from 'node:stream'
import { JobError } from '../errors.ts'
import type { Part } from '../manifest.ts'
import { spread } from './branches.ts'
import { type Content, hasher } from './content.ts'
import { type Copies, type Destination, type Destinations, sameIn } from './destinations.ts'
import { type Outgoing, outgoingTo } from './outgoing.ts'
import { counted, type Tap, tap, watched } from './tap.ts'
import { turnIn } from './turns.ts'

interface Store {
  /** Where the part goes in each storage. */
  key: string
  path: string
  /** A stream is read once; a function can be called again when the storage has to try again. */
  data: Readable | (() => Readable)
  size?: number
  to: Destinations
  signal: AbortSignal
  onBytes?: (bytes: number) => void
  /** What the data was compressed from, after its end. */
  whole?: () => Content
}

/**
 * Sends one part to every storage, reading the data once, and resolves to the copies of those that did not fail. What a storage says it
 * has must be what was sent. Rejects when the producer fails, and when the last storage of the run does.
 */
export async function store(options: Store): Promise<Copies> {
  const { to, data, whole } = options
  // it may fail before anybody reads
  if (typeof data !== 'function') data.on('error', () => {})
  const live = to.live()
  const ways = await Promise.all(live.map(({ storage }) => outgoingTo(storage, options)))
  const outgoing = new Map(live.map((destination, i) => [destination, ways[i] as Outgoing]))
  const sent = await (live.length > 1 ? storeInTurn : storeInOne)(outgoing, options)
  const codec = whole && { codec: 'zstd' as const, plain: whole() }
  return new Map([...sent].map(([storage, part]) => [storage, { ...part, ...codec }]))
}

type Ways = ReadonlyMap<Destination, Outgoing>

async function storeInTurn(outgoing: Ways, options: Store): Promise<Copies> {
  const end = await turnIn([...outgoing.keys()].map(({ storage }) => storage))
  try {
    return await storeInAll(outgoing, options)
  } finally {
    end()
  }
}

async function storeInAll(outgoing: Ways, options: Store): Promise<Copies> {
  const { key, path, data, size, to, signal } = options
  const tapped = tapIfNeeded(outgoing, options, typeof data === 'function' ? data() : data)
  const stored = await spread(tapped.stream, { key, size, to, signal, outgoing })
  const sent = tapped.result?.()
  const copies = new Map<string, Part>()
  for (const [destination, { size }] of stored) {
    const part = outgoing.get(destination)?.part(sent)
    if (part?.size === size) copies.set(destination.storage.name, part)
    else to.drop(destination, otherSize(destination, { path, size, sent: part?.size ?? 0 }))
  }
  return copies
}

/** Without a second stream in between: this storage may ask for the data again. */
async function storeInOne(outgoing: Ways, options: Store): Promise<Copies> {
  const { path, data, to, signal } = options
  const [[destination, way] = []] = outgoing
  if (!destination || !way) return new Map()
  let tapped: Partial<Tap> = {}
  const open = () => {
    tapped = tapIfNeeded(outgoing, options, typeof data === 'function' ? data() : data)
    return way.open(tapped.stream as Readable)
  }
  const how = {
    signal: AbortSignal.any([signal, destination.out]),
    ...(way.size === undefined ? {} : { size: way.size }),
  }
  try {
    const stored = await destination.storage.put(way.key, typeof data === 'function' ? open : open(), how)
    if (!tapped.stream) throw new JobError('bug', `${path} was stored without being read`)
    const part = way.part(tapped.result?.())
    if (stored.size !== part.size) throw otherSize(destination, { path, size: stored.size, sent: part.size })
    return sameIn([destination], part)
  } catch (error) {
    const broken = tapped.stream?.errored
    // a storage that failed before it read has not ended the producer
    tapped.stream?.destroy()
    signal.throwIfAborted()
    if (broken && !destination.out.aborted) throw error
    to.drop(destination, error)
    return new Map()
  }
}

/** Hashes only what somebody needs: of what was compressed, a storage that gets it as it is. */
function tapIfNeeded(
  outgoing: Ways,
  { whole, onBytes }: Store,
  data: Readable,
): Pick<Tap, 'stream'> & Partial<Pick<Tap, 'result'>> {
  const encrypted = [...outgoing.keys()].every(({ storage }) => storage.encryption)
  if (whole && encrypted) return { stream: data }
  return [...outgoing.values()].every(({ tells }) => tells) ? { stream: counted(data, onBytes) } : tap(data, onBytes)
}

function otherSize({ storage }: Destination, { path, size, sent }: { path: string; size: number; sent: number }) {
  return new JobError('storage', `storage ${storage.name} has ${size} bytes of ${path}, ${sent} were sent`)
}

interface Expected {
  content: Content
  /** For errors. */
  where: string
  /** Is told what passes. */
  onBytes?: ((bytes: number) => void) | undefined
}

/** A stream that errors at its end when it is not what the manifest says. */
export function verified(source: Readable, { content, where, onBytes }: Expected): Readable {
  const passed = hasher(onBytes)
  return watched(source, passed.add, () => refuseOther(passed.content(), content, where))
}

/** Throws `verification` for what is not what the manifest says. */
export function refuseOther(found: Content, part: Content, where: string): void {
  const wrong = (how: string) => new JobError('verification', `${where} ${how}`, { hint: damaged })
  if (found.size !== part.size) throw wrong(`has ${found.size} bytes, the manifest says ${part.size}`)
  if (found.sha256 !== part.sha256) throw wrong('is not what was stored: its sha256 differs from the manifest')
}

export const damaged =
  'the part is damaged: restore another backup, or from another storage; `holdfast verify` lists all damage'
