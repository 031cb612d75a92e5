import type { Client, ClientConfig } from 'pg'
import { JobError, textOf } from '../../errors.ts'
import { type Login, tlsOptions } from '../../io/connection.ts'

export interface Session {
  rows<Row extends object>(sql: string, values?: unknown[]): Promise<Row[]>
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
  return {
    host,
    port,
    user,
    password,
    database: 'defaultdb',
    application_name: 'holdfast',
    connectionTimeoutMillis: 10_000,
    ssl: tls.mode === 'disabled' ? false : tlsOptions(tls),
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
