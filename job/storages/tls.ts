import { getCACertificates } from 'node:tls'
import { z } from 'zod'
import type { SecretReader } from '../engine.ts'
import { certificates } from '../io/certificates.ts'

/** How the certificate of a storage's server is checked. */
export const ServerTls = z.strictObject({
  ca: z
    .strictObject({
      secret: z.string().min(1).describe('Name of the Secret'),
      key: z.string().min(1).default('ca.crt').describe('Key of the PEM file in the Secret'),
    })
    .optional()
    .describe('Certificate authority to trust besides the public ones'),
  insecureSkipVerify: z.boolean().default(false).describe('Accept any certificate; for experiments only'),
})
export type ServerTls = z.output<typeof ServerTls>

/** PEM texts of who is trusted; undefined: the public authorities alone. `at`: values path of the `tls`. Throws `configuration`. */
export function trusted({ ca }: ServerTls, { at, secret }: { at: string; secret: SecretReader }): string[] | undefined {
  return ca && [...getCACertificates('default'), certificates(secret(ca, ca.key, `${at}.ca`), `${at}.ca`)]
}
