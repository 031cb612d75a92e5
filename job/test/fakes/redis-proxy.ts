import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** Stands between a client and a Redis server, and spoils what is said. */
export interface RedisProxy {
  readonly port: number
  /** Of the connection that asks for a snapshot: only so many bytes come, then it ends. Negative: so many less than all. */
  cutSnapshotAfter(bytes: number): void
  /** Changes one bit at this place of it. */
  flipInSnapshot(at: number): void
  /** Of all that clients say only so many bytes go through; `stopped` resolves then. */
  stopAfter(bytes: number): void
  readonly stopped: Promise<void>
  close(): Promise<void>
}

export async function startRedisProxy({ host, port }: { host: string; port: number }): Promise<RedisProxy> {
  const sockets = new Set<Socket>()
  const stopped = Promise.withResolvers<void>()
  let allowed = Number.POSITIVE_INFINITY
  let cut: number | undefined
  let flip: number | undefined

  const server = createServer((near) => {
    const far = connect({ host, port })
    const snapshot = { asked: false, passed: 0, mark: '' }
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
    near.on('data', (said: Buffer) => {
      if (said.includes('PSYNC')) snapshot.asked = true
      const passes = said.subarray(0, Math.max(0, allowed))
      allowed -= said.length
      if (passes.length > 0) far.write(passes)
      if (allowed <= 0) stopped.resolve()
    })
    near.on('close', () => far.destroy())
    far.on('data', (said: Buffer) => {
      if (!snapshot.asked) return void near.write(said)
      const at = (flip ?? -1) - snapshot.passed
      if (at >= 0 && at < said.length) said[at] = (said[at] as number) ^ 1
      snapshot.passed += said.length
      snapshot.mark ||= /\$EOF:(.{40})/.exec(said.toString('latin1'))?.[1] ?? ''
      const last = snapshot.mark !== '' && said.toString('latin1').endsWith(snapshot.mark)
      if (cut !== undefined && cut < 0 && last) near.end(said.subarray(0, cut))
      else if (cut === undefined || cut < 0 || snapshot.passed < cut) near.write(said)
      else near.end(said.subarray(0, said.length - (snapshot.passed - cut)))
    })
    far.on('end', () => near.end())
    far.on('close', () => near.end())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    port: (server.address() as AddressInfo).port,
    cutSnapshotAfter: (bytes) => {
      cut = bytes
    },
    flipInSnapshot: (at) => {
      flip = at
    },
    stopAfter: (bytes) => {
      allowed = bytes
    },
    stopped: stopped.promise,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
