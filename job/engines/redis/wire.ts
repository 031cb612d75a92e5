import { connect as connectTcp, isIP, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { JobError, textOf } from '../../errors.ts'
import { addressText, certificateHint, type TlsTexts, tlsOptions } from '../../io/connection.ts'
import { type Argument, encode, isRefusal, type Reply, replies } from './protocol.ts'

export interface Address {
  host: string
  port: number
}

/** Holds a password: never logged, never serialised. */
export interface Login {
  account: { user: string; password: string } | undefined
  tls: TlsTexts
  /** Values paths, for hints. */
  at: string
  accountAt: string
}

/** One connection. Every reply is awaited in its turn; when the connection breaks, all that wait are rejected. */
export interface Wire {
  /** host:port */
  readonly server: string
  /** Rejects with a `RefusedError` when the server refuses. */
  ask(...args: Argument[]): Promise<Reply>
  /** Sends whole commands, already encoded, and resolves to their replies. */
  send(pieces: readonly Buffer[], commands: number): Promise<Reply[]>
  /** Sends a command whose answer is no reply: what the server says from now on. It errors when the connection breaks. */
  stream(...args: Argument[]): Readable
  close(): void
}

/** What a server answered instead: `code` is the first word of it. */
export class RefusedError extends JobError {
  readonly code: string

  constructor(server: string, command: string, says: string) {
    super('server', `${server} refuses ${command}: ${says}`, { hint: hintOf(says) })
    this.code = says.split(' ', 1)[0] ?? ''
  }
}

/** Managed services keep some commands to themselves. */
export function unlessRefused(error: unknown): undefined {
  if (!(error instanceof RefusedError)) throw error
}

function hintOf(says: string): string | undefined {
  if (says.startsWith('NOPERM')) return 'docs/engines/redis.md has the least rights that the account needs'
  if (says.startsWith('OOM')) return 'raise maxmemory of the target: it needs the memory of the source'
  if (says.startsWith('LOADING')) return 'the server is still reading its own files: try again later'
  if (/^(MOVED|ASK|CLUSTERDOWN|TRYAGAIN)/.test(says))
    return 'slots of the cluster are moving: try again when it is at rest'
  return undefined
}

/** Nothing heard for so long, while something is awaited: the server is gone. */
const silenceMs = 300_000

/** Connects and logs in. Aborting the signal breaks the connection. */
export async function openWire(address: Address, login: Login, signal: AbortSignal): Promise<Wire> {
  signal.throwIfAborted()
  const server = nameOf(address)
  const socket = await connected(address, login, signal)
  const wire = wireOn(socket, server, signal)
  try {
    const { account } = login
    if (account) await wire.ask('AUTH', Buffer.from(account.user), Buffer.from(account.password))
    else await wire.ask('PING')
    return wire
  } catch (error) {
    wire.close()
    throw error instanceof RefusedError ? refusedLogin(error, server, login) : error
  }
}

export async function withWire<T>(
  address: Address,
  { login, signal }: { login: Login; signal: AbortSignal },
  use: (wire: Wire) => Promise<T>,
): Promise<T> {
  const wire = await openWire(address, login, signal)
  try {
    return await use(wire)
  } finally {
    wire.close()
  }
}

export function nameOf({ host, port }: Address): string {
  return addressText(host, port)
}

function connected(address: Address, { tls, at }: Login, signal: AbortSignal): Promise<Socket> {
  const { host, port } = address
  const secure = tls.mode !== 'disabled'
  const socket = secure
    ? connectTls({ host, port, ...(isIP(host) ? {} : { servername: host }), ...tlsOptions(tls) })
    : connectTcp({ host, port })
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => {
      socket.destroy()
      reject(signal.aborted ? signal.reason : unreachable({ address, tls, at, cause }))
    }
    const abort = () => fail(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    let reached = false
    socket.once('connect', () => {
      reached = true
    })
    // a server without TLS waits for the end of what it takes for a command
    socket.setTimeout(15_000, () => fail(new Error(`it does not answer${secure && reached ? ' to TLS' : ''}`)))
    socket.once('error', fail)
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      signal.removeEventListener('abort', abort)
      socket.off('error', fail)
      socket.removeAllListeners('timeout')
      socket.setTimeout(0)
      socket.setKeepAlive(true, 30_000)
      socket.setNoDelay(true)
      resolve(socket)
    })
  })
}

