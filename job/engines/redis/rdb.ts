import { JobError } from '../../errors.ts'
import { broken, incomplete, openCursor } from './cursor.ts'
import { type Encoding, encodingOf, type Product } from './encodings.ts'
import { openWalker } from './walker.ts'

/** What stands before a value. Used again for the next key: take what is needed when it is told. */
export interface Head {
  database: number
  /** The first byte of a serialised value. */
  type: number
  encoding: Encoding
  /** Milliseconds since 1970. */
  expires: number | undefined
  /** Seconds since its last use, and how often it is used: servers with such a policy write one of them. */
  idle: number | undefined
  frequency: number | undefined
  /** Made when it is asked for. */
  key(): Buffer
  /** Bytes of the key as it is written: compressed, or as a number, it may be shorter than `key`. */
  keySize(): number
}

/** Positions in the buffer that is being read: they mean nothing later. */
export interface Span {
  buffer: Buffer
  from: number
  to: number
}

export interface Other {
  /** `hint`: sizes for the loading server; `module`: what a module keeps beside its keys. */
  kind: 'aux' | 'database' | 'hint' | 'function' | 'module'
  database: number
  /** The last string of it. */
  text(): Buffer
}

/** Told while an RDB passes. */
export interface Listener {
  header?(header: { product: Product; version: number }): void
  /** Anything but a key. */
  other?(other: Other, span: Span): void
  /** A key, from its first opcode to where its value begins. */
  key?(head: Head, span: Span): void
  /** The next bytes of its value. */
  value?(span: Span): void
  /** The value ended at `to`. */
  ended?(to: number): void
  /** The mark of the end and its checksum, eight bytes, which are 0 when the server makes none. */
  finished?(span: Span): void
}

export interface Scanner {
  /** Reads on. `buffer` is done with up to `until`; the rest of it comes again at the beginning of the next one. */
  write(chunk: Buffer): { buffer: Buffer; until: number }
  /** The RDB was read to its last byte. */
  readonly complete: boolean
}

/** Finds the keys of an RDB while it passes, in the memory of a chunk: values may have any size. Throws `verification`. */
export function scan(listener: Listener): Scanner {
  const cursor = openCursor()
  const walker = openWalker(cursor)
  let state: 'header' | 'record' | 'value' | 'complete' = 'header'
  let product: Product = 'Redis'
  let rest: Buffer | undefined
  const span: Span = { buffer: cursor.buffer, from: 0, to: 0 }
  const head: Head = {
    database: 0,
    type: 0,
    encoding: { type: '', steps: [] },
    expires: undefined,
    idle: undefined,
    frequency: undefined,
    key: cursor.text,
    keySize: cursor.size,
  }

  function since(from: number): Span {
    span.buffer = cursor.buffer
    span.from = from
    span.to = cursor.at
    return span
  }

  function readHeader(): void {
    const from = cursor.need(9)
    const found = /^(?:REDIS(\d{4})|VALKEY(\d{3}))$/.exec(cursor.buffer.toString('latin1', from, cursor.at))
    if (!found) throw broken('it does not begin as one')
    product = found[2] ? 'Valkey' : 'Redis'
    listener.header?.({ product, version: Number(found[1] ?? found[2]) })
    state = 'record'
  }

  /** What belongs to one key is read in one go, and again when bytes are missing. */
  function readRecord(): void {
    head.expires = undefined
    head.idle = undefined
    head.frequency = undefined
    for (;;) {
      const code = cursor.byte()
      const read = code < 200 ? readKey : code === 0xff ? readEnd : undefined
      if (read) {
        read(code)
        return
      }
      if (code === 0xfc) head.expires = milliseconds(cursor.buffer, cursor.need(8))
      else if (code === 0xfd) head.expires = cursor.buffer.readInt32LE(cursor.need(4)) * 1000
      else if (code === 0xf8) head.idle = cursor.length()
      else if (code === 0xf9) head.frequency = cursor.byte()
      else {
        readOther(code)
        return
      }
    }
  }

  function readKey(type: number): void {
    cursor.string()
    const encoding = encodingOf(type, product)
    if (!encoding) throw unknown(`a value of type ${type} (key ${shown(cursor.text())})`)
    head.type = type
    head.encoding = encoding
    listener.key?.(head, since(cursor.mark))
    walker.begin(encoding.steps)
    state = 'value'
  }

  function readValue(): void {
    const from = cursor.at
    try {
      walker.walk()
    } finally {
      // the rest is read again with what is missing of it
      if (cursor.mark > from) listener.value?.({ buffer: cursor.buffer, from, to: cursor.mark })
    }
    state = 'record'
    listener.ended?.(cursor.at)
  }

  function readOther(code: number): void {
    const kind = kinds[code]
    if (!kind) throw unknown(`a record of kind ${code}`)
    if (kind === 'aux') cursor.string()
    if (kind === 'aux' || kind === 'function') cursor.string()
    if (kind === 'database') head.database = cursor.length()
    if (kind === 'hint') for (let numbers = code === 0xf4 ? 3 : 2; numbers > 0; numbers--) cursor.length()
    if (kind === 'module') readModule()
    listener.other?.({ kind, database: head.database, text: cursor.text }, since(cursor.mark))
  }

  function readModule(): void {
    for (let numbers = 3; numbers > 0; numbers--) cursor.length()
    for (let code = cursor.length(); code !== 0; code = cursor.length()) {
      if (code === 1 || code === 2) cursor.length()
      else if (code === 3 || code === 4) cursor.need(code === 3 ? 4 : 8)
      else if (code === 5) cursor.string()
      else throw broken(`what a module keeps has the opcode ${code}`)
    }
  }

  function readEnd(): void {
    cursor.need(8)
    state = 'complete'
    listener.finished?.(since(cursor.mark))
  }

  function read(): void {
    while (state !== 'complete') {
      cursor.mark = cursor.at
      if (state === 'header') readHeader()
      else if (state === 'record') readRecord()
      else readValue()
    }
    cursor.mark = cursor.at
  }

  return {
    write: (chunk) => {
      cursor.buffer = rest ? Buffer.concat([rest, chunk]) : chunk
      cursor.at = 0
      cursor.mark = 0
      try {
        read()
      } catch (error) {
        if (error !== incomplete) throw error
      }
      const { buffer, mark: until } = cursor
      rest = until < buffer.length ? buffer.subarray(until) : undefined
      return { buffer, until }
    },
    get complete() {
      return state === 'complete'
    },
  }
}

/** 64 bits with a sign: a BigInt for each key would be garbage faster than it is collected. */
function milliseconds(buffer: Buffer, at: number): number {
  return buffer.readInt32LE(at + 4) * 2 ** 32 + buffer.readUInt32LE(at)
}

const kinds: Record<number, Other['kind']> = {
  244: 'hint',
  245: 'function',
  247: 'module',
  250: 'aux',
  251: 'hint',
  254: 'database',
}

function unknown(what: string): JobError {
  return new JobError('verification', `the snapshot has ${what}, which this version does not know`, {
    hint: 'a newer version of holdfast may: what is not known is not backed up as if it were',
  })
}

/** A key for people: its bytes as text, quoted, cut when it is long. */
export function shown(key: Buffer): string {
  const text = key.subarray(0, 100).toString('utf8')
  return JSON.stringify(key.length > 100 ? `${text}…` : text)
}
