import type { Readable } from 'node:stream'
import { JobError } from '../../errors.ts'
import { watched } from '../../io/tap.ts'

/**
 * PostgreSQL's custom archive format (`pg_dump --format=custom`, versions 1.14 to 1.16 of it, uncompressed), read as it passes:
 * a table of contents, then a block of data for each entry that has one. It has no mark at its end, so an archive that is cut off,
 * by a program that ended with 0, can only be told by the blocks that are missing. Source: pg_backup_archiver.c, pg_backup_custom.c.
 */

export interface Entry {
  id: number
  /** Of the table, where it has rows. */
  oid: string
  /** `TABLE DATA`, `SEQUENCE SET`, `DATABASE` … */
  kind: string
  name: string
  schema: string
  owner: string
  /** The statement that makes it. */
  sql: string
  /** It has a block of data. */
  data: boolean
}

export interface Archive {
  /** Complete once the first block of data has been seen. */
  entries: Entry[]
  /** Rows by the id of a `TABLE DATA` entry. */
  rows: Map<number, number>
  largeObjects: number
}

/** The same bytes, and what they hold: known when the stream has ended. It errors when they are not the whole of an archive. */
export function watch(source: Readable, name: string): { stream: Readable; archive: Archive } {
  const reader = new ArchiveReader(name)
  const stream = watched(
    source,
    (chunk) => reader.take(chunk),
    () => reader.end(),
  )
  return { stream, archive: reader.archive }
}

/** Reads an archive to its end. */
export async function readArchive(source: Readable, name: string): Promise<Archive> {
  const reader = new ArchiveReader(name)
  for await (const chunk of source) reader.take(chunk)
  reader.end()
  return reader.archive
}

/** Reads no more than the table of contents. */
export async function readContents(source: Readable, name: string): Promise<Entry[]> {
  const reader = new ArchiveReader(name)
  for await (const chunk of source) {
    reader.take(chunk)
    if (reader.opened) return reader.archive.entries
  }
  reader.end()
  return reader.archive.entries
}

const newline = 10

class ArchiveReader {
  readonly archive: Archive = { entries: [], rows: new Map(), largeObjects: 0 }
  /** The table of contents has been read. */
  opened = false
  private readonly name: string
  /** What has come of the table of contents and could not be read yet. */
  private held: Buffer = Buffer.alloc(0)
  private version = 0
  private offsetSize = 8
  private expected = -1
  private readonly waiting = new Set<number>()
  /** The block that is being read: the id of its entry, and whether large objects are in it. */
  private block: { id: number; objects: boolean; inObject: boolean; lines: number; dense: boolean } | undefined
  /** Bytes of data before the next length. */
  private left = 0
  private decode = decoderOf('UTF8')
  private readonly head = Buffer.alloc(6)
  private filled = 0

  constructor(name: string) {
    this.name = name
  }

  take(chunk: Buffer): void {
    if (this.opened) {
      this.blocks(chunk)
      return
    }
    // a chunk may only be lent
    this.held = Buffer.concat([this.held, chunk])
    this.contents()
    if (!this.opened) return
    const rest = this.held
    this.held = Buffer.alloc(0)
    this.blocks(rest)
  }

  end(): void {
    if (!this.opened || this.block || this.filled > 0 || this.waiting.size > 0) {
      const missing = this.archive.entries.find((entry) => this.waiting.has(entry.id))
      throw this.broken(`ended before it was complete${missing ? `: ${missing.kind} ${missing.name} is missing` : ''}`)
    }
  }

  private broken(how: string): JobError {
    return new JobError('server', `the archive ${this.name} ${how}`)
  }

  private contents(): void {
    const cursor = new Cursor(this.held, (bytes) => this.decode(bytes))
    try {
      if (this.expected < 0) {
        this.header(cursor)
        this.held = this.held.subarray(cursor.at)
        cursor.restart(this.held)
      }
      while (this.archive.entries.length < this.expected) {
        const entry = this.entry(cursor)
        this.archive.entries.push(entry)
        // the first entry: what follows is in the encoding of the database
        if (entry.kind === 'ENCODING') this.decode = decoderOf(/'(.+)'/.exec(entry.sql)?.[1] ?? 'UTF8')
        this.held = this.held.subarray(cursor.at)
        cursor.restart(this.held)
      }
    } catch (error) {
      if (error instanceof Short) return
      throw error
    }
    for (const entry of this.archive.entries) if (entry.data) this.waiting.add(entry.id)
    this.opened = true
  }

  private header(cursor: Cursor): void {
    const magic = cursor.bytes(5).toString('latin1')
    if (magic !== 'PGDMP') throw this.broken('is none: it does not begin with PGDMP')
    const [major, minor] = [cursor.byte(), cursor.byte()]
    cursor.byte()
    this.version = major * 100 + minor
    const intSize = cursor.byte()
    this.offsetSize = cursor.byte()
    const format = cursor.byte()
    if (this.version < 114 || this.version > 116 || intSize !== 4 || format !== 1)
      throw this.broken(`has format ${format} in version ${major}.${minor}, which this version does not know`)
    if (this.version >= 115) cursor.byte()
    else cursor.int()
    for (let i = 0; i < 7; i++) cursor.int()
    for (let i = 0; i < 3; i++) cursor.text()
    this.expected = cursor.int()
  }

