import { Readable } from 'node:stream'
import { quoteName } from '../../io/mysql.ts'

/**
 * The sections of a dump, told by the comments that mysqldump and mariadb-dump put before each: tables of one dump become parts, and
 * a part can be restored without some of them. Rows cannot look like such a comment, since nobody writes a line end into them; bodies
 * of routines could, so nothing between their DELIMITER lines is looked at.
 */
export interface Section {
  kind: 'header' | 'database' | 'structure' | 'placeholder' | 'data' | 'view' | 'events' | 'routines'
  /** Of the database, table or view. */
  name: string
}

interface Piece {
  /** On the first piece of a section. */
  begins?: Section
  bytes: Buffer
}

const kinds: [RegExp, Section['kind']][] = [
  [/^Current Database: (.+)$/, 'database'],
  [/^(?:Table|Sequence) structure for (?:table )?(.+)$/, 'structure'],
  [/^Temporary (?:table|view) structure for view (.+)$/, 'placeholder'],
  [/^Dumping data for table (.+)$/, 'data'],
  [/^Final view structure for view (.+)$/, 'view'],
  [/^Dumping events for database (.+)$/, 'events'],
  [/^Dumping routines for database (.+)$/, 'routines'],
]

const comment = Buffer.from('--\n-- ')
const closing = Buffer.from('\n--\n')
const delimiter = Buffer.from('DELIMITER ')
const lineEnd = 0x0a
const dash = 0x2d
const letterD = 0x44
/** More than the longest comment: 64 letters of four bytes, each of them a doubled quote. */
const longest = 700

export async function* sectionsOf(dump: AsyncIterable<Buffer>): AsyncGenerator<Piece> {
  let rest: Buffer = Buffer.alloc(0)
  let inBody = false
  let begins: Section | undefined = { kind: 'header', name: '' }
  const piece = (bytes: Buffer): Piece => {
    const made = begins ? { begins, bytes } : { bytes }
    begins = undefined
    return made
  }
  for await (const chunk of dump) {
    const buffer = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    let from = 0
    let at = 0
    for (;;) {
      const mark = nextMark(buffer, at, inBody)
      if (!mark) break
      at = mark.end
      inBody = mark.inBody
      if (!mark.section) continue
      yield piece(buffer.subarray(from, mark.start))
      begins = mark.section
      from = mark.start
    }
    const until = Math.max(from, partial(buffer, at))
    if (until > from) yield piece(buffer.subarray(from, until))
    rest = buffer.subarray(until)
  }
  yield piece(rest)
}

interface Mark {
  start: number
  /** Where to look on. */
  end: number
  inBody: boolean
  section?: Section
}

/** Rows have no line end but the one of their statement: looking for those alone takes little of the time that the dump takes. */
function nextMark(buffer: Buffer, at: number, inBody: boolean): Mark | undefined {
  for (let start = buffer.indexOf(lineEnd, at); start >= 0; start = buffer.indexOf(lineEnd, start + 1)) {
    const from = start + 1
    if (buffer[from] === letterD && isAt(buffer, delimiter, from)) {
      const end = buffer.indexOf(lineEnd, from)
      if (end < 0) return undefined
      return { start, end, inBody: buffer.toString('latin1', from + delimiter.length, end) !== ';' }
    }
    if (inBody || buffer[from] !== dash || !isAt(buffer, comment, from)) continue
    const close = buffer.indexOf(closing, from + comment.length - 1)
    const section = close < 0 ? undefined : sectionIn(buffer.toString('utf8', from + comment.length, close))
    if (section) return { start, end: close + closing.length - 1, inBody, section }
  }
  return undefined
}

function isAt(buffer: Buffer, text: Buffer, at: number): boolean {
  return buffer.subarray(at, at + text.length).equals(text)
}

function sectionIn(text: string): Section | undefined {
  for (const [pattern, kind] of kinds) {
    const name = pattern.exec(text)?.[1]
    if (name !== undefined) return { kind, name: unquoted(name) }
  }
  return undefined
}

function unquoted(name: string): string {
  const quote = name.charAt(0)
  return quote === '`' || quote === "'" ? name.slice(1, -1).replaceAll(quote + quote, quote) : name
}

/** Where at the end of a chunk, behind the last mark, the beginning of one could be; its length when nowhere. */
function partial(buffer: Buffer, behind: number): number {
  for (
    let at = buffer.indexOf(lineEnd, Math.max(behind, buffer.length - longest));
    at >= 0;
    at = buffer.indexOf(lineEnd, at + 1)
  ) {
    const next = buffer[at + 1]
    if (next === undefined || next === dash || next === letterD) return at
  }
  return buffer.length
}

interface Cutting {
  /** The part that a section goes to, where `path` is the one at hand; undefined leaves the section out. */
  partOf(section: Section, state: { database: string; path: string | undefined }): string | undefined
  write(path: string, data: Readable): Promise<unknown>
}

/** Writes the sections of one dump as parts of their own: each has the head of the dump, its database, and says that it is complete. */
export async function cut(dump: Readable, { partOf, write }: Cutting): Promise<void> {
  const pieces = sectionsOf(dump)
  const head: Buffer[] = []
  const state = { database: '', path: undefined as string | undefined, leftOut: true }
  let section: Section = { kind: 'header', name: '' }
  let piece = await next()

  async function next(): Promise<Piece | undefined> {
    const { value, done } = await pieces.next()
    if (done) return undefined
    if (!value.begins) return value
    section = value.begins
    if (section.kind === 'database') state.database = section.name
    if (section.kind !== 'header') {
      const path = partOf(section, state)
      state.leftOut = path === undefined
      if (path !== undefined) state.path = path
    }
    return value
  }

  async function* part(path: string): AsyncGenerator<Buffer> {
    yield* head
    if (section.kind !== 'database') yield Buffer.from(`\nUSE ${quoteName(state.database)};\n`)
    for (; piece && state.path === path; piece = await next()) {
      if (!state.leftOut) yield piece.bytes
    }
    // the end of a dump says it already
    if (piece) yield Buffer.from(completion)
  }

  for (; piece && section.kind === 'header'; piece = await next()) head.push(Buffer.from(piece.bytes))
  while (piece) {
    if (state.path === undefined) piece = await next()
    else await write(state.path, Readable.from(part(state.path), { objectMode: false }))
  }
}

/** What every part ends with. */
export const completion = '\n\n-- Dump completed\n'

/** The same of dumps too. */
export const completed = /-- Dump completed.*\s*$/

interface Choosing {
  database?: string
  wanted(section: Section, database: string): boolean
}

/** A dump without the sections that are not wanted. MariaDB's first line, a command of its client, is left out: other clients refuse it. */
export async function* chosen(
  dump: AsyncIterable<Buffer>,
  { database = '', wanted }: Choosing,
): AsyncGenerator<Buffer> {
  let current = database
  let passes = true
  let first = true
  for await (const { begins, bytes } of sectionsOf(dump)) {
    if (begins?.kind === 'database') current = begins.name
    if (begins) passes = begins.kind === 'header' || wanted(begins, current)
    if (passes) yield first ? withoutCommand(bytes) : bytes
    first = false
  }
}

function withoutCommand(bytes: Buffer): Buffer {
  const command = /^\/\*M!999999\\- .*\n?/.exec(bytes.toString('latin1', 0, 100))?.[0] ?? ''
  return bytes.subarray(command.length)
}
