import type { RunContext, SecretReader } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { client, clientVersions } from '../../io/clients.ts'
import { accountOf, addressText, tlsTexts } from '../../io/connection.ts'
import { type Login, optionFile, type Product, type Session } from '../../io/mysql.ts'
import type { Program } from '../../io/process.ts'
import type { Source, Target } from './values.ts'

type Values = Source | Target

/** What a server says of itself. */
export interface Server {
  product: Product
  version: string
}

/** Throws `configuration` when a secret is missing. */
export function loginOf(values: Values, { secret, at }: { secret: SecretReader; at: string }): Login {
  const { host, port, socket, credentials } = values
  const address = socket
    ? { server: socket, socketPath: socket }
    : { server: addressText(host as string, port), host: host as string, port }
  const account = accountOf(credentials, secret, `${at}.credentials`)
  // MariaDB does not know the collation that is the default of our sessions
  return { ...address, ...account, tls: tlsTexts(values.tls, secret, `${at}.tls`), tlsAt: `${at}.tls` }
}

const oldest = { MySQL: '8.0', MariaDB: '10.6' }

/** Throws `server` for one that is too old. */
export async function serverOf(session: Session): Promise<Server> {
  const [row] = await session.rows<{ version: string }>('SELECT VERSION() AS version')
  const text = row?.version ?? ''
  const product = /mariadb/i.test(text) ? 'MariaDB' : 'MySQL'
  const version = /\d+(?:\.\d+)*/.exec(text)?.[0] ?? text
  if (isOlder(version, oldest[product]))
    throw new JobError('server', `server ${session.server} is ${product} ${version}`, {
      hint: `MySQL 8.0 and newer and MariaDB 10.6 and newer are supported`,
    })
  return { product, version }
}

/** Compares the first two numbers of two versions. */
export function isOlder(version: string, than: string): boolean {
  const numbers = (text: string) => text.split('.').slice(0, 2).map(Number)
  const [[major = 0, minor = 0], [otherMajor = 0, otherMinor = 0]] = [numbers(version), numbers(than)]
  return major < otherMajor || (major === otherMajor && minor < otherMinor)
}

const programs = {
  MySQL: { dump: 'mysqldump', load: 'mysql' },
  MariaDB: { dump: 'mariadb-dump', load: 'mariadb' },
}

export const programNames = ({ product }: Pick<Server, 'product'>) => programs[product]

/** The client programs that fit the server, with their versions. Throws `configuration` when they do not. */
export async function fittingClients(
  names: ('dump' | 'load')[],
  { server, values, run }: { server: Server; values: Values; run: Pick<RunContext, 'signal'> & { at: string } },
): Promise<Record<string, string>> {
  const files = names.map((name) => programs[server.product][name])
  const found = await clientVersions(files, {
    folder: values.clients,
    signal: run.signal,
    versionIn: (text) => `${/mariadb/i.test(text) ? 'MariaDB' : 'MySQL'} ${clientVersion(text)}`,
  })
  for (const [name, said] of Object.entries(found)) refuseUnfit({ name, said, server, at: run.at })
  return Object.fromEntries(Object.entries(found).map(([name, said]) => [name, said.split(' ')[1] as string]))
}

/** `from 11.8.6-MariaDB, client 10.19`, `Ver 10.19 Distrib 10.11.19-MariaDB`, `Ver 9.7.4-2 for Linux`. */
export function clientVersion(text: string): string {
  return /([\d.]+)-MariaDB/i.exec(text)?.[1] ?? /Ver ([\d.]+)/.exec(text)?.[1] ?? text.trim()
}

function refuseUnfit({ name, said, server, at }: { name: string; said: string; server: Server; at: string }): void {
  const [product = '', version = ''] = said.split(' ')
  if (product === server.product && !isOlder(version, majorOf(server))) return
  throw new JobError('configuration', `${name} is of ${said}, the server is ${server.product} ${server.version}`, {
    hint: `install the clients of ${server.product} ${majorOf(server)} or newer, or name their folder with ${at}.clients`,
  })
}

/** What a client must at least be. MySQL's clients serve all servers of a major version, MariaDB's too. */
function majorOf({ product, version }: Server): string {
  const [major] = version.split('.')
  return `${Math.max(Number(major), Number(oldest[product].split('.')[0]))}.0`
}

/** A client program that is logged in. The option file and the certificates are read from descriptors. */
export function loggedIn({
  which,
  args,
  login,
  server,
  values,
  signal,
  options = '',
}: {
  which: 'dump' | 'load'
  args: string[]
  login: Login
  server: Server
  values: Values
  signal: AbortSignal
  /** More lines of the option file. */
  options?: string
}): Program {
  const { ca, cert, key } = login.tls
  const used = login.socketPath || login.tls.mode === 'disabled' ? [] : Object.entries({ ca, cert, key })
  const files = used.filter((file): file is [string, string] => file[1] !== undefined)
  const certificates = Object.fromEntries(files.map(([name], i) => [`ssl-${name}`, `/dev/fd/${i + 4}`]))
  return {
    file: client(programs[server.product][which], values.clients),
    args: ['--defaults-extra-file=/dev/fd/3', ...args],
    signal,
    files: [optionFile(login, certificates, server.product) + options, ...files.map(([, text]) => text)],
  }
}
