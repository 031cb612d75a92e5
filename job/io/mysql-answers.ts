import type { Socket } from 'node:net'
import type { Connection } from 'mysql2/promise'
import { waitingBytes } from './lending.ts'
import { release } from './memory.ts'

/** What a connection of mysql2 is made of: all that it reads, decrypted, goes through its parser, and `stream` stands still when told. */
interface Inside {
  stream: Socket
  packetParser: { execute(chunk: Buffer): void }
  write(bytes: Buffer): void
}

function insideOf(connection: Connection): Inside {
  return (connection as unknown as { connection: Inside }).connection
}

export function socketOf(connection: Connection): Socket {
  return insideOf(connection).stream
}

const query = 3

interface Asked {
  sql: string
  /** The bytes so far are the whole answer. */
  ended(): boolean
}

/**
 * What the server says to a statement, as the bytes come, for who understands them; at most `waitingBytes` wait. A chunk is lent until the
 * next is asked for. Who stops before the answer has ended has no connection any more. Rejects when the connection ends.
 */
export async function* answerTo(connection: Connection, { sql, ended }: Asked): AsyncGenerator<Buffer> {
  const inside = insideOf(connection)
  const { packetParser, stream } = inside
  const chunks: Buffer[] = []
  let waiting = 0
  let closed = stream.destroyed
  let cause: unknown
  let wake = () => {}
  const onError = (error: Error) => {
    cause = error
  }
  const onClose = () => {
    closed = true
    wake()
  }
  inside.packetParser = {
    execute: (chunk) => {
      chunks.push(chunk)
      waiting += chunk.length
      if (waiting >= waitingBytes) stream.pause()
      wake()
    },
  }
  stream.once('error', onError).once('close', onClose)
  try {
    inside.write(packetOf(sql))
    for (;;) {
      const chunk = chunks.shift()
      if (chunk) {
        waiting -= chunk.length
        yield chunk
        release(chunk)
        if (chunks.length === 0) stream.resume()
      } else if (closed)
        throw new Error(`the connection was closed${cause ? `: ${(cause as Error).message}` : ''}`, { cause })
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  } finally {
    stream.off('error', onError).off('close', onClose)
    if (ended()) {
      inside.packetParser = packetParser
      stream.resume()
    } else stream.destroy()
  }
}

function packetOf(sql: string): Buffer {
  const text = Buffer.from(sql)
  const header = Buffer.alloc(5)
  header.writeUIntLE(text.length + 1, 0, 3)
  header[4] = query
  return Buffer.concat([header, text])
}
