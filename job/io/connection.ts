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

/** Folder of an engine's client programs. */
export const clientsFolder = z
  .string()
  .startsWith('/', 'the folder of the clients is an absolute path')
  .optional()
  .describe('folder with the client programs; the PATH when absent')
