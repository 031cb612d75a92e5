import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Transform } from 'node:stream'
import { createServer as createTlsServer } from 'node:tls'
import { BSON } from 'mongodb'

export interface MongoProxy {
  host: string
  close(): Promise<void>
}

interface Options {
  /** Clients speak TLS with it. */
  tls?: { cert: string; key: string }
  /** What the server says of itself on top: that it is a member of a replica set. */
  hello?: Record<string, unknown>
}

/** In front of a real server that has no TLS, or is no replica set. */
export async function startMongoProxy(port: number, { tls, hello }: Options): Promise<MongoProxy> {
  const sockets = new Set<Socket>()
  const serve = (client: Socket) => {
    const server = connect(port, '127.0.0.1')
    for (const socket of [client, server]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        client.destroy()
        server.destroy()
      })
    }
    client.pipe(server)
    if (hello) server.pipe(rewriting(hello)).pipe(client)
    else server.pipe(client)
  }
  const listener = tls ? createTlsServer(tls, serve) : createServer(serve)
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return {
    host: `127.0.0.1:${(listener.address() as AddressInfo).port}`,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      listener.close()
    },
  }
}

/** Where the document lies in a message of each kind: OP_REPLY and OP_MSG. */
const offsets: Record<number, number> = { 1: 36, 2013: 21 }

function rewriting(hello: Record<string, unknown>): Transform {
  let held = Buffer.alloc(0)
  return new Transform({
    transform(chunk: Buffer, _, done) {
      held = Buffer.concat([held, chunk])
      while (held.length >= 16 && held.length >= held.readInt32LE(0)) {
        const size = held.readInt32LE(0)
        this.push(rewritten(held.subarray(0, size), hello))
        held = held.subarray(size)
      }
      done()
    },
  })
}

function rewritten(message: Buffer, hello: Record<string, unknown>): Buffer {
  const at = offsets[message.readInt32LE(12)] ?? message.length
  if (message.length <= at || !message.includes('maxWireVersion')) return message
  const document = BSON.deserialize(message.subarray(at), { promoteValues: false })
  const changed = Buffer.concat([message.subarray(0, at), BSON.serialize({ ...document, ...hello })])
  changed.writeInt32LE(changed.length, 0)
  return changed
}
