import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { z } from 'zod'
import { JobError } from '../errors.ts'
import { secretName } from './connection.ts'

/** Of a plan: what signs its manifests. */
export const SigningValues = z
  .strictObject({
    secret: secretName,
    key: z
      .string()
      .min(1)
      .default('private.pem')
      .describe('key of the PEM file in the Secret, as `openssl genpkey -algorithm ed25519` makes it'),
  })
  .describe('sign the manifest of every backup with this private key of Ed25519')

/** Whose signatures count. */
export const TrustValues = z
  .array(z.string().min(1).describe('a public key of Ed25519: PEM, or only the base64 in it'))
  .min(1)

/** Ed25519 over JSON in canonical form (RFC 8785): the same bytes however the file was indented. */
export interface Signature {
  /** Public key: what stands in its PEM file between the first and the last line. */
  key: string
  /** Base64. */
  value: string
}

export function signatureOf(content: object, key: KeyObject): Signature {
  const value = sign(null, canonical(content), key).toString('base64')
  return { key: publicKeyIn(key), value }
}

/** The public half of a private key, in the form that signatures name it in. */
export function publicKeyIn(key: KeyObject): string {
  return textOfKey(createPublicKey(key))
}

/** True when whoever has the key signed exactly this content. */
export function isSignatureOf({ key, value }: Signature, content: object): boolean {
  const publicKey = readPublicKey(key)
  return publicKey !== undefined && verify(null, canonical(content), publicKey, Buffer.from(value, 'base64'))
}

/** As openssl makes it: PEM, PKCS#8. Throws `configuration`; the error does not have the text. */
export function signingKey(pem: string, at: string): KeyObject {
  try {
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch {}
  throw new JobError('configuration', `${at}: no private key of Ed25519 in PEM, without a passphrase`, {
    hint: 'openssl genpkey -algorithm ed25519 makes one',
  })
}

/** A public key, PEM or only its base64, in the form that signatures name it in. Throws `configuration`. */
export function publicKeyOf(text: string, at: string): string {
  const key = readPublicKey(text)
  if (key) return textOfKey(key)
  throw new JobError('configuration', `${at}: no public key of Ed25519, as PEM or as the base64 in it`, {
    hint: 'openssl pkey -in private.pem -pubout shows it',
  })
}

function readPublicKey(text: string): KeyObject | undefined {
  // a private key would do as well: createPublicKey takes the public half
  if (text.includes('PRIVATE')) return undefined
  const base64 = text.replaceAll(/-----(BEGIN|END) PUBLIC KEY-----|\s/g, '')
  try {
    const key = createPublicKey({ key: Buffer.from(base64, 'base64'), format: 'der', type: 'spki' })
    return key.asymmetricKeyType === 'ed25519' ? key : undefined
  } catch {
    return undefined
  }
}

function textOfKey(key: KeyObject): string {
  return key.export({ format: 'der', type: 'spki' }).toString('base64')
}

/** Keys sorted by their UTF-16 units, no space; numbers and texts as ECMAScript writes them. */
function canonical(content: object): Buffer {
  // what JSON leaves out, such as undefined, is not signed
  return Buffer.from(sorted(JSON.parse(JSON.stringify(content))))
}

function sorted(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sorted).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${sorted(inner)}`).join(',')}}`
}
