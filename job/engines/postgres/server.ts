import { rootCertificates } from 'node:tls'
import type { Client, ClientConfig } from 'pg'
import { JobError } from '../../errors.ts'
import { certificateHint, type Login, tlsOptions } from '../../io/connection.ts'
import { CopyIn } from './copy.ts'

export interface Session {
  rows<Row extends object>(sql: string, values?: unknown[]): Promise<Row[]>
  /** For statements whose texts may hold a secret: the error names `what` instead. */
  execute(sql: string, what?: string): Promise<void>
  /** Begins a COPY of what is written to it, in COPY's text format. Nothing else may be asked before its end. */
  copyIn(sql: string): Copying
  /** Aborted when the connection is lost. */
  readonly lost: AbortSignal
  close(): Promise<void>
}

/** Rows on their way. Who does not come to the end closes the session: then the server takes none. */
export interface Copying {
  /** The bytes are the caller's again when it resolves. */
  write(bytes: Buffer): Promise<void>
  /** Resolves to the number that the server has taken. */
  end(): Promise<number>
}

interface Options {
  signal?: AbortSignal
  /** Read only where it does not matter. */
  application?: string
}

/** Opens a session, hands it to `use`, closes it. */
export async function withSession<T>(
  login: Login,
  database: string,
  use: (session: Session) => Promise<T>,
  options: Options = {},
): Promise<T> {
  const session = await open(login, database, options)
  try {
    return await use(session)
  } finally {
    await session.close()
  }
}

