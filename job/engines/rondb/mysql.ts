import type { RunContext } from '../../engine.ts'
import { accountOf, addressText, tlsTexts } from '../../io/connection.ts'
import type { Login } from '../../io/mysql.ts'
import type { Mysql } from './values.ts'

/** A login for every MySQL server that the values name, in that order. Throws `configuration` when a secret is missing. */
export function loginsOf(mysql: Mysql, { secret }: Pick<RunContext, 'secret'>, at: string): Login[] {
  const { credentials } = mysql
  const account = accountOf(credentials, secret, `${at}.mysql.credentials`)
  const tls = tlsTexts(mysql.tls, secret, `${at}.mysql.tls`)
  return addresses(mysql).map((address) => ({ ...address, ...account, tls, tlsAt: 'mysql.tls' }))
}

function addresses(mysql: Mysql): Pick<Login, 'server' | 'host' | 'port' | 'socketPath'>[] {
  if (mysql.socket) return [{ server: mysql.socket, socketPath: mysql.socket }]
  const named = mysql.servers ?? [addressText(mysql.host as string, mysql.port)]
  return named.map((server) => {
    if (server.startsWith('/')) return { server, socketPath: server }
    const [, v6, name, port] = /^(?:\[(.+)\]|([^:]+))(?::(\d+))?$/.exec(server) ?? []
    return { server, host: v6 ?? name ?? server, port: Number(port ?? mysql.port) }
  })
}
