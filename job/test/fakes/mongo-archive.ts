import { BSON, type Document } from 'mongodb'

interface Collection {
  db: string
  collection: string
  /** As the tools write it: extended JSON with options, indexes and type. */
  metadata?: Document
  /** Where the documents lie, when it is not the collection's own name. */
  data?: string
  documents?: Document[]
  /** How the archive is spoilt. */
  without?: 'end' | 'data'
}

const end = Buffer.from([0xff, 0xff, 0xff, 0xff])

/** An archive as mongodump writes it, one collection after the other. */
export function archiveOf(collections: Collection[]): Buffer {
  const header = { concurrent_collections: 4, version: '0.1', server_version: '7.0.0', tool_version: '100.9.5' }
  const prelude = collections.map(({ db, collection, metadata }) =>
    BSON.serialize({
      db,
      collection,
      metadata: metadata ? JSON.stringify(metadata) : '',
      size: 0,
      type: metadata?.type ?? '',
    }),
  )
  return Buffer.concat([
    Buffer.from('6de29981', 'hex'),
    BSON.serialize(header, {}),
    ...prelude,
    end,
    ...collections.filter(({ without }) => without !== 'data').map(body),
  ])
}

function body({ db, collection, data = collection, documents = [], without }: Collection): Buffer {
  const bytes = Buffer.concat(documents.map((document) => BSON.serialize(document)))
  const header = (EOF: boolean, crc: bigint) =>
    BSON.serialize({ db, collection: data, EOF, CRC: BSON.Long.fromBigInt(BigInt.asIntN(64, crc)) })
  const piece = [header(false, 0n), bytes, end]
  return Buffer.concat(without === 'end' ? piece : [...piece, header(true, crc64(bytes)), end])
}

/** CRC-64 of ECMA-182, reflected: mongorestore compares it. */
function crc64(bytes: Uint8Array): bigint {
  const all = 0xffffffffffffffffn
  let crc = all
  for (const byte of bytes) {
    crc ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0xc96c5795d7870f42n : crc >> 1n
  }
  return crc ^ all
}
