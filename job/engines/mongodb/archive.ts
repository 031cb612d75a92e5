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
  indexes: string[]
}

export interface Contents {
  collections: Archived[]
  oplog: Oplog | undefined
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
export async function walkArchive(source: Readable, { what, kind }: Kind): Promise<Walk> {
  const { BSON } = await import('mongodb')
  const walker = archiveWalker((bytes) => BSON.deserialize(bytes, { promoteLongs: true, promoteBuffers: true }), {
    what,
    kind,
  })
  return { stream: watched(source, walker.write, walker.end), contents: walker.contents }
}

type Document = Record<string, unknown>

/** Takes an archive piece by piece. */
function archiveWalker(parse: (bytes: Uint8Array) => Document, { what, kind }: Kind) {
  let expects: 'magic' | 'prelude' | 'header' | 'documents' = 'magic'
  let held: Buffer = Buffer.alloc(0)
  let skip = 0
  const named = new Map<string, Archived>()
  const seen = new Map<string, { documents: number; ended: boolean }>()
  const oplog = countOplog()
  let current = { documents: 0, ended: false }
  let inOplog = false
  let hasOplog = false

  function write(chunk: Buffer): void {
    const data = held.length > 0 ? Buffer.concat([held, chunk]) : chunk
    let at = Math.min(skip, data.length)
    skip -= at
    while (data.length - at >= 4) {
      const size = data.readInt32LE(at)
      if (size === terminator || expects === 'magic') {
        mark(size)
        at += 4
        continue
      }
      if (size < 5 || size > largest) throw broken(`has a document of ${size} bytes`)
      if (expects === 'documents' && !inOplog) {
        current.documents++
        const inside = Math.min(size, data.length - at)
        skip = size - inside
        at += inside
        continue
      }
      if (data.length - at < size) break
      document(parse(data.subarray(at, at + size)))
      at += size
    }
    // the chunk is lent
    held = Buffer.from(data.subarray(at))
  }

  function mark(value: number): void {
    if (expects === 'magic') {
      if (value !== magic) throw broken('is no archive of mongodump')
      expects = 'prelude'
      return
    }
    if (expects === 'header') throw broken('has an end where a collection should begin')
    expects = 'header'
  }

  function document(fields: Document): void {
    if (expects === 'prelude') describe(fields)
    else if (expects === 'documents') oplog.add(fields)
    else begin(fields)
  }

  /** The header of a piece of a collection, or its end. */
  function begin(fields: Document): void {
    const { db = '', collection = '', EOF: ends } = fields as { db?: string; collection?: string; EOF?: boolean }
    const name = `${db}.${collection}`
    const entry = seen.get(name) ?? { documents: 0, ended: false }
    seen.set(name, entry)
    if (ends) entry.ended = true
    current = entry
    inOplog = db === '' && collection === 'oplog'
    hasOplog ||= inOplog
    expects = 'documents'
  }

  /** The first document of the prelude is the archive's own. */
  function describe(fields: Document): void {
    const { db, collection, metadata, type } = fields as Record<string, string | undefined>
    if (db === undefined || collection === undefined || db === '') return
    const said = metadata ? (JSON.parse(metadata) as { indexes?: { name?: unknown }[]; type?: string }) : {}
    named.set(`${db}.${collection}`, {
      database: db,
      name: collection,
      type: type || said.type || 'collection',
      documents: 0,
      indexes: (said.indexes ?? []).map((index) => String(index.name)),
    })
  }

  function end(): void {
    if (expects === 'magic') throw broken('is empty')
    if (held.length > 0 || skip > 0 || expects !== 'header') throw broken('ends in the middle')
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
    const collections = [...named.values()].map((one) => ({ ...one, documents: dataOf(one)?.documents ?? 0 }))
    for (const [full, { documents }] of seen) {
      const [database = '', ...rest] = full.split('.')
      const name = rest.join('.')
      // users and roles of one database have no description in front
      if (!named.has(full) && name.startsWith('$admin.'))
        collections.push({ database, name, type: 'collection', documents, indexes: [] })
    }
    return { collections, oplog: hasOplog ? oplog.counted() : undefined }
  }

  function broken(how: string): JobError {
    const hint = kind === 'server' ? 'look at the server, and run again' : 'the backup is damaged: restore another one'
    return new JobError(kind, `${what} ${how}`, { hint })
  }

  return { write, end, contents }
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
    let expects: 'magic' | 'prelude' | 'header' | 'documents' = 'magic'
    let held: Buffer = Buffer.alloc(0)
    /** Of a document that began in an earlier piece. */
    let skip = 0
    let keep = true
    for await (const chunk of piecesOf(source)) {
      const data = held.length > 0 ? Buffer.concat([held, chunk]) : chunk
      let from = 0
      let at = Math.min(skip, data.length)
      skip -= at
      const runs: Buffer[] = []
      /** What comes next is kept or not. */
      const turn = (to: boolean) => {
        if (keep && !to) runs.push(data.subarray(from, at))
        if (!keep && to) from = at
        keep = to
      }
      while (data.length - at >= 4) {
        const size = data.readInt32LE(at)
        if (expects === 'magic' || size === terminator) {
          if (expects === 'prelude') turn(true)
          expects = expects === 'magic' ? 'prelude' : 'header'
          at += 4
          continue
        }
        if (size < 5 || size > largest) throw new JobError('verification', `an archive has a document of ${size} bytes`)
        if (expects === 'documents') {
          const inside = Math.min(size, data.length - at)
          skip = size - inside
          at += inside
          continue
        }
        if (data.length - at < size) break
        const { db = '', collection = '' } = BSON.deserialize(data.subarray(at, at + size))
        turn(!leftOut({ db, collection }))
        at += size
        if (expects === 'header') expects = 'documents'
      }
      if (keep && at > from) runs.push(data.subarray(from, at))
      yield* runs
      held = Buffer.from(data.subarray(at))
    }
    if (keep) yield held
  }
}
