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

const query = 3

/**
 * What the server says to a statement, as the bytes come, for who understands them; at most `waitingBytes` wait. Does not know where the
 * answer ends: who takes it stops there, and closes the connection when it stops before. A chunk is lent until the next is asked for. Rejects
 * when the connection ends.
 */
export async function* answerTo(connection: Connection, sql: string): AsyncGenerator<Buffer> {
  const { connection: inside } = connection as unknown as { connection: Inside }
  const { packetParser, stream } = inside
  const chunks: Buffer[] = []
  let waiting = 0
  let closed = stream.destroyed
  let wake = () => {}
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
  stream.once('close', onClose)
  try {
    inside.write(packetOf(sql))
    for (;;) {
      const chunk = chunks.shift()
      if (chunk) {
        waiting -= chunk.length
        yield chunk
        release(chunk)
        if (chunks.length === 0) stream.resume()
      } else if (closed) throw new Error('the connection was closed')
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  } finally {
    inside.packetParser = packetParser
    stream.off('close', onClose)
    stream.resume()
  }
}

function packetOf(sql: string): Buffer {
  const text = Buffer.from(sql)
  const header = Buffer.alloc(5)
  header.writeUIntLE(text.length + 1, 0, 3)
  header[4] = query
  return Buffer.concat([header, text])
}
