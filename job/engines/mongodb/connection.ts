import type { MongoClient, MongoClientOptions } from 'mongodb'
import type { RunContext } from '../../engine.ts'
import { JobError, textOf } from '../../errors.ts'
import { accountOf, type TlsTexts, tlsTexts } from '../../io/connection.ts'
import type { Source, Target } from './values.ts'

type Values = Pick<
  Source | Target,
  'hosts' | 'srv' | 'replicaSet' | 'credentials' | 'authenticationDatabase' | 'tls' | 'clients'
>

/** One server or replica set and how to log in to it. Holds the password: never logged, never serialised. */
export interface Login {
  /** For people: the hosts, or the SRV name. */
  server: string
  /** Scheme and hosts, without account and options. */
  scheme: string
  hosts: string
  replicaSet: string | undefined
  user: string | undefined
  password: string | undefined
  authenticationDatabase: string
  tls: TlsTexts
}

/** Throws `configuration` when a secret is missing. */
export function loginOf(values: Values, { secret }: Pick<RunContext, 'secret'>, at: string): Login {
  const { srv, replicaSet, credentials, authenticationDatabase } = values
  const hosts = srv ?? values.hosts?.join(',') ?? ''
  const account = credentials ? accountOf(credentials, secret, `${at}.credentials`) : undefined
  return {
    server: hosts,
    scheme: srv ? 'mongodb+srv' : 'mongodb',
    hosts,
    replicaSet,
    user: account?.user,
    password: account?.password,
    authenticationDatabase,
    tls: tlsTexts(values.tls, secret, `${at}.tls`),
  }
}

/**
 * What the tools get as /dev/fd/3 (with `--config`) and behind it: the address as a URI, the password beside it, the certificates as
 * files that the URI names.
 */
export function toolFiles(login: Login): string[] {
  const { scheme, user, password, hosts, tls } = login
  const { ca, cert, key } = tls
  const files = [ca, cert && key ? `${cert.trimEnd()}\n${key.trimEnd()}\n` : undefined]
  const given = files.filter((text) => text !== undefined)
  const fd = (text: string | undefined) => (text === undefined ? undefined : `/dev/fd/${4 + given.indexOf(text)}`)
  const query = new URLSearchParams(
    Object.entries({
      ...serverOptions(login),
      tlsCAFile: fd(files[0]),
      tlsCertificateKeyFile: fd(files[1]),
      ...(tls.mode === 'required' ? { tlsInsecure: 'true' } : {}),
    }).filter((option): option is [string, string] => option[1] !== undefined),
  )
  const account = user === undefined ? '' : `${encodeURIComponent(user)}@`
  const lines = [`uri: ${JSON.stringify(`${scheme}://${account}${hosts}/?${query}`)}`]
  if (password !== undefined) lines.push(`password: ${JSON.stringify(password)}`)
  return [`${lines.join('\n')}\n`, ...given]
}

function serverOptions({ scheme, hosts, replicaSet, user, authenticationDatabase, tls }: Login) {
  return {
    tls: String(tls.mode !== 'disabled'),
    ...(replicaSet ? { replicaSet } : {}),
    ...(user === undefined ? {} : { authSource: authenticationDatabase }),
    // one host without the name of a set means this server, not whichever its set names
    ...(scheme === 'mongodb' && !replicaSet && !hosts.includes(',') ? { directConnection: 'true' } : {}),
  }
}

export interface Using {
  signal: AbortSignal
  readPreference?: Source['readPreference']
}

/** Connects, hands the client to `use`, closes it; aborting the signal breaks it. Rejects with `server`. */
export async function withMongo<T>(
  login: Login,
  { signal, readPreference = 'primary' }: Using,
  use: (client: MongoClient) => Promise<T>,
): Promise<T> {
  // the driver takes a while to load: only runs that need it do
  const { MongoClient } = await import('mongodb')
  signal.throwIfAborted()
  const query = new URLSearchParams(serverOptions(login))
  const client = new MongoClient(`${login.scheme}://${login.hosts}/?${query}`, {
    ...driverOptions(login),
    readPreference,
  })
  const abort = () => void client.close(true).catch(() => {})
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await use(client)
  } catch (error) {
    signal.throwIfAborted()
    throw serverError(error, login)
  } finally {
    signal.removeEventListener('abort', abort)
    await client.close().catch(() => {})
  }
}

function driverOptions({ user, password, tls }: Login): MongoClientOptions {
  const { ca, cert, key } = tls
  return {
    appName: 'holdfast',
    serverSelectionTimeoutMS: 10_000,
    connectTimeoutMS: 10_000,
    ...(user === undefined ? {} : { auth: { username: user, password: password ?? '' } }),
    ...(tls.mode === 'required' ? { tlsInsecure: true } : {}),
    ...(ca ? { ca } : {}),
    ...(cert && key ? { cert, key } : {}),
  }
}

const codes = { unauthorized: 13, authenticationFailed: 18 }

function serverError(error: unknown, { server, user, authenticationDatabase }: Login): unknown {
  if (error instanceof JobError || !(error instanceof Error) || !error.name.startsWith('Mongo')) return error
  const { code } = error as { code?: unknown }
  const said = textOf(error)
  if (code === codes.authenticationFailed || /authentication failed/i.test(said)) {
    return new JobError('server', `MongoDB server ${server} refused the login of ${user}: ${said}`, {
      hint: `check credentials, and authenticationDatabase: it is ${authenticationDatabase}`,
    })
  }
  if (code === codes.unauthorized) {
    return new JobError(
      'server',
      `account ${user ?? '(none)'} on MongoDB server ${server} lacks a privilege: ${said}`,
      {
        hint: 'docs/engines/mongodb.md lists the roles that are needed',
      },
    )
  }
  if (error.name === 'MongoServerSelectionError' || error.name.startsWith('MongoNetwork')) {
    return new JobError('server', `MongoDB server ${server} cannot be reached: ${said}`, {
      hint: 'check hosts, srv, replicaSet and tls.mode, and that a network policy lets the job through',
    })
  }
  return new JobError('server', `MongoDB server ${server}: ${said}`, { cause: error })
}
