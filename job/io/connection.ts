import type { ConnectionOptions } from 'node:tls'
import { z } from 'zod'
import type { SecretReader } from '../engine.ts'
import { certificates } from './certificates.ts'

/** What the values say of a server that is reached over the network; the same words for every engine. */

const key = z.string().min(1)

/** A Secret by name: a folder of files in the secrets folder. */
export const secretName = z.string().min(1).describe('name of the Secret, a folder of files in the secrets folder')

export const Credentials = z
  .strictObject({
    secret: secretName,
    usernameKey: key.default('username'),
    passwordKey: key.default('password'),
    username: z.string().optional(),
  })
  .describe('the account; `username` says the name itself instead of a key of the Secret')
export type Credentials = z.infer<typeof Credentials>

/** Account and password. Holds a secret: never logged, never serialised. Throws `configuration` when a key is missing. */
export function accountOf(credentials: Credentials, secret: SecretReader, at: string) {
  const user = credentials.username ?? secret(credentials, credentials.usernameKey, at)
  return { user, password: secret(credentials, credentials.passwordKey, at) }
}

const tlsModes = ['verify-identity', 'verify-ca', 'required', 'disabled'] as const

export const Tls = z
  .strictObject({
    mode: z
      .enum(tlsModes)
      .default('verify-identity')
      .describe('verify-identity: by a trusted CA, for this host; verify-ca; required: encrypted only; disabled'),
    ca: z
      .strictObject({ secret: secretName, key: key.default('ca.crt') })
      .optional()
      .describe('CA that signed the server certificate'),
    cert: z
      .strictObject({ secret: secretName, key: key.default('tls.crt') })
      .optional()
      .describe('client certificate'),
    key: z
      .strictObject({ secret: secretName, key: key.default('tls.key') })
      .optional()
      .describe('key of the client certificate'),
  })
  .default({ mode: 'verify-identity' })
export type Tls = z.infer<typeof Tls>

/** The texts of the files that `tls` names, PEM. Throws `configuration`. */
export interface TlsTexts {
  mode: (typeof tlsModes)[number]
  ca?: string
  cert?: string
  key?: string
}

export function tlsTexts(tls: Tls, secret: SecretReader, at: string): TlsTexts {
  const texts: TlsTexts = { mode: tls.mode }
  for (const file of ['ca', 'cert', 'key'] as const) {
    const ref = tls[file]
    if (!ref) continue
    const text = secret(ref, ref.key, `${at}.${file}`)
    texts[file] = file === 'key' ? text : certificates(text, `${at}.${file}`)
  }
  return texts
}

/** What Node's TLS takes for these texts; `disabled` is for the caller to see. */
export function tlsOptions({ mode, ca, cert, key }: TlsTexts) {
  return {
    rejectUnauthorized: mode !== 'required',
    ...(mode === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
    ...(ca ? { ca } : {}),
    ...(cert && key ? { cert, key } : {}),
  } satisfies ConnectionOptions
}

/** What to do when a connection failed over its certificate; undefined for another trouble. */
export function certificateHint(said: string, { tls, at }: { tls: TlsTexts; at: string }): string | undefined {
  if (!/certificate|self.signed|altnames|SSL|TLS/i.test(said)) return undefined
  return `the certificate does not pass ${at}.mode: ${tls.mode}; name its CA with ${at}.ca, or choose verify-ca, required or disabled`
}

/** A server that has one address, and how to log in to it. Holds the password: never logged, never serialised. */
export interface Login {
  /** For people: host:port. */
  server: string
  host: string
  port: number
  user: string
  password: string
  tls: TlsTexts
  /** Values path, for hints. */
  at: string
}

/** Throws `configuration` when a secret is missing. */
export function loginOf(
  values: { host: string; port: number; credentials: Credentials; tls: Tls },
  { secret }: { secret: SecretReader },
  at: string,
): Login {
  const { host, port } = values
  const account = accountOf(values.credentials, secret, `${at}.credentials`)
  return { server: addressText(host, port), host, port, ...account, tls: tlsTexts(values.tls, secret, `${at}.tls`), at }
}

export function addressText(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Folder of an engine's client programs. */
export const clientsFolder = z
  .string()
  .startsWith('/', 'the folder of the clients is an absolute path')
  .optional()
  .describe('folder with the client programs; the PATH when absent')
