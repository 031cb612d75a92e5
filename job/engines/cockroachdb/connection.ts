import type { Client, ClientConfig } from 'pg'
import type { RunContext } from '../../engine.ts'
import { JobError, textOf } from '../../errors.ts'
import { accountOf, type TlsTexts, tlsTexts } from '../../io/connection.ts'
import type { Source, Target } from './values.ts'

/** One SQL address of a cluster and how to log in. Holds the password: never logged, never serialised. */
export interface Login {
  /** For people: host:port. */
  server: string
  host: string
  port: number
  user: string
  password: string
  tls: TlsTexts
}

export interface Session {
  rows<Row extends object>(sql: string, values?: unknown[]): Promise<Row[]>
}

export function loginOf(values: Source | Target, { secret }: Pick<RunContext, 'secret'>, at: string): Login {
  const { host, port } = values
  const account = accountOf(values.credentials, secret, `${at}.credentials`)
  return { server: `${host}:${port}`, host, port, ...account, tls: tlsTexts(values.tls, secret, `${at}.tls`) }
}

/** Opens a session, hands it to `use`, closes it. It outlives an abort, so that the job of the database can be cancelled. */
export async function withCockroach<T>(login: Login, use: (session: Session) => Promise<T>): Promise<T> {
  // loaded by runs that need it only
  const { default: pg } = await import('pg')
  const client = new pg.Client(configOf(login))
  // a connection that breaks between two statements fails the next one
  client.on('error', () => {})
  try {
    await client.connect()
    return await use(sessionOf(client))
  } catch (error) {
    throw serverError(error, login)
  } finally {
    await client.end().catch(() => {})
  }
}

function sessionOf(client: Client): Session {
  return { rows: async (sql, values = []) => (await client.query(sql, values)).rows }
}

function configOf({ host, port, user, password, tls }: Login): ClientConfig {
  const { mode, ca, cert, key } = tls
  const ssl = {
    rejectUnauthorized: mode !== 'required',
    ...(mode === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
    ...(ca ? { ca } : {}),
    ...(cert && key ? { cert, key } : {}),
  }
  return {
    host,
    port,
    user,
    password,
    database: 'defaultdb',
    application_name: 'holdfast',
    connectionTimeoutMillis: 10_000,
    ssl: mode === 'disabled' ? false : ssl,
  }
}

/** Class 28: the login is refused; 42501: a privilege is missing. */
function serverError(error: unknown, { server, user }: Login): unknown {
  if (error instanceof JobError || !(error instanceof Error)) return error
  const code = String((error as { code?: unknown }).code ?? '')
  const said = textOf(error)
  if (code.startsWith('28')) {
    return new JobError('server', `CockroachDB ${server} refused the login of ${user}: ${said}`, {
      hint: 'check credentials',
    })
  }
  if (code === '42501') {
    return new JobError('server', `account ${user} on CockroachDB ${server} lacks a privilege: ${said}`, {
      hint: 'docs/engines/cockroachdb.md lists what has to be granted',
    })
  }
  if (/^E[A-Z]+$/.test(code) || /timeout|terminated|SSL/i.test(said)) {
    return new JobError('server', `CockroachDB ${server} cannot be reached: ${said}`, {
      hint: 'check host, port and tls.mode, and that a network policy lets the job through',
    })
  }
  if (/^[0-9A-Z]{5}$/.test(code)) return new JobError('server', `CockroachDB ${server}: ${said}`)
  return error
}
