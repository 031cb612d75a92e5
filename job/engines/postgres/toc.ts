import { JobError } from '../../errors.ts'

/** The table of contents at the beginning of an archive of pg_dump (archive.ts). Source: pg_backup_archiver.c. */

export interface Entry {
  id: number
  /** Of the table, where it has rows. */
  oid: string
  /** `TABLE DATA`, `SEQUENCE SET`, `DATABASE` … */
  kind: string
  section: Section
  name: string
  schema: string
  owner: string
  /** The statement that makes it. */
  sql: string
  /** The COPY that takes its rows; empty when they are INSERT statements. */
  copy: string
  /** The ids of what has to be there before. */
  needs: number[]
  /** It has a block of data. */
  data: boolean
}

export type Section = 'none' | 'pre-data' | 'data' | 'post-data'

const sections: Record<number, Section> = { 2: 'pre-data', 3: 'data', 4: 'post-data' }

/** Reads it as it comes. */
export class TocReader {
  /** Complete once `take` gave what follows. */
  readonly entries: Entry[] = []
  private readonly name: string
  /** What has come and could not be read yet. */
  private held: Buffer = Buffer.alloc(0)
  private version = 0
  private offsetSize = 8
  private expected = -1
  private decode = decoderOf('UTF8')

  constructor(name: string) {
    this.name = name
  }

  /** Gives what follows the table of contents, in memory of its own, once that has been read; undefined before. */
  take(chunk: Buffer): Buffer | undefined {
    // a chunk may only be lent
    this.held = Buffer.concat([this.held, chunk])
    const cursor = new Cursor(this.held, (bytes) => this.decode(bytes))
    try {
      if (this.expected < 0) {
        this.header(cursor)
        this.held = this.held.subarray(cursor.at)
        cursor.restart(this.held)
      }
      while (this.entries.length < this.expected) {
        const entry = this.entry(cursor)
        this.entries.push(entry)
        // the first entry: what follows is in the encoding of the database
        if (entry.kind === 'ENCODING') this.decode = decoderOf(encodingOf([entry]) ?? 'UTF8')
        this.held = this.held.subarray(cursor.at)
        cursor.restart(this.held)
      }
    } catch (error) {
      if (error instanceof Short) return undefined
      throw error
    }
    return this.held
  }

  private header(cursor: Cursor): void {
    const magic = cursor.bytes(5).toString('latin1')
    if (magic !== 'PGDMP') throw broken(this.name, 'is none: it does not begin with PGDMP')
    const [major, minor] = [cursor.byte(), cursor.byte()]
    cursor.byte()
    this.version = major * 100 + minor
    const intSize = cursor.byte()
    this.offsetSize = cursor.byte()
    const format = cursor.byte()
    if (this.version < 114 || this.version > 116 || intSize !== 4 || format !== 1)
      throw broken(this.name, `has format ${format} in version ${major}.${minor}, which this version does not know`)
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
    const section = sections[cursor.int()] ?? 'none'
    const sql = cursor.text()
    cursor.text()
    const copy = cursor.text()
    const schema = cursor.text()
    cursor.text()
    cursor.text()
    if (this.version >= 116) cursor.int()
    const owner = cursor.text()
    cursor.text()
    const needs: number[] = []
    for (let need = cursor.textOrEnd(); need !== undefined; need = cursor.textOrEnd()) needs.push(Number(need))
    cursor.bytes(1 + this.offsetSize)
    return { id, oid, kind, section, name, schema, owner, sql, copy, needs, data }
  }
}

/** A name in a statement, and a qualified one, in quotes or not. */
export const name = String.raw`(?:"(?:[^"]|"")*"|[^\s."(]+)`
export const qualified = String.raw`${name}\.${name}`

const copyInto = new RegExp(`^COPY (${qualified}) .*FROM stdin;\\s*$`, 's')

/** The table that the rows of an entry go to, as its COPY names it; undefined when they do not come by COPY. */
export function tableIn({ copy }: Entry): string | undefined {
  return copyInto.exec(copy)?.[1]
}

/** The encoding that an archive's texts and rows are in, as PostgreSQL names it. */
export function encodingOf(entries: readonly Entry[]): string | undefined {
  const entry = entries.find(({ kind }) => kind === 'ENCODING')
  return /'(.+)'/.exec(entry?.sql ?? '')?.[1]
}

export function broken(name: string, how: string): JobError {
  return new JobError('server', `the archive ${name} ${how}`)
}

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
