import { JobError } from '../../errors.ts'
import { input, inputBytes, type Literals, literals, output, outputEnd } from './literals.ts'

/** How values of a column are written: as the server writes them, in quotes, or as hexadecimal digits. */
type Kind = 'number' | 'text' | 'bytes'

/** Of a statement, as the dump programs make them. A row that has more is one of its own. */
const statementBytes = 1024 * 1024

/** What one chunk can become at most: a NULL is a byte, and five with its comma. */
const full = outputEnd - 6 * inputBytes

const comma = 0x2c
const quote = 0x27
const openingBracket = 0x28
const closingBracket = 0x29
const nothing = [...Buffer.from('NULL')]
const zeroX = Buffer.from('0x')
const noBytes = Buffer.from("''")
const end = Buffer.from(';\n')

/** A physical packet of this length is continued by the next. */
const longest = 0xffffff

/**
 * The server's answer to a SELECT, in the text protocol, as INSERT statements: from bytes to bytes, without a value or a row of its own,
 * several times as fast as a program that takes and writes each. Memory stays the same, however long a value is. One query at a time.
 */
export class Inserts {
  private readonly literals: Literals = literals()
  private readonly memory = this.literals.memory
  private head: Buffer = Buffer.alloc(0)
  private counted = 0
  private longestYet = 0
  /** Of an open statement, without what waits in the output. */
  private written = 0
  private open = false
  private begins = false

  private phase: 'begin' | 'columns' | 'rows' | 'end' = 'end'
  private kinds: Kind[] = []
  private columns = 0
  /** Packets that are no rows are taken as a whole. */
  private gathered: Buffer[] | undefined

  private at = input
  private until = input
  private out = output

  private header = 0
  private headerBytes = 0
  /** Of the packet, of the field; of the field -1 when its length is to come. */
  private left = 0
  private field = -1
  private column = 0
  private continued = false
  private fresh = false
  private length = 0
  private lengthBytes = 0
  private lengthScale = 1

  /** Rows of the last query, when it has ended. */
  get rows(): number {
    return this.counted
  }

  /** Bytes of the longest statement of the last query, when it has ended. */
  get longest(): number {
    return this.longestYet
  }

  get ended(): boolean {
    return this.phase === 'end'
  }

  /**
   * The statements, each beginning with `head`. A piece is the reader's until it asks for the next. Ends with the answer, and rejects with
   * `server` when the server says that it failed, or says less than all.
   */
  async *of(answer: AsyncIterable<Buffer>, { head, what }: { head: Buffer; what: string }): AsyncGenerator<Buffer> {
    this.begin(head)
    for await (const chunk of answer) {
      for (let from = 0; from < chunk.length; from += inputBytes) {
        this.take(chunk.subarray(from, from + inputBytes))
        while (!this.pass(what)) yield* this.made()
      }
      if (this.phase === 'end') break
    }
    if (this.phase !== 'end') throw new JobError('server', `${what}: the server's answer broke off`)
    if (this.open) this.close()
    yield* this.made()
  }

  private begin(head: Buffer): void {
    Object.assign(this, { head, counted: 0, longestYet: 0, written: 0, open: false, begins: false })
    Object.assign(this, {
      phase: 'begin',
      kinds: [],
      out: output,
      header: 0,
      headerBytes: 0,
      left: 0,
      continued: false,
      gathered: undefined,
    })
  }

  private take(chunk: Buffer): void {
    this.memory.set(chunk, input)
    this.at = input
    this.until = input + chunk.length
  }

  /** What is in the output, and the head of a statement that begins behind it. */
  private *made(): Generator<Buffer> {
    const bytes = this.out - output
    if (bytes > 0) yield Buffer.from(this.memory.buffer, output, bytes)
    this.out = output
    this.written += bytes
    if (!this.begins) return
    yield this.head
    this.begins = false
    this.written = this.head.length
  }

  private put(bytes: Buffer): void {
    this.memory.set(bytes, this.out)
    this.out += bytes.length
  }

  /** True when all that was taken is passed, false when the output has to go first. */
  private pass(what: string): boolean {
    while (this.at < this.until) {
      if (this.phase === 'end') throw new JobError('server', `${what}: the server said more than its answer`)
      if (this.left === 0) this.readHeader(what)
      else if (this.gathered) this.gather(what)
      else if (this.fresh && this.isControl()) this.gathered = []
      else {
        if (this.fresh && !this.openStatement()) return false
        this.fields(what)
      }
      if (this.out > full) return false
    }
    return true
  }

  private readHeader(what: string): void {
    const byte = this.memory[this.at++] as number
    // the fourth numbers the packets
    if (this.headerBytes < 3) this.header |= byte << (8 * this.headerBytes)
    this.headerBytes += 1
    if (this.headerBytes < 4) return
    this.left = this.header
    this.fresh = !this.continued
    this.continued = this.left === longest
    this.header = 0
    this.headerBytes = 0
    if (!this.fresh) {
      // what is as long as some of the longest packets is ended by an empty one
      if (this.left === 0) this.endPacket(what)
      return
    }
    this.column = 0
    this.field = -1
    this.lengthBytes = 0
    if (this.phase !== 'rows') this.gathered = []
  }

  /** Of rows the first byte is the length of a value: 254 of one that has 16 MiB or more. */
  private isControl(): boolean {
    const first = this.memory[this.at] as number
    return first === 0xff || (first === 0xfe && this.left < 9)
  }

