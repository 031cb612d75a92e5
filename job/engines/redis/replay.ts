import { JobError } from '../../errors.ts'
import { crc64 } from './crc64.ts'
import type { Entry } from './entries.ts'
import { isRefusal, type Reply } from './protocol.ts'
import { shown } from './rdb.ts'
import { RefusedError, type Wire } from './wire.ts'

/** Commands are sent in blocks of about so many bytes, and so many bytes are unanswered at most: that, and a key, is the memory of it. */
const blockSize = 256 * 1024
const unansweredAtMost = 8 * blockSize

/** Larger values are sent from where they lie. */
const copyBelow = 32 * 1024

const restore = '\r\n$7\r\nRESTORE\r\n$'
const options = '\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n'

export interface Replay {
  /** Takes a key; its reply is checked later. Throws what went wrong so far. */
  restore(entry: Entry, rdbVersion: number): void
  /** Resolves when little enough is unanswered. */
  pace(): Promise<void>
  /** Resolves when every reply was good. */
  finish(): Promise<void>
}

interface Options {
  /** The server's time in ms. */
  now(): number
  /** It knows PEXPIRETIME. */
  readsEnds: boolean
}

/** What a command of a block is about, and the end that it asks back. */
interface Sent {
  key?: Buffer
  end?: number
}

/** Sends keys to one server with RESTORE, many at a time, and looks at every reply. Leaves the connection in database 0. */
export function replayTo(wire: Wire, { now, readsEnds }: Options): Replay {
  /** Answered, and used again: new ones would be garbage faster than it is collected. */
  const spare: Buffer[] = []
  let block: Buffer = Buffer.allocUnsafeSlow(blockSize)
  /** The blocks that the pieces are in. */
  let whole: Buffer[] = [block]
  let filled = 0
  let pieces: Buffer[] = []
  let bytes = 0
  let commands: Sent[] = []
  let database = 0
  let failure: unknown
  const unanswered = new Set<Promise<void>>()
  let outstanding = 0
  const checksum = crc64()

  function text(text: string): void {
    if (filled + text.length > block.length) turn(text.length)
    filled += block.write(text, filled, 'latin1')
    bytes += text.length
  }

  function put(data: Buffer): void {
    bytes += data.length
    if (data.length > copyBelow) {
      turn(0)
      pieces.push(data)
      return
    }
    if (filled + data.length > block.length) turn(data.length)
    data.copy(block, filled)
    filled += data.length
  }

  /** As DUMP would give it: type, value, version, checksum. */
  function putSerialized({ type, value, size }: Entry, rdbVersion: number): void {
    const whole = 1 + size + 10
    if (whole > copyBelow) {
      putLarge({ type, value }, rdbVersion)
      return
    }
    if (filled + whole > block.length) turn(whole)
    const from = filled
    filled = block.writeUInt8(type, filled)
    for (const piece of value) filled += piece.copy(block, filled)
    filled = block.writeUInt16LE(rdbVersion, filled)
    checksum.reset()
    checksum.update(block, from, filled)
    checksum.write(block, filled)
    filled += 8
    bytes += whole
  }

  function putLarge({ type, value }: Pick<Entry, 'type' | 'value'>, rdbVersion: number): void {
    const head = Buffer.from([type])
    const foot = Buffer.alloc(10)
    foot.writeUInt16LE(rdbVersion)
    checksum.reset()
    for (const piece of [head, ...value, foot.subarray(0, 2)]) checksum.update(piece)
    checksum.write(foot, 2)
    for (const piece of [head, ...value, foot]) put(piece)
  }

  /** What is filled becomes a piece; at least `room` bytes are free then. */
  function turn(room: number): void {
    if (filled > 0) pieces.push(block.subarray(0, filled))
    if (block.length - filled > room) block = block.subarray(filled)
    else whole.push(nextBlock())
    filled = 0
  }

  function nextBlock(): Buffer {
    block = spare.pop() ?? Buffer.allocUnsafeSlow(blockSize)
    return block
  }

  function flush(): void {
    if (commands.length === 0) return
    turn(0)
    const sent = commands
    const size = bytes
    const used = whole
    outstanding += size
    const answered = wire.send(pieces, sent.length).then((replies) => {
      const bad = replies.findIndex((reply, i) => !isGood(reply, sent[i]))
      if (bad >= 0) failure ??= wrong({ server: wire.server, sent: sent[bad] ?? {}, reply: replies[bad] ?? null })
    })
    const settled = answered
      .catch((error) => {
        failure ??= error
      })
      .finally(() => {
        unanswered.delete(settled)
        outstanding -= size
        spare.push(...used)
      })
    unanswered.add(settled)
    pieces = []
    bytes = 0
    commands = []
    whole = [nextBlock()]
  }

  function select(number: number): void {
    if (database === number) return
    database = number
    text(`*2\r\n$6\r\nSELECT\r\n$${`${number}`.length}\r\n${number}\r\n`)
    commands.push({})
  }

  function readEnd(key: Buffer, end: number): void {
    text(`*2\r\n$11\r\nPEXPIRETIME\r\n$${key.length}\r\n`)
    put(key)
    text('\r\n')
    commands.push({ key, end })
  }

  /** A key may expire on its way. */
  function isGood(reply: Reply, { end }: Sent = {}): boolean {
    if (isRefusal(reply)) return false
    return end === undefined || reply === end || (reply === -2 && end <= now())
  }

  function refuseFailed(): void {
    if (failure !== undefined) throw failure
  }

  return {
    restore: (entry, rdbVersion) => {
      refuseFailed()
      select(entry.database)
      const ttl = `${entry.expires ?? 0}`
      const access = accessOf(entry)
      text(`*${6 + access.count}${restore}${entry.key.length}\r\n`)
      put(entry.key)
      text(`\r\n$${ttl.length}\r\n${ttl}\r\n$${1 + entry.size + 10}\r\n`)
      putSerialized(entry, rdbVersion)
      text(`${options}${access.text}`)
      commands.push({ key: entry.key })
      if (readsEnds && entry.expires !== undefined) readEnd(entry.key, entry.expires)
      if (bytes >= blockSize) flush()
    },
    pace: async () => {
      while (outstanding > unansweredAtMost) await Promise.race(unanswered)
      refuseFailed()
    },
    finish: async () => {
      select(0)
      flush()
      while (unanswered.size > 0) await Promise.all(unanswered)
      refuseFailed()
    },
  }
}

/** How long a key was not used, or how often it is: what the policies for a full memory go by. */
function accessOf({ idle, frequency }: Entry): { count: number; text: string } {
  if (idle !== undefined) return { count: 2, text: `$8\r\nIDLETIME\r\n$${`${idle}`.length}\r\n${idle}\r\n` }
  if (frequency === undefined) return { count: 0, text: '' }
  return { count: 2, text: `$4\r\nFREQ\r\n$${`${frequency}`.length}\r\n${frequency}\r\n` }
}

function wrong({ server, sent: { key, end }, reply }: { server: string; sent: Sent; reply: Reply }): JobError {
  if (!isRefusal(reply))
    return new JobError(
      'verification',
      `key ${shown(key ?? noKey)} expires at ${reply} ms on ${server}, not at ${end} ms`,
    )
  const error = new RefusedError(server, key ? `RESTORE of key ${shown(key)}` : 'SELECT', reply.error)
  if (key) return error
  return new JobError('server', error.message, {
    hint: 'the target has fewer databases: raise `databases` in its configuration',
  })
}
const noKey = Buffer.alloc(0)
