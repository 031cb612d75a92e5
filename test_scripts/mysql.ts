import { readFileSync } from 'node:fs'
import { createPool, type Pool } from 'mysql2/promise'

export interface ServerAddress {
  socket?: string | undefined
  host?: string | undefined
  port?: string | undefined
  user?: string | undefined
  'password-file'?: string | undefined
}

/** The options of parseArgs that name a MySQL server. */
export const serverOptions = {
  socket: { type: 'string' },
  host: { type: 'string' },
  port: { type: 'string' },
  user: { type: 'string' },
  'password-file': { type: 'string' },
} as const

/** A pool of connections, in UTC: as root by a socket, else by host and port with a password from a file. */
export function connect(server: ServerAddress, connections = 1): Pool {
  const where = server.socket
    ? { socketPath: server.socket }
    : { host: server.host ?? '127.0.0.1', port: Number(server.port ?? 3306) }
  const file = server['password-file']
  const pool = createPool({
    ...where,
    user: server.user ?? 'root',
    ...(file ? { password: readFileSync(file, 'utf8').trimEnd() } : {}),
    connectionLimit: connections,
    charset: 'utf8mb4',
    supportBigNumbers: true,
    bigNumberStrings: true,
    dateStrings: true,
  })
  pool.pool.on('connection', (connection) => connection.query("SET time_zone = '+00:00'"))
  return pool
}
