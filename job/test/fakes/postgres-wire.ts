import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

export type Row = Record<string, string | number | null>

/** What a statement gives, or throws: an SqlFault reaches the client as the server's error. */
export type Answer = (sql: string, values: (string | null)[]) => Promise<Row[]>

export class SqlFault extends Error {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

export interface WireServer {
  port: number
  close(): Promise<void>
}

/** The PostgreSQL protocol, version 3, as far as a driver uses it: login with a password, simple and extended queries, errors. */
export async function startWire({ password, answer }: { password: string; answer: Answer }): Promise<WireServer> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    serve(socket, password, answer)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

const sslRequest = 80877103

function serve(socket: Socket, password: string, answer: Answer): void {
  let held = Buffer.alloc(0)
  let started = false
  let busy = Promise.resolve()
  const session = queries(socket, password, answer)
  socket.on('data', (chunk) => {
    held = Buffer.concat([held, chunk])
    for (;;) {
      const head = started ? 1 : 0
      if (held.length < head + 4 || held.length < head + held.readInt32BE(head)) return
      const end = head + held.readInt32BE(head)
      const [kind, body] = [started ? String.fromCharCode(held[0] ?? 0) : '', held.subarray(head + 4, end)]
      held = held.subarray(end)
      if (!started && body.readInt32BE(0) === sslRequest) socket.write('N')
      else if (!started) {
        started = true
        socket.write(message('R', int32(3)))
      } else busy = busy.then(() => session(kind, body)).catch(() => void socket.destroy())
    }
  })
}

function queries(socket: Socket, password: string, answer: Answer) {
  let sql = ''
  let values: (string | null)[] = []
  let rows: Row[] = []
  let broken = false
  const send = (...messages: Buffer[]) => void socket.write(Buffer.concat(messages))
  const ready = () => message('Z', Buffer.from('I'))

  async function ask(): Promise<void> {
    rows = await answer(sql, values)
  }

  const handlers: Record<string, (body: Buffer) => Promise<void> | void> = {
    p: (body) => {
      if (texts(body)[0] === password) return send(message('R', int32(0)), ready())
      send(fault(new SqlFault('28P01', 'password authentication failed')))
      socket.end()
    },
    Q: async (body) => {
      ;[sql = '', values] = [texts(body)[0], []]
      await ask()
      send(description(rows), ...rows.map(dataRow), complete(rows), ready())
    },
    P: (body) => {
      sql = texts(body)[1] ?? ''
      send(message('1'))
    },
    B: async (body) => {
      values = bound(body)
      await ask()
      send(message('2'))
    },
    D: () => send(description(rows)),
    E: () => send(...rows.map(dataRow), complete(rows)),
    S: () => {
      broken = false
      send(ready())
    },
    X: () => void socket.end(),
  }

  return async (kind: string, body: Buffer): Promise<void> => {
    if (broken && kind !== 'S') return
    try {
      await handlers[kind]?.(body)
    } catch (error) {
      broken = kind !== 'Q'
      const known = error instanceof SqlFault ? error : new SqlFault('XX000', String(error))
      send(fault(known), ...(kind === 'Q' ? [ready()] : []))
    }
  }
}

function message(kind: string, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from(kind), int32(body.length + 4), body])
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`)
}

function texts(body: Buffer): string[] {
  return body.toString('utf8').split('\0')
}

function bound(body: Buffer): (string | null)[] {
  let at = body.indexOf(0, body.indexOf(0) + 1) + 1
  at += 2 + 2 * body.readInt16BE(at)
  const count = body.readInt16BE(at)
  at += 2
  return Array.from({ length: count }, () => {
    const size = body.readInt32BE(at)
    at += 4
    if (size < 0) return null
    at += size
    return body.subarray(at - size, at).toString('utf8')
  })
}

/** All columns are text. */
function description(rows: Row[]): Buffer {
  if (rows[0] === undefined) return message('T', int16(0))
  const names = Object.keys(rows[0])
  const column = (name: string) =>
    Buffer.concat([text(name), int32(0), int16(0), int32(25), int16(-1), int32(-1), int16(0)])
  return message('T', int16(names.length), ...names.map(column))
}

function dataRow(row: Row): Buffer {
  const cell = (value: string | number | null) => {
    if (value === null) return int32(-1)
    const bytes = Buffer.from(String(value))
    return Buffer.concat([int32(bytes.length), bytes])
  }
  return message('D', int16(Object.keys(row).length), ...Object.values(row).map(cell))
}

function complete(rows: Row[]): Buffer {
  return message('C', text(`SELECT ${rows.length}`))
}

function fault({ code, message: said }: SqlFault): Buffer {
  return message('E', Buffer.from(`SERROR\0VERROR\0C${code}\0M${said}\0\0`))
}
