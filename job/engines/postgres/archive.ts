import type { Readable } from 'node:stream'
import { piecesOf } from '../../io/lending.ts'
import { watched } from '../../io/tap.ts'
import { broken, type Entry, TocReader } from './toc.ts'

/**
 * PostgreSQL's custom archive format (`pg_dump --format=custom`, versions 1.14 to 1.16 of it, uncompressed), read as it passes:
 * a table of contents, then a block of data for each entry that has one. It has no mark at its end, so an archive that is cut off,
 * by a program that ended with 0, can only be told by the blocks that are missing. Source: pg_backup_archiver.c, pg_backup_custom.c.
 */

export interface Archive {
  /** Complete once the first block of data has been seen. */
  entries: Entry[]
  /** Rows by the id of a `TABLE DATA` entry. */
  rows: Map<number, number>
  largeObjects: number
}

/** The same bytes, and what they hold: known when the stream has ended. It errors when they are not the whole of an archive. */
export function watch(source: Readable, name: string): { stream: Readable; archive: Archive } {
  const reader = new Counter(name)
  const stream = watched(
    source,
    (chunk) => reader.take(chunk),
    () => reader.end(),
  )
  return { stream, archive: reader.archive }
}

/** Reads an archive to its end. */
export async function readArchive(source: Readable, name: string): Promise<Archive> {
  const reader = new Counter(name)
  for await (const chunk of piecesOf(source)) reader.take(chunk)
  reader.end()
  return reader.archive
}

/** Reads no more than the table of contents. */
export async function readContents(source: Readable, name: string): Promise<Entry[]> {
  const toc = new TocReader(name)
  for await (const chunk of source) if (toc.take(chunk)) return toc.entries
  throw broken(name, cutOff)
}

/** Of one table, as its COPY takes them: lines, and pieces of lines. */
export interface Rows {
  entry: Entry
  /** Lent until the next are asked for. */
  bytes: Buffer
  /** None of this table follow. */
  last: boolean
}

/** An archive that was read until its rows begin. Whoever opened it closes it. */
export interface OpenArchive {
  entries: readonly Entry[]
  /** One table after the other. In the memory of the source's chunks: nobody else may have a view of it. */
  rows: AsyncIterable<Rows>
  close(): Promise<void>
}

export async function openArchive(source: Readable, name: string): Promise<OpenArchive> {
  const reader = new RowReader(name)
  const pieces = piecesOf(source)[Symbol.asyncIterator]()
  let first: Rows[] = []
  async function* rows(): AsyncGenerator<Rows> {
    yield* first
    for (let next = await pieces.next(); !next.done; next = await pieces.next()) yield* reader.rows(next.value)
    reader.end()
  }
  const close = async () => {
    await pieces.return?.()
    source.destroy()
  }
  try {
    while (!reader.opened) {
      const { value, done } = await pieces.next()
      if (done) throw broken(name, cutOff)
      first = reader.rows(value)
    }
  } catch (error) {
    await close()
    throw error
  }
  return { entries: reader.entries, rows: rows(), close }
}

const cutOff = 'ended before it was complete'

/** The block that is being read. */
interface Block {
  entry: Entry
  /** Large objects are in it, not a table's rows. */
  objects: boolean
  inObject: boolean
}

/** Walks through an archive, chunk by chunk; what is in its blocks is for those who extend it. */
abstract class ArchiveReader {
  /** Complete once the first block of data has been seen. */
  readonly entries: Entry[]
  private readonly name: string
  private readonly toc: TocReader
  /** The table of contents was read. */
  opened = false
  private readonly waiting = new Map<number, Entry>()
  private block: Block | undefined
  /** Bytes of data before the next length. */
  private left = 0
  private readonly head = Buffer.alloc(6)
  private filled = 0

  constructor(name: string) {
    this.name = name
    this.toc = new TocReader(name)
    this.entries = this.toc.entries
  }

  take(chunk: Buffer): void {
    if (this.opened) {
      this.blocks(chunk)
      return
    }
    const rest = this.toc.take(chunk)
    if (!rest) return
    for (const entry of this.entries) if (entry.data) this.waiting.set(entry.id, entry)
    this.opened = true
    this.blocks(rest)
  }

