import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** Stands between a client and a server of any protocol, and breaks what is between them. */
export interface TcpProxy {
  readonly port: number
  /** How many connections there were. */
  readonly connections: number
  /** Resets all connections; new ones are let through. */
  cut(): void
  /** Resets all connections, and new ones at once, until `open`. */
  close(): void
  open(): void
  stop(): Promise<void>
}

export async function startTcpProxy({ host, port }: { host: string; port: number }): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  let connections = 0
  let closed = false
  const server = createServer((near) => {
    connections += 1
    if (closed) return void near.resetAndDestroy()
    const far = connect({ host, port })
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
      one.pipe(other)
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy()
  }
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections
    },
    cut,
    close: () => {
      closed = true
      cut()
    },
    open: () => {
      closed = false
    },
    stop: async () => {
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}
