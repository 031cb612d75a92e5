import type { Connection, RowDataPacket } from 'mysql2/promise'
import { JobError } from '../errors.ts'
import { certificateHint, type TlsTexts, tlsOptions } from './connection.ts'
import { answerTo, socketOf } from './mysql-answers.ts'

/** One MySQL server and how to log in to it. Holds the password: never logged, never serialised. */
export interface Login {
  /** For people: host:port or the socket. */
  server: string
  host?: string
  port?: number
  socketPath?: string
  user: string
  password: string
  tls: TlsTexts
  /** Where the values say `tls`, for hints. */
  tlsAt: string
}

/** Opens a session, hands it to `use`, closes it. `bytes`: statements and results pass as latin1 without conversion. */
export async function withMysql<T>(
  login: Login,
  use: (session: Session) => Promise<T>,
  options: { bytes?: boolean; signal?: AbortSignal } = {},
): Promise<T> {
  const session = await open(login, options)
  try {
    return await use(session)
  } finally {
    session.close()
  }
}

export interface Session {
  readonly server: string
  rows<Row extends object>(sql: string, values?: unknown[]): Promise<Row[]>
  /** For statements whose texts may hold a secret or a dump's bytes: the error names `what` and the server's message. */
  execute(sql: string, what?: string): Promise<void>
  close(): void
}

export interface ReadingSession extends Session {
  /** The bytes of the answer (`io/mysql-answers.ts`). */
  answer(asked: { sql: string; what: string; ended(): boolean }): AsyncIterable<Buffer>
}

/** A session that its caller closes; aborting the signal breaks it. */
export async function open(
  login: Login,
  { bytes = false, signal }: { bytes?: boolean; signal?: AbortSignal } = {},
): Promise<ReadingSession> {
  signal?.throwIfAborted()
  const connection = await connect(login, bytes)
  // mysql2 follows the server's tracking of SET NAMES and would convert the bytes from then on
  if (bytes) await connection.query("SET SESSION session_track_system_variables = ''")
  // a connection that is lost while nothing is asked says so to the next who asks
  connection.on('error', () => {})
  const closed = Promise.withResolvers<never>()
  closed.promise.catch(() => {})
  // the driver waits for the server, which does not look whether somebody still listens, and does not end what was asked
  const end = () => {
    connection.destroy()
    socketOf(connection).destroy()
    closed.reject(new Error('the session was closed'))
  }
  signal?.addEventListener('abort', end, { once: true })
  if (signal?.aborted) end()
  signal?.throwIfAborted()
  const asked = <T>(answer: Promise<T>): Promise<T> => Promise.race([answer, closed.promise])
  return {
    server: login.server,
    rows: async (sql, values) => {
      try {
        const [rows] = await asked(connection.query<RowDataPacket[]>(sql, values))
        return rows as never
      } catch (cause) {
        throw failed({ login, what: sql.slice(0, 60), cause, signal, bytes })
      }
    },
    execute: async (sql, what = sql.slice(0, 60)) => {
      try {
        await asked(connection.query(sql))
      } catch (cause) {
        throw failed({ login, what, cause, signal, bytes })
      }
    },
    answer: async function* ({ sql, what, ended }) {
      try {
        yield* answerTo(connection, { sql, ended })
      } catch (cause) {
        throw failed({ login, what, cause, signal, bytes })
      }
    },
    close: () => {
      signal?.removeEventListener('abort', end)
      end()
    },
  }
}

async function connect(login: Login, bytes: boolean): Promise<Connection> {
  const { host, port, socketPath, user, password, tls } = login
  // workers have this module too, but no session
  const { createConnection } = await import('mysql2/promise')
  try {
    return await createConnection({
      ...(socketPath ? { socketPath } : { host: host as string, port: port as number }),
      user,
      password,
      connectTimeout: 15_000,
      supportBigNumbers: true,
      bigNumberStrings: true,
      dateStrings: true,
      enableKeepAlive: true,
      keepAliveInitialDelay: 60_000,
      // a statement is then its text alone (mysql-answers.ts)
      flags: ['-CLIENT_QUERY_ATTRIBUTES'],
      charset: bytes ? 'BINARY' : 'UTF8MB4_0900_AI_CI',
      ...(tls.mode === 'disabled' || socketPath ? {} : { ssl: sslOf(tls) }),
    })
  } catch (cause) {
    throw unreachable(login, cause)
  }
}

/** mysql2 compares the name by itself. */
function sslOf(tls: TlsTexts) {
  const { checkServerIdentity: _, ...options } = tlsOptions(tls)
  return { ...options, verifyIdentity: tls.mode === 'verify-identity' }
}

function unreachable({ server, user, tls, tlsAt }: Login, cause: unknown): JobError {
  const { code = '', message = '' } = cause as { code?: string; message?: string }
  let hint = 'check host and port, that the server runs, and the network policy'
  if (code === 'ER_ACCESS_DENIED_ERROR') hint = `check the Secret of the credentials and the account ${user}`
  else if (code === 'HANDSHAKE_NO_SSL_SUPPORT')
    hint = `the server has no TLS: give it a certificate, or set ${tlsAt}.mode: disabled`
  else hint = certificateHint(`${code} ${message}`, { tls, at: tlsAt }) ?? hint
  return new JobError('server', `MySQL server ${server} refuses the connection as ${user}: ${message || code}`, {
    hint,
    cause,
  })
}

