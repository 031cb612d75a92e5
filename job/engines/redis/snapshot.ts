import type { Readable } from 'node:stream'
import { JobError } from '../../errors.ts'
import { infoOf, productOf } from './info.ts'
import { encode, isRefusal } from './protocol.ts'
import { RefusedError, type Wire } from './wire.ts'

/** A server's snapshot as it comes over the wire: the bytes of an RDB, and how its end can be told. */
export interface Snapshot {
  /** Which history of writes, and how far in it: the point of consistency. */
  replicationId: string
  offset: number
  /** Said beforehand, or a mark of 40 bytes behind the RDB. */
  framing: { size: number } | { mark: Buffer }
  chunks: AsyncIterable<Buffer>
}

/** Asks for a snapshot as a replica would. The server makes it now: nothing in it is older than this call. */
export async function requestSnapshot(wire: Wire): Promise<Snapshot> {
  const { version } = productOf(await infoOf(wire))
  await wire.ask('REPLCONF', 'CAPA', 'EOF')
  // Valkey 9 takes who says nothing for an old one, and cannot write its newer types for it
  await offer(wire, 'VERSION', version)
  // nothing is wanted after the snapshot: the writes of servers that do not know this are not read
  await offer(wire, 'RDB-ONLY', '1')
  const lines = linesOf(wire.stream('PSYNC', '?', '-1'), wire.server)
  const [, replicationId = '', offset = ''] =
    /^\+FULLRESYNC ([0-9a-f]{40}) (\d+)$/.exec(await answer(lines, wire)) ?? []
  const framing = framingOf(await lines.next(), wire.server)
  return { replicationId, offset: Number(offset), framing, chunks: lines.rest() }
}

/** Servers that do not know an option say so, and go on without. */
async function offer(wire: Wire, option: string, value: string): Promise<void> {
  const [reply = null] = await wire.send([encode(['REPLCONF', option, value])], 1)
  if (isRefusal(reply) && reply.error.startsWith('NOPERM')) throw new RefusedError(wire.server, 'REPLCONF', reply.error)
}

async function answer(lines: Lines, wire: Wire): Promise<string> {
  const line = await lines.next()
  if (line.startsWith('+FULLRESYNC ')) return line
  if (!line.startsWith('-'))
    throw new JobError('server', `${wire.server} answers PSYNC with ${JSON.stringify(line.slice(0, 60))}`)
  if (!/^-ERR unknown command/i.test(line)) throw new RefusedError(wire.server, 'PSYNC', line.slice(1))
  throw new JobError('server', `${wire.server} does not know PSYNC`, {
    hint: 'managed services forbid it to clients: their own snapshots are the way there',
  })
}

function framingOf(line: string, server: string): Snapshot['framing'] {
  const [, mark, size] = /^\$(?:EOF:(.{40})|(\d+))$/.exec(line) ?? []
  if (mark) return { mark: Buffer.from(mark, 'latin1') }
  if (size) return { size: Number(size) }
  const says = line.startsWith('-') ? line.slice(1) : JSON.stringify(line.slice(0, 60))
  throw new JobError('server', `${server} makes no snapshot: ${says}`, { hint: "the server's log says why" })
}

interface Lines {
  next(): Promise<string>
  /** What comes behind the lines. */
  rest(): AsyncIterable<Buffer>
}

/** While it prepares the snapshot, a server sends empty lines, so that it is known to live. */
function linesOf(stream: Readable, server: string): Lines {
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  let buffer: Buffer = Buffer.alloc(0)

  async function more(): Promise<void> {
    const { done, value } = await chunks.next()
    if (done) throw new JobError('server', `${server} closed the connection instead of sending a snapshot`)
    buffer = Buffer.concat([buffer, value])
  }

  return {
    next: async () => {
      for (;;) {
        while (buffer[0] === 10) buffer = buffer.subarray(1)
        const end = buffer.indexOf('\r\n')
        if (end >= 0) {
          const line = buffer.toString('latin1', 0, end)
          buffer = buffer.subarray(end + 2)
          return line
        }
        await more()
      }
    },
    rest: async function* () {
      if (buffer.length > 0) yield buffer
      for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value
    },
  }
}
