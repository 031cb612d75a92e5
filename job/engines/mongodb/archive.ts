import type { Readable } from 'node:stream'
import { JobError } from '../../errors.ts'
import { lending, piecesOf } from '../../io/lending.ts'
import { watched } from '../../io/tap.ts'
import { countOplog, type Oplog } from './oplog.ts'

/** One collection as an archive of mongodump has it. */
export interface Archived {
  database: string
  name: string
  type: string
  /** Of time series the buckets, as mongodump reads them. */
  documents: number
  /** Of the largest thousand of documents, in BSON. */
  thousandBytes: number
  indexes: string[]
  capped: boolean
}

export interface Contents {
  collections: Archived[]
  oplog: Oplog | undefined
  /** How many were read at once, as the archive says. */
  collectionsAtOnce: number | undefined
}

export interface Walk {
  /** The same bytes; errors at the end when the archive is not whole. */
  stream: Readable
  /** Once the stream ended. */
  contents(): Contents
}

/** What it is for people, and whose fault a broken one is: the server's while it is made, the backup's later. */
interface Kind {
  what: string
  kind: 'server' | 'verification'
}

const magic = 0x8199e26d | 0
const terminator = -1
/** BSON documents have at most 16 MiB, those of the server's own a little more. */
const largest = 64 * 1024 * 1024

/**
 * Walks over the documents of an archive as it flows by, and counts them: each collection has an end of its own, so an archive that is
 * cut is found, also where mongodump says that all went well. Format: mongo-tools, common/archive.
 */
export async function walkArchive(source: Readable, kind: Kind): Promise<Walk> {
  const { BSON } = await import('mongodb')
  const walker = archiveWalker((bytes) => BSON.deserialize(bytes, { promoteLongs: true, promoteBuffers: true }), kind)
  return { stream: watched(source, walker.write, walker.end), contents: walker.contents }
}

type Document = Record<string, unknown>

/** What mongodump says of a collection. */
interface Metadata {
  indexes?: { name?: unknown }[]
  options?: { capped?: boolean }
  type?: string
}

/** Where an archive is: before all, in the description of its collections, before a piece of one, in its documents. */
type Place = 'magic' | 'prelude' | 'header' | 'documents'

/** What is told of an archive as it is read; `at` is where it begins in the data that `read` returns. */
interface Frames {
  /** What was there until now ends. */
  mark?(place: Place, at: number): void
  /** One of a collection, of so many bytes: false to have it whole, which ends in `document`. */
  passes(size: number): boolean
  document(bytes: Buffer, place: Place, at: number): void
}

/** Finds documents and ends of an archive in the pieces it comes in. */
function frameReader(frames: Frames, broken: (how: string) => JobError) {
  let place: Place = 'magic'
  let held: Buffer = Buffer.alloc(0)
  /** Of a document that began in an earlier piece. */
  let skip = 0

  /** Takes the next piece: what was left of those before it and the piece, and how far that was read. It is lent as the piece is. */
  function read(chunk: Buffer): { data: Buffer; end: number } {
    const data = held.length > 0 ? Buffer.concat([held, chunk]) : chunk
    let at = Math.min(skip, data.length)
    skip -= at
    while (data.length - at >= 4) {
      const size = data.readInt32LE(at)
      if (size === terminator || place === 'magic') {
        mark(size, at)
        at += 4
        continue
      }
      if (size < 5 || size > largest) throw broken(`has a document of ${size} bytes`)
      if (place === 'documents' && frames.passes(size)) {
        const inside = Math.min(size, data.length - at)
        skip = size - inside
        at += inside
        continue
      }
      if (data.length - at < size) break
      frames.document(data.subarray(at, at + size), place, at)
      at += size
      if (place === 'header') place = 'documents'
    }
    held = Buffer.from(data.subarray(at))
    return { data, end: at }
  }

  function mark(value: number, at: number): void {
    if (place === 'magic' && value !== magic) throw broken('is no archive of mongodump')
    if (place === 'header') throw broken('has an end where a collection should begin')
    frames.mark?.(place, at)
    place = place === 'magic' ? 'prelude' : 'header'
  }

  function end(): void {
    if (place === 'magic') throw broken('is empty')
    if (held.length > 0 || skip > 0 || place !== 'header') throw broken('ends in the middle')
  }

  return { read, end }
}

/** Of one collection, so far. */
interface Seen {
  documents: number
  /** Since the last thousand of documents. */
  bytes: number
  thousandBytes: number
  ended: boolean
}

const nothing = (): Seen => ({ documents: 0, bytes: 0, thousandBytes: 0, ended: false })