function wireOn(socket: Socket, server: string, signal: AbortSignal): Wire {
  const incoming = replies()
  const waiting: { left: number; got: Reply[]; resolve(got: Reply[]): void; reject(error: unknown): void }[] = []
  let broken: unknown

  function fail(error: unknown): void {
    broken ??= signal.aborted ? signal.reason : error
    for (const one of waiting.splice(0)) one.reject(broken)
    socket.destroy(broken instanceof Error ? broken : undefined)
  }
  const closed = () =>
    fail(new JobError('server', `${server} closed the connection`, { hint: "the server's log may say why" }))
  const failed = (cause: Error) =>
    fail(new JobError('server', `the connection to ${server} broke: ${textOf(cause)}`, { cause }))
  const abort = () => fail(signal.reason)

  function hear(chunk: Buffer): void {
    try {
      incoming.add(chunk)
      for (let first = waiting[0]; first; first = waiting[0]) {
        const reply = incoming.take()
        if (reply === undefined) return
        first.got.push(reply)
        first.left -= 1
        if (first.left === 0) waiting.shift()?.resolve(first.got)
      }
    } catch (cause) {
      failed(cause as Error)
    }
  }

  function send(pieces: readonly Buffer[], commands: number): Promise<Reply[]> {
    if (broken !== undefined) return Promise.reject(broken)
    return new Promise((resolve, reject) => {
      waiting.push({ left: commands, got: [], resolve, reject })
      for (const piece of pieces) socket.write(piece)
    })
  }

  socket.on('data', hear)
  socket.on('error', failed)
  socket.on('close', closed)
  socket.setTimeout(silenceMs, () => {
    if (waiting.length > 0) failed(new Error(`it said nothing for ${silenceMs / 1000} s`))
  })
  signal.addEventListener('abort', abort, { once: true })

  return {
    server,
    send,
    ask: async (...args) => {
      const [reply = null] = await send([encode(args)], 1)
      if (isRefusal(reply)) throw new RefusedError(server, commandOf(args), reply.error)
      return reply
    },
    stream: (...args) => {
      socket.off('data', hear)
      socket.pause()
      socket.write(encode(args))
      const rest = incoming.rest()
      if (rest.length > 0) socket.unshift(rest)
      socket.setTimeout(silenceMs, () => failed(new Error(`it said nothing for ${silenceMs / 1000} s`)))
      return socket
    },
    close: () => {
      signal.removeEventListener('abort', abort)
      socket.off('close', closed)
      socket.destroy()
    },
  }
}

/** Arguments may be keys, values or passwords: the name of the command says enough. */
function commandOf([name, sub]: readonly Argument[]): string {
  const two = ['ACL', 'CLUSTER', 'CONFIG', 'CLIENT', 'FUNCTION', 'SENTINEL'].includes(`${name}`)
  return two ? `${name} ${sub}` : `${name}`
}

function refusedLogin(error: RefusedError, server: string, { account, accountAt }: Login): JobError {
  const says = error.message.replace(/^.* refuses \w+: /, '')
  if (error.code === 'LOADING') return error
  const hint = account
    ? `check the Secret of ${accountAt}, and the ACL user ${account.user}`
    : `the server wants an account: name its Secret with ${accountAt}`
  return new JobError('server', `${server} refuses the login${account ? ` as ${account.user}` : ''}: ${says}`, {
    hint,
    cause: error,
  })
}

interface Unreachable {
  address: Address
  tls: TlsTexts
  at: string
  cause: unknown
}

function unreachable({ address, tls, at, cause }: Unreachable): JobError {
  const { code = '', message = '' } = cause as { code?: string; message?: string }
  let hint = 'check host and port, that the server runs, and the network policy'
  if (
    tls.mode !== 'disabled' &&
    /ECONNRESET|wrong version|EPROTO|disconnected before|to TLS/i.test(`${code} ${message}`)
  )
    hint = `the server may have no TLS on this port: set ${at}.tls.mode: disabled`
  else hint = certificateHint(`${code} ${message}`, { tls, at: `${at}.tls` }) ?? hint
  return new JobError('server', `${nameOf(address)} cannot be reached: ${message || code}`, { hint, cause })
}
