import { Readable } from 'node:stream'
import { JobError } from '../../errors.ts'
import { type Crc64, crc64 } from './crc64.ts'
import { stringIn } from './cursor.ts'
import { type Listener, type Scanner, scan } from './rdb.ts'
import { isMarker, type Selection } from './selection.ts'
import type { Snapshot } from './snapshot.ts'

/** What passed, and was kept. */
export interface Counted {
  version: number
  databases: Record<string, { keys: number; expires: number }>
  types: Record<string, number>
  /** Bytes of the largest serialised value. */
  largest: number
  functions: string[]
  /** Modules have data of their own beside the keys. */
  moduleData: boolean
  /** What restores left there, as it stood at the snapshot. */
  markers?: Buffer
}

export interface Dump {
  /** An RDB file of what is chosen. Errors unless the whole of the snapshot came, with a right checksum. */
  stream: Readable
  /** After the end of the stream. */
  counted: Counted
}

/** A server's snapshot as an RDB file, read while it passes; what is not chosen, and our marker, is left out. */
export function dumpOf(snapshot: Snapshot, { selection, server }: { selection: Selection; server: string }): Dump {
  const counted = nothing()
  return { counted, stream: Readable.from(passing({ snapshot, selection, server, counted }), { objectMode: false }) }
}

export function nothing(): Counted {
  return { version: 0, databases: {}, types: {}, largest: 0, functions: [], moduleData: false }
}

interface Passing {
  snapshot: Snapshot
  selection: Selection
  server: string
  counted: Counted
}

async function* passing({ snapshot, selection, server, counted }: Passing): AsyncGenerator<Buffer> {
  const sieve = openSieve(selection, counted)
  const { framing } = snapshot
  let size = 0
  let behind: Buffer[] = []
  for await (const chunk of snapshot.chunks) {
    if (!sieve.complete) {
      size += chunk.length
      const after = sieve.write(chunk)
      yield* sieve.kept()
      if (after) behind = [after]
      if (after) size -= after.length
    } else behind.push(chunk)
    if (sieve.complete && lengthOf(behind) >= ('mark' in framing ? framing.mark.length : 0)) break
  }
  if (!sieve.complete)
    throw new JobError(
      'server',
      `${server} closed the connection after ${size} bytes, before the end of its snapshot`,
      {
        hint: "the server's log says why: memory for the fork, client-output-buffer-limit replica, repl-timeout",
      },
    )
  const right = 'mark' in framing ? Buffer.concat(behind).indexOf(framing.mark) === 0 : size === framing.size
  if (!right) throw new JobError('server', `the snapshot of ${server} does not end where the server said that it would`)
}

function lengthOf(buffers: Buffer[]): number {
  return buffers.reduce((sum, one) => sum + one.length, 0)
}

/** Reads an RDB and gives back what of it is kept, with a checksum of its own once something was left out. */
function openSieve(selection: Selection, counted: Counted) {
  const seen = crc64()
  let made: Crc64 | undefined
  let out: Buffer[] = []
  /** In the buffer that is being read: from where on it is kept; negative while a key is left out. */
  let from = 0
  let buffer: Buffer = Buffer.alloc(0)
  /** The value of our own key, while it is being read. */
  let ours: Buffer[] | undefined

  function keep(to: number): void {
    if (from < 0 || to <= from) return
    made?.update(buffer, from, to)
    out.push(buffer.subarray(from, to))
  }

  function leaveOut(begin: number): void {
    made ??= seen.copy()
    keep(begin)
    from = -1
  }

  const counter = counting(counted)
  const listener: Listener = {
    ...counter,
    other: (other, span) => {
      buffer = span.buffer
      if (other.kind === 'hint' && !selection.database(other.database)) {
        leaveOut(span.from)
        from = span.to
      } else counter.other?.(other, span)
    },
    key: (head, span) => {
      buffer = span.buffer
      if (isMarker(head)) ours = []
      const kept = !ours && selection.database(head.database) && selection.key(head.key)
      if (kept) counter.key?.(head, span)
      else leaveOut(span.from)
    },
    value: (span) => {
      ours?.push(Buffer.from(span.buffer.subarray(span.from, span.to)))
      if (from >= 0) counter.value?.(span)
    },
    ended: (to) => {
      if (ours) counted.markers = stringIn(Buffer.concat(ours))
      ours = undefined
      if (from < 0) from = to
      else counter.ended?.(to)
    },
    finished: ({ buffer: last, from: begin, to }) => {
      buffer = last
      keep(begin)
      seen.update(last, 0, to - 8)
      refuseDamaged(seen, last.subarray(to - 8, to))
      out.push(made ? endWith(made) : last.subarray(begin, to))
    },
  }
  const scanner: Scanner = scan(listener)

  return {
    get complete() {
      return scanner.complete
    },
    /** What follows the end, once it is there. */
    write: (chunk: Buffer): Buffer | undefined => {
      from = Math.min(from, 0)
      const read = scanner.write(chunk)
      buffer = read.buffer
      if (scanner.complete) return buffer.subarray(read.until)
      keep(read.until)
      seen.update(buffer, 0, read.until)
      return undefined
    },
    kept: () => {
      const all = out
      out = []
      return all
    },
  }
}

/** The last eight bytes are 0 on servers with `rdbchecksum no`. */
function refuseDamaged(seen: Crc64, said: Buffer): void {
  const found = Buffer.alloc(8)
  seen.write(found, 0)
  if (found.equals(said) || said.equals(Buffer.alloc(8))) return
  throw new JobError('verification', 'the snapshot came damaged: its checksum is not what the server made of it', {
    hint: 'run again; if it repeats, look at the memory of the machine and at the network',
  })
}

function endWith(made: Crc64): Buffer {
  const end = Buffer.alloc(9, 0xff)
  made.update(end, 0, 1)
  made.write(end, 1)
  return end
}

/** Counts into `counted`. */
export function counting(counted: Counted): Listener {
  let database = -1
  let counts = { keys: 0, expires: 0 }
  let size = 0
  return {
    header: ({ version }) => {
      counted.version = version
    },
    other: ({ kind, text }) => {
      if (kind === 'function') counted.functions.push(/name=(\S+)/.exec(text().toString('utf8'))?.[1] ?? '')
      if (kind === 'module') counted.moduleData = true
    },
    key: (head) => {
      if (head.database !== database) {
        database = head.database
        counts = counted.databases[database] ??= { keys: 0, expires: 0 }
      }
      counts.keys += 1
      if (head.expires !== undefined) counts.expires += 1
      const { type } = head.encoding
      counted.types[type] = (counted.types[type] ?? 0) + 1
      size = 1
    },
    value: ({ from, to }) => {
      size += to - from
    },
    ended: () => {
      if (size > counted.largest) counted.largest = size
    },
  }
}