  /** Throws when this is not the whole of it. */
  end(): void {
    if (this.opened && !this.block && this.filled === 0 && this.waiting.size === 0) return
    const [missing] = this.waiting.values()
    throw broken(this.name, `${cutOff}${missing ? `: ${missing.kind} ${missing.name} is missing` : ''}`)
  }

  /** Some of a table's rows: `chunk` from one place until another. */
  protected abstract piece(chunk: Buffer, from: number, until: number, entry: Entry): void
  /** A table has no more rows. */
  protected abstract tableEnds(entry: Entry): void
  protected abstract objectBegins(): void

  private blocks(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const { block } = this
      const isTable = block !== undefined && !block.objects
      if (this.left > 0) {
        const until = Math.min(chunk.length, at + this.left)
        if (isTable) this.piece(chunk, at, until, block.entry)
        this.left -= until - at
        at = until
        continue
      }
      // the length of a row, of which there are millions
      if (isTable && this.filled === 0 && at + 5 <= chunk.length) {
        this.left = chunk.readUInt32LE(at + 1)
        at += 5
        if (this.left === 0) this.endTable(block)
        continue
      }
      const wanted = block ? 5 : 6
      const taken = chunk.copy(this.head, this.filled, at, at + wanted - this.filled)
      this.filled += taken
      at += taken
      if (this.filled < wanted) return
      this.filled = 0
      if (block) this.length(block)
      else this.begin()
    }
  }

  private begin(): void {
    const kind = this.head[0]
    const id = this.head.readUInt32LE(2)
    const entry = this.waiting.get(id)
    if ((kind !== 1 && kind !== 3) || !entry)
      throw broken(this.name, `has a block of data of kind ${kind} that belongs to nothing`)
    this.waiting.delete(id)
    this.block = { entry, objects: kind === 3, inObject: false }
  }

  /** The length of what comes next; 0 ends a table or a large object, and among large objects 0 in place of an oid ends the block. */
  private length(block: Block): void {
    const number = this.head.readUInt32LE(1)
    if (block.objects && !block.inObject) {
      if (number === 0) this.block = undefined
      else {
        block.inObject = true
        this.objectBegins()
      }
    } else if (number > 0) this.left = number
    else if (block.objects) block.inObject = false
    else this.endTable(block)
  }

  private endTable({ entry }: Block): void {
    this.block = undefined
    this.tableEnds(entry)
  }
}

const newline = 10

class Counter extends ArchiveReader {
  readonly archive: Archive = { entries: this.entries, rows: new Map(), largeObjects: 0 }
  private lines = 0
  private dense = false

  protected piece(chunk: Buffer, from: number, until: number): void {
    const piece = chunk.subarray(from, until)
    const lines = linesIn(piece, this.dense)
    this.lines += lines
    this.dense = lines * shortLine > piece.length
  }

  protected tableEnds({ id }: Entry): void {
    // pg_dump ends COPY with `\.` and two empty lines
    this.archive.rows.set(id, Math.max(0, this.lines - 3))
    this.lines = 0
  }

  protected objectBegins(): void {
    this.archive.largeObjects += 1
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

/** An archive has a length before each row: here rows are moved together in their chunk, so that they are one piece of it. */
class RowReader extends ArchiveReader {
  private found: Rows[] = []
  /** Rows that are together, and were not given yet. */
  private stretch: { entry: Entry; chunk: Buffer; from: number; until: number } | undefined

  rows(chunk: Buffer): Rows[] {
    this.take(chunk)
    if (this.stretch) this.give(this.stretch.entry, false)
    return this.found.splice(0)
  }

  protected piece(chunk: Buffer, from: number, until: number, entry: Entry): void {
    if (!this.stretch) {
      this.stretch = { entry, chunk, from, until }
      return
    }
    chunk.copyWithin(this.stretch.until, from, until)
    this.stretch.until += until - from
  }

  protected tableEnds(entry: Entry): void {
    this.give(entry, true)
  }

  protected objectBegins(): void {}

  private give(entry: Entry, last: boolean): void {
    const bytes = this.stretch?.chunk.subarray(this.stretch.from, this.stretch.until) ?? Buffer.alloc(0)
    this.found.push({ entry, bytes, last })
    this.stretch = undefined
  }
}