/** A server error keeps its number, so that callers can tell an absent table from a lost connection. */
export class SqlError extends JobError {
  readonly errno: number

  constructor(message: string, errno: number, cause: unknown, hint?: string) {
    super('server', message, { cause, hint })
    this.errno = errno
  }
}

interface Failure {
  login: Login
  what: string
  cause: unknown
  signal: AbortSignal | undefined
  bytes: boolean
}

function failed({ login, what, cause, signal, bytes }: Failure): unknown {
  if (signal?.aborted) return signal.reason
  const {
    errno = 0,
    message = String(cause),
    sqlMessage = message,
  } = cause as { errno?: number; message?: string; sqlMessage?: string }
  // what the driver says of a connection that the server ended
  if (errno === 0 && /closed state|connection lost/i.test(message))
    return new SqlError(`MySQL server ${login.server} ended the connection`, 0, cause, lostHint)
  const says = bytes ? Buffer.from(sqlMessage, 'latin1').toString('utf8') : sqlMessage
  // a syntax error quotes the statement, and a statement may hold a hash
  const safe = errno === 1064 ? says.replace(/ near '[\s\S]*/, '') : says
  return new SqlError(`MySQL server ${login.server}: ${what.replaceAll(/\s+/g, ' ')}: ${safe}`, errno, undefined)
}

const lostHint = "look at the server's log: it stopped, or somebody ended the session; then run again"

/** Whose client programs they are: MariaDB's and MySQL's know different options. */
export type Product = 'MySQL' | 'MariaDB'

/**
 * The option file of the clients as text, to be read from a pipe: nothing stays on disk when the job is killed.
 * Certificates are named by path, since the clients take no others.
 */
export function optionFile(login: Login, certificates: Record<string, string>, product: Product = 'MySQL'): string {
  const options: Record<string, string> = {
    user: login.user,
    password: login.password,
    ...(login.socketPath
      ? { socket: login.socketPath, protocol: 'SOCKET' }
      : { host: login.host ?? '', port: String(login.port), protocol: 'TCP' }),
    ...(product === 'MySQL' ? mysqlTls(login) : mariadbTls(login)),
    ...certificates,
  }
  const lines = Object.entries(options).map(([name, value]) => `${name}="${escaped(value)}"`)
  return `[client]\n${lines.join('\n')}\n`
}

function mysqlTls({ socketPath, tls }: Login): Record<string, string> {
  if (socketPath) return { 'ssl-mode': 'PREFERRED' }
  const mode = tls.mode.toUpperCase().replace('-', '_')
  return { 'ssl-mode': mode, ...(tls.mode === 'disabled' ? { 'get-server-public-key': 'ON' } : {}) }
}

/** They cannot verify the CA alone: then the host is verified too. */
function mariadbTls({ socketPath, tls }: Login): Record<string, string> {
  if (socketPath || tls.mode === 'disabled') return { ssl: '0' }
  return { ssl: '1', 'ssl-verify-server-cert': tls.mode === 'required' ? '0' : '1' }
}

/** Quoting as the clients read option files. */
function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

export function quoteName(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

export function quoteText(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}

/** Privileges on *.*, those of active roles included. */
export async function globalPrivileges(session: Session): Promise<Set<string>> {
  const [role] = await session.rows<{ role: string | null }>('SELECT CURRENT_ROLE() AS role')
  const roles = role?.role && role.role !== 'NONE' ? [role.role] : []
  const found = new Set<string>()
  const add = (rows: Record<string, string>[]) => {
    for (const row of rows) {
      const list = /^GRANT (.+?) ON \*\.\* TO /.exec(Object.values(row)[0] ?? '')?.[1]
      // dynamic ones stand without spaces
      for (const privilege of list?.split(/, ?/) ?? []) found.add(privilege)
    }
  }
  add(await session.rows<Record<string, string>>('SHOW GRANTS'))
  for (const one of roles) {
    const grants = one.includes('@')
      ? `SHOW GRANTS FOR CURRENT_USER() USING ${one}`
      : `SHOW GRANTS FOR ${quoteText(one)}`
    add(await session.rows<Record<string, string>>(grants))
  }
  return found
}

/** One of these is held, or everything. */
export function holds(held: ReadonlySet<string>, ...privileges: string[]): boolean {
  return held.has('ALL PRIVILEGES') || privileges.some((privilege) => held.has(privilege))
}

/** The account that the server took the login for, as SQL writes it. */
export async function currentAccount(session: Session): Promise<string> {
  const [row] = await session.rows<{ name: string }>('SELECT CURRENT_USER() AS name')
  const [, user = '', host = ''] = /^(.*)@(.*)$/.exec(row?.name ?? '') ?? []
  return `${quoteText(user)}@${quoteText(host)}`
}