  private entry(cursor: Cursor): Entry {
    const id = cursor.int()
    const data = cursor.int() !== 0
    cursor.text()
    const oid = cursor.text()
    const name = cursor.text()
    const kind = cursor.text()
    cursor.int()
    const sql = cursor.text()
    cursor.text()
    cursor.text()
    const schema = cursor.text()
    cursor.text()
    cursor.text()
    if (this.version >= 116) cursor.int()
    const owner = cursor.text()
    cursor.text()
    while (cursor.textOrEnd() !== undefined);
    cursor.bytes(1 + this.offsetSize)
    return { id, oid, kind, name, schema, owner, sql, data }
  }

  private blocks(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.left > 0) {
        const until = Math.min(chunk.length, at + this.left)
        if (this.block && !this.block.objects) this.count(this.block, chunk.subarray(at, until))
        this.left -= until - at
        at = until
        continue
      }
      const wanted = this.block ? 5 : 6
      const taken = chunk.copy(this.head, this.filled, at, at + wanted - this.filled)
      this.filled += taken
      at += taken
      if (this.filled < wanted) return
      this.filled = 0
      if (this.block) this.length(this.block)
      else this.begin()
    }
  }

  private count(block: NonNullable<ArchiveReader['block']>, piece: Buffer): void {
    const lines = linesIn(piece, block.dense)
    block.lines += lines
    block.dense = lines * shortLine > piece.length
  }

  private begin(): void {
    const kind = this.head[0]
    const id = this.head.readUInt32LE(2)
    if ((kind !== 1 && kind !== 3) || !this.waiting.delete(id))
      throw this.broken(`has a block of data of kind ${kind} that belongs to nothing`)
    this.block = { id, objects: kind === 3, inObject: false, lines: 0, dense: false }
  }

  /** The length of what comes next; 0 ends a table or a large object, and among large objects 0 in place of an oid ends the block. */
  private length(block: NonNullable<ArchiveReader['block']>): void {
    const number = this.head.readUInt32LE(1)
    if (block.objects && !block.inObject) {
      if (number === 0) this.block = undefined
      else {
        block.inObject = true
        this.archive.largeObjects += 1
      }
    } else if (number > 0) this.left = number
    else if (block.objects) block.inObject = false
    else {
      // pg_dump ends COPY with `\.` and two empty lines
      this.archive.rows.set(block.id, Math.max(0, block.lines - 3))
      this.block = undefined
    }
  }
}

/**
 * In COPY's text format a row is a line: line ends of values are escaped. `dense`: lines are short, and looking at every byte is
 * faster than to search for each.
 */
function linesIn(piece: Buffer, dense: boolean): number {
  let lines = 0
  if (dense) for (let at = 0; at < piece.length; at++) lines += piece[at] === newline ? 1 : 0
  else for (let at = piece.indexOf(newline); at >= 0; at = piece.indexOf(newline, at + 1)) lines++
  return lines
}

/** Bytes a line, below which lines are short. */
const shortLine = 32

/** PostgreSQL's names of encodings and those of the web, where they differ in more than case and signs. */
const encodings: Record<string, string> = {
  LATIN2: 'iso-8859-2',
  LATIN3: 'iso-8859-3',
  LATIN4: 'iso-8859-4',
  LATIN5: 'iso-8859-9',
  LATIN6: 'iso-8859-10',
  LATIN7: 'iso-8859-13',
  LATIN8: 'iso-8859-14',
  LATIN9: 'iso-8859-15',
  LATIN10: 'iso-8859-16',
  WIN866: 'ibm866',
  KOI8R: 'koi8-r',
  KOI8U: 'koi8-u',
  EUC_CN: 'gbk',
  EUC_JIS_2004: 'euc-jp',
}

function decoderOf(encoding: string): (bytes: Buffer) => string {
  if (encoding === 'LATIN1' || encoding === 'SQL_ASCII') return (bytes) => bytes.toString('latin1')
  const label = encodings[encoding] ?? encoding.toLowerCase().replace(/^win/, 'windows-').replaceAll('_', '-')
  try {
    const decoder = new TextDecoder(label)
    return (bytes) => decoder.decode(bytes)
  } catch {
    return (bytes) => bytes.toString('utf8')
  }
}

class Short extends Error {}

/** Numbers and texts as archives have them: a sign byte before each number, a length before each text. */
class Cursor {
  at = 0
  private buffer: Buffer
  private readonly decode: (bytes: Buffer) => string

  constructor(buffer: Buffer, decode: (bytes: Buffer) => string) {
    this.buffer = buffer
    this.decode = decode
  }

  restart(buffer: Buffer): void {
    this.buffer = buffer
    this.at = 0
  }

  bytes(count: number): Buffer {
    if (this.at + count > this.buffer.length) throw new Short()
    this.at += count
    return this.buffer.subarray(this.at - count, this.at)
  }

  byte(): number {
    return this.bytes(1)[0] as number
  }

  int(): number {
    const bytes = this.bytes(5)
    return bytes[0] === 0 ? bytes.readUInt32LE(1) : -bytes.readUInt32LE(1)
  }

  text(): string {
    return this.textOrEnd() ?? ''
  }

  textOrEnd(): string | undefined {
    const length = this.int()
    return length < 0 ? undefined : this.decode(this.bytes(length))
  }
}