/** Takes an archive piece by piece. */
function archiveWalker(parse: (bytes: Uint8Array) => Document, kind: Kind) {
  const broken = breakageOf(kind)
  const named = new Map<string, Archived>()
  const seen = new Map<string, Seen>()
  const oplog = countOplog()
  let current = nothing()
  let collectionsAtOnce: number | undefined
  let inOplog = false
  let hasOplog = false
  const reader = frameReader({ passes, document }, broken)

  function passes(size: number): boolean {
    if (inOplog) return false
    if (current.documents % 1000 === 0) current.bytes = 0
    current.documents++
    current.bytes += size
    current.thousandBytes = Math.max(current.thousandBytes, current.bytes)
    return true
  }

  function document(bytes: Buffer, place: Place): void {
    const fields = parse(bytes)
    if (place === 'prelude') describe(fields)
    else if (place === 'documents') oplog.add(fields)
    else begin(fields)
  }

  /** The header of a piece of a collection, or its end. */
  function begin(fields: Document): void {
    const { db = '', collection = '', EOF: ends } = fields as { db?: string; collection?: string; EOF?: boolean }
    const name = `${db}.${collection}`
    const entry = seen.get(name) ?? nothing()
    seen.set(name, entry)
    if (ends) entry.ended = true
    current = entry
    inOplog = db === '' && collection === 'oplog'
    hasOplog ||= inOplog
  }

  /** The first document of the prelude is the archive's own. */
  function describe(fields: Document): void {
    const { db, collection, metadata, type } = fields as Record<string, string | undefined>
    if (typeof fields.concurrent_collections === 'number') collectionsAtOnce = fields.concurrent_collections
    if (db === undefined || collection === undefined || db === '') return
    const said: Metadata = metadata ? JSON.parse(metadata) : {}
    named.set(`${db}.${collection}`, {
      database: db,
      name: collection,
      type: type || said.type || 'collection',
      documents: 0,
      thousandBytes: 0,
      indexes: (said.indexes ?? []).map((index) => String(index.name)),
      capped: ![undefined, false].includes(said.options?.capped),
    })
  }

  function end(): void {
    reader.end()
    for (const [name, { ended }] of seen) if (!ended) throw broken(`has no end of ${name}`)
    for (const one of named.values()) {
      if (one.type !== 'view' && !dataOf(one)) throw broken(`lacks ${one.database}.${one.name}`)
    }
  }

  /** The documents of a time series lie under the name of its buckets. */
  function dataOf({ database, name, type }: Archived) {
    const buckets = type === 'timeseries' ? seen.get(`${database}.system.buckets.${name}`) : undefined
    return buckets ?? seen.get(`${database}.${name}`)
  }

  function contents(): Contents {
    const collections = [...named.values()].map((one) => {
      const { documents, thousandBytes } = dataOf(one) ?? nothing()
      return { ...one, documents, thousandBytes }
    })
    for (const [full, { documents, thousandBytes }] of seen) {
      const [database = '', ...rest] = full.split('.')
      const name = rest.join('.')
      // users and roles of one database have no description in front
      if (!named.has(full) && name.startsWith('$admin.'))
        collections.push({ database, name, type: 'collection', documents, thousandBytes, indexes: [], capped: false })
    }
    return { collections, oplog: hasOplog ? oplog.counted() : undefined, collectionsAtOnce }
  }

  return { write: (chunk: Buffer) => void reader.read(chunk), end, contents }
}

function breakageOf({ what, kind }: Kind): (how: string) => JobError {
  const hint = kind === 'server' ? 'look at the server, and run again' : 'the backup is damaged: restore another one'
  return (how) => new JobError(kind, `${what} ${how}`, { hint })
}

/**
 * An archive without the collections that are left out. mongorestore has --nsExclude for that, and refuses it where it replays an oplog.
 * Each collection has a checksum of its own in the archive, so that the others stay as they are.
 */
export async function withoutCollections(
  source: Readable,
  leftOut: (collection: { db: string; collection: string }) => boolean,
): Promise<Readable> {
  const { BSON } = await import('mongodb')
  return lending(kept(), source)

  async function* kept(): AsyncGenerator<Buffer> {
    let keep = true
    /** What is kept of the data that is being read: where each run of it begins and ends, and where the last one begins. */
    let runs: [number, number][] = []
    let from = 0
    const turn = (to: boolean, at: number) => {
      if (keep && !to) runs.push([from, at])
      if (!keep && to) from = at
      keep = to
    }
    const reader = frameReader(
      {
        mark: (place, at) => {
          if (place === 'prelude') turn(true, at)
        },
        passes: () => true,
        document: (bytes, _, at) => {
          const { db = '', collection = '' } = BSON.deserialize(bytes)
          turn(!leftOut({ db, collection }), at)
        },
      },
      breakageOf({ what: 'an archive', kind: 'verification' }),
    )
    for await (const chunk of piecesOf(source)) {
      runs = []
      from = 0
      const { data, end } = reader.read(chunk)
      if (keep) runs.push([from, end])
      for (const [begin, until] of runs) if (until > begin) yield data.subarray(begin, until)
    }
    reader.end()
  }
}