  private gather(what: string): void {
    const stop = Math.min(this.until, this.at + this.left)
    this.gathered?.push(Buffer.from(this.memory.subarray(this.at, stop)))
    this.left -= stop - this.at
    this.at = stop
    if (this.left === 0 && !this.continued) this.endPacket(what)
  }

  private endPacket(what: string): void {
    const packet = this.gathered && Buffer.concat(this.gathered)
    this.gathered = undefined
    if (packet) this.understand(packet, what)
    else this.endRow(what)
  }

  private understand(packet: Buffer, what: string): void {
    const first = packet[0] as number
    if (first === 0xff) throw new JobError('server', `${what}: ${packet.toString('utf8', packet[3] === 0x23 ? 9 : 3)}`)
    if (this.phase === 'begin') {
      // 0: no rows at all; 251: the server asks for a file
      if (first === 0 || first === 251 || first > 252) throw new JobError('server', `${what}: the server gives no rows`)
      this.columns = first < 251 ? first : packet.readUInt16LE(1)
      this.phase = 'columns'
    } else if (this.phase === 'columns') {
      if (this.kinds.length < this.columns) this.kinds.push(kindOf(packet, what))
      // the end of the columns
      else this.phase = 'rows'
    } else this.phase = 'end'
  }

  /** False when the head of one has to be put in first. */
  private openStatement(): boolean {
    const bytes = this.written + this.out - output
    const hasRows = this.open && bytes > this.head.length
    if (hasRows && bytes + this.left > statementBytes) this.close()
    if (!this.open) {
      this.open = true
      this.begins = true
      return false
    }
    if (hasRows) this.memory[this.out++] = comma
    this.memory[this.out++] = openingBracket
    this.fresh = false
    return true
  }

  private close(): void {
    this.longestYet = Math.max(this.longestYet, this.written + this.out - output)
    this.put(end)
    this.open = false
  }

  /** Passes on what there is of one row. */
  private fields(what: string): void {
    const { memory, kinds } = this
    const { escaped, hex } = this.literals
    let { at, out, field, column } = this
    const stop = Math.min(this.until, at + this.left)
    this.left -= stop - at
    while (at < stop) {
      const kind = kinds[column]
      if (field < 0) {
        const byte = memory[at++] as number
        if (this.lengthBytes > 0) {
          this.length += byte * this.lengthScale
          this.lengthScale *= 256
          this.lengthBytes -= 1
          if (this.lengthBytes > 0) continue
          field = this.length
        } else if (byte < 251) field = byte
        else if (byte === 251) {
          for (let i = 0; i < 4; i++) memory[out++] = nothing[i] as number
          column += 1
          memory[out++] = column === kinds.length ? closingBracket : comma
          continue
        } else {
          this.lengthBytes = byte === 252 ? 2 : byte === 253 ? 3 : 8
          this.length = 0
          this.lengthScale = 1
          continue
        }
        if (kind === 'text') memory[out++] = quote
        else if (kind === 'bytes') out = this.beginBytes(field, out)
      }
      const to = Math.min(stop, at + field)
      out = kind === 'bytes' ? hex(at, to, out) : escaped(at, to, out)
      field -= to - at
      at = to
      if (field > 0) continue
      if (kind === 'text') memory[out++] = quote
      field = -1
      column += 1
      memory[out++] = column === kinds.length ? closingBracket : comma
    }
    this.at = at
    this.out = out
    this.field = field
    this.column = column
    if (this.left === 0 && !this.continued) this.endPacket(what)
  }

  private beginBytes(length: number, at: number): number {
    const before = length > 0 ? zeroX : noBytes
    this.memory.set(before, at)
    return at + before.length
  }

  private endRow(what: string): void {
    if (this.column !== this.kinds.length || this.field >= 0)
      throw new JobError('server', `${what}: a row does not have the columns that the server named`)
    this.counted += 1
  }
}

/** Types of columns by their numbers in the protocol. */
const numbers = {
  ...{ DECIMAL: 0, TINY: 1, SHORT: 2, LONG: 3, FLOAT: 4, DOUBLE: 5, LONGLONG: 8, INT24: 9, YEAR: 13, NEWDECIMAL: 246 },
}
const texts = { TIMESTAMP: 7, DATE: 10, TIME: 11, DATETIME: 12, NEWDATE: 14, JSON: 245, ENUM: 247, SET: 248 }
/** Those whose character set says whether they are bytes. */
const strings = {
  ...{ VARCHAR: 15, TINY_BLOB: 249, MEDIUM_BLOB: 250, LONG_BLOB: 251, BLOB: 252, VAR_STRING: 253, STRING: 254 },
}
const bytes = { BIT: 16, VECTOR: 242, GEOMETRY: 255 }
const binary = 63

const kinds = new Map<number, Kind | 'string'>([
  ...Object.values(numbers).map((type) => [type, 'number'] as const),
  ...Object.values(texts).map((type) => [type, 'text'] as const),
  ...Object.values(strings).map((type) => [type, 'string'] as const),
  ...Object.values(bytes).map((type) => [type, 'bytes'] as const),
])

/** By the definition of a column: its type and character set stand at fixed places from its end. */
function kindOf(definition: Buffer, what: string): Kind {
  const type = definition[definition.length - 6] as number
  const kind = kinds.get(type)
  if (kind === undefined)
    throw new JobError('server', `${what}: a column has type ${type}, which is not known`, {
      hint: 'the server is newer than this engine: choose method: mysqldump',
    })
  if (kind !== 'string') return kind
  return definition.readUInt16LE(definition.length - 12) === binary ? 'bytes' : 'text'
}