/** A session that its caller closes; aborting the signal breaks it. No limit of the server's ends what it does. */
export async function open(login: Login, database: string, { signal }: Options = {}): Promise<Session> {
  signal?.throwIfAborted()
  const client = await connect(login, database)
  if (signal?.aborted) {
    await client.end().catch(() => {})
    throw signal.reason
  }
  const loss = new AbortController()
  client.on('error', (cause) =>
    loss.abort(new JobError('server', `the connection to PostgreSQL server ${login.server} was lost`, { cause })),
  )
  const abort = () => void client.end().catch(() => {})
  signal?.addEventListener('abort', abort, { once: true })
  const told = async <T>(work: Promise<T>, what: string) => {
    try {
      return await work
    } catch (cause) {
      if (signal?.aborted) throw signal.reason
      throw failed(`PostgreSQL server ${login.server}, database ${database}: ${what.replaceAll(/\s+/g, ' ')}`, cause)
    }
  }
  const ask = (sql: string, what: string, values?: unknown[]) => told(client.query(sql, values), what)
  const session: Session = {
    rows: async (sql, values) => (await ask(sql, sql.slice(0, 60), values)).rows as never,
    execute: async (sql, what = sql.slice(0, 60)) => void (await ask(sql, what)),
    copyIn: (sql) => {
      const copy = client.query(new CopyIn(sql))
      const what = sql.replace(/ \(.*| FROM .*/s, '')
      return { write: (bytes) => told(copy.write(bytes), what), end: () => told(copy.end(), what) }
    },
    lost: loss.signal,
    close: async () => {
      signal?.removeEventListener('abort', abort)
      await client.end().catch(() => {})
    },
  }
  await session.execute(
    `SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET client_min_messages = 'error';
     SET search_path = pg_catalog; ${newerLimits}`,
  )
  return session
}

/** Not every release has them. */
const newerLimits =
  "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('idle_session_timeout', 'transaction_timeout')"

async function connect(login: Login, database: string): Promise<Client> {
  const { host, port, user, password } = login
  // workers have this module too, but no session
  const { default: pg } = await import('pg')
  const client = new pg.Client({
    host,
    port,
    user,
    password,
    database,
    connectionTimeoutMillis: 15_000,
    keepAlive: true,
    application_name: 'holdfast',
    ssl: sslOf(login),
  })
  try {
    await client.connect()
    return client
  } catch (cause) {
    await client.end().catch(() => {})
    throw unreachable(login, database, cause)
  }
}

function sslOf({ host, tls }: Login): ClientConfig['ssl'] {
  return tls.mode === 'disabled' || host.startsWith('/') ? false : tlsOptions(tls)
}

function unreachable({ server, user, tls, at }: Login, database: string, cause: unknown): JobError {
  const { code = '', message = '' } = cause as { code?: string; message?: string }
  const why = message || code
  let hint = 'check host and port, that the server runs, and the network policy'
  if (code === '28P01' || code === '28000')
    hint = `check the Secret of ${at}.credentials, the account ${user} and pg_hba.conf`
  else if (code === '3D000') hint = `name a database that is there with ${at}.database`
  else if (code === '42501') hint = `GRANT CONNECT ON DATABASE "${database}" TO "${user}"`
  else if (code === '53300') hint = 'raise max_connections of the server, or lower parallel'
  else if (/does not support SSL/.test(message))
    hint = `the server has no TLS: give it a certificate, or set ${at}.tls.mode: disabled`
  else if (/no encryption/.test(message)) hint = `the server wants TLS: set ${at}.tls.mode`
  else hint = certificateHint(`${code} ${message}`, { tls, at: `${at}.tls` }) ?? hint
  return new JobError('server', `PostgreSQL server ${server} refuses ${user} in database ${database}: ${why}`, {
    hint,
    cause,
  })
}

/** A server error keeps its SQLSTATE, so that callers can tell an absent table from a lost connection. */
export class SqlError extends JobError {
  readonly code: string

  constructor(message: string, code: string, hint?: string) {
    super('server', message, { hint })
    this.code = code
  }
}

function failed(what: string, cause: unknown): SqlError {
  const { code = '', message = String(cause), hint, where } = cause as Partial<Record<string, string>>
  // where it stands in a part, without the value that follows there
  const line = /^COPY .+?, line \d+/m.exec(where ?? '')?.[0]
  if (line) return new SqlError(`${what}: ${withoutValues(code, message)} (${line})`, code, hint)
  // a syntax error quotes the statement, and a statement may hold a hash
  const says = code === '42601' ? message.replace(/ at or near "[\s\S]*/, '') : message
  return new SqlError(`${what}: ${says}`, code, hint)
}

/** Errors of class 22 quote the data that they are about. */
function withoutValues(code: string, message: string): string {
  return code.startsWith('22') ? message.replace(/"[\s\S]*"/, '"…"') : message
}

/** Variables of whoever runs the job that would lead libpq's programs to another server or account than the driver. */
const elsewhere = [
  ...['PGHOSTADDR', 'PGPASSWORD', 'PGSERVICE', 'PGSERVICEFILE', 'PGDATABASE', 'PGTARGETSESSIONATTRS'],
  ...['PGCHANNELBINDING', 'PGREQUIREAUTH', 'PGREQUIREPEER', 'PGREQUIRESSL', 'PGSSLNEGOTIATION', 'PGGSSENCMODE'],
  ...['PGSSLCERT', 'PGSSLKEY', 'PGSSLROOTCERT', 'PGSSLCERTMODE', 'PGSSLCRL', 'PGSSLCRLDIR', 'PGCLIENTENCODING'],
]

/** How libpq's programs reach a database: what is secret comes as files. */
export function libpq(
  login: Login,
  database: string,
): { dbname: string; env: Record<string, string | undefined>; files: string[] } {
  const { host, port, user, password, tls } = login
  const files = [`*:*:*:*:${password.replaceAll(/[\\:]/g, '\\$&')}\n`]
  const file = (text: string) => `/dev/fd/${2 + files.push(text)}`
  const modes = { 'verify-identity': 'verify-full', 'verify-ca': 'verify-ca', required: 'require', disabled: 'disable' }
  const env: Record<string, string | undefined> = {
    ...Object.fromEntries(elsewhere.map((name) => [name, undefined])),
    PGHOST: host,
    PGPORT: String(port),
    PGUSER: user,
    PGPASSFILE: '/dev/fd/3',
    PGSSLMODE: modes[tls.mode],
    PGCONNECT_TIMEOUT: '15',
    PGAPPNAME: 'holdfast',
    PGTZ: 'UTC',
  }
  // without a CA of its own: those that Node trusts, so that programs and driver agree
  if (tls.mode.startsWith('verify')) env.PGSSLROOTCERT = file(tls.ca ?? rootCertificates.join('\n'))
  if (tls.cert) env.PGSSLCERT = file(tls.cert)
  if (tls.key) env.PGSSLKEY = file(tls.key)
  return { dbname: `--dbname=dbname='${database.replaceAll(/['\\]/g, '\\$&')}'`, env, files }
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

export function quoteText(text: string): string {
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`
  return text.includes('\\') ? ` E${quoted}` : quoted
}
