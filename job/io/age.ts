import { createHmac, hkdfSync } from 'node:crypto'
import { Decrypter, Encrypter, type Recipient, type Stanza } from 'age-encryption'
import { JobError, textOf } from '../errors.ts'

/**
 * Headers of the age format, version 1 (age-encryption.org/v1): the key of one file, wrapped to every recipient. The package is in
 * JavaScript alone: it wraps keys, what they encrypt is done by io/seal.ts.
 */

/** Bytes of a file key. */
export const fileKeySize = 16

/** Characters of base64 in a line: age wants the last one shorter than that. */
const lineLength = 64

interface Wrap {
  fileKey: Buffer
  recipients: readonly string[]
  /** Key of the object that the file is: in another place it is not opened. */
  place: string
}

/** The header as text. Throws `configuration` for what is no recipient. */
export async function wrapKey({ fileKey, recipients, place }: Wrap): Promise<string> {
  const stanzas: Pick<Stanza, 'args' | 'body'>[] = []
  for (const recipient of recipients) stanzas.push(...(await recipientOf(recipient).wrapFileKey(fileKey)))
  // age passes over stanzas that it does not know, but they are under its authentication as well
  stanzas.push({ args: placeStanza(place), body: new Uint8Array() })
  const text = ['age-encryption.org/v1', ...stanzas.flatMap(linesOf), '---'].join('\n')
  return `${text} ${unpadded(macOf(fileKey, text))}\n`
}

/** The key in a header; undefined when it is for others. Throws `verification` for a header that was changed, or is of another place. */
export async function unwrapKey(
  header: string,
  { identities, place }: { identities: readonly string[]; place: string },
): Promise<Buffer | undefined> {
  const decrypter = new Decrypter()
  for (const identity of identities) decrypter.addIdentity(identity)
  try {
    const fileKey = Buffer.from(await decrypter.decryptHeader(Buffer.from(header)))
    if (header.includes(`\n-> ${placeStanza(place).join(' ')}\n`)) return fileKey
  } catch (cause) {
    if (/no identity matched/.test(textOf(cause))) return undefined
    throw new JobError('verification', `the age header of ${place} is damaged`, { hint: changed, cause })
  }
  throw new JobError('verification', `the age header of ${place} was made for another object`, { hint: changed })
}

const changed = 'somebody changed the backup: restore another one, or from another storage'

/** True when the header was made with this key. */
export function isKeyOf(fileKey: Buffer, header: string): boolean {
  const end = header.lastIndexOf('\n---') + 4
  return header.slice(end).trim() === unpadded(macOf(fileKey, header.slice(0, end)))
}

/** Throws `configuration` for what is no recipient that age and we know. `at`: where it stands. */
export function recipientOf(text: string, at?: string): Recipient {
  try {
    const encrypter = new Encrypter()
    encrypter.addRecipient(text)
    // a key that is wrapped again must stay the same, and the package makes recipients only for keys of its own
    return (encrypter as unknown as { recipients: [Recipient] }).recipients[0]
  } catch (cause) {
    throw new JobError('configuration', `${at ? `${at}: ` : ''}${text} is no recipient of age`, {
      hint: 'age-keygen -y shows the recipient of an identity: age1…',
      cause,
    })
  }
}

/** The identities in a file as age-keygen writes it. Throws `configuration`; the error does not have the text. */
export function identitiesIn(text: string, at: string): string[] {
  const identities = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
  const decrypter = new Decrypter()
  try {
    for (const identity of identities) decrypter.addIdentity(identity)
  } catch {
    throw new JobError('configuration', `${at}: not a file of age identities`, {
      hint: 'it has lines AGE-SECRET-KEY-1…, as age-keygen writes them; identities of plugins, or with a passphrase, are not known here',
    })
  }
  if (identities.length > 0) return identities
  throw new JobError('configuration', `${at}: no identity in it`, { hint: 'age-keygen makes one' })
}

/** The place stands there for people too, in the characters that age allows. */
function placeStanza(place: string): string[] {
  return ['holdfast/place', encodeURI(place.toWellFormed())]
}

function linesOf({ args, body }: Pick<Stanza, 'args' | 'body'>): string[] {
  const text = unpadded(Buffer.from(body))
  const lines: string[] = []
  for (let at = 0; at <= text.length; at += lineLength) lines.push(text.slice(at, at + lineLength))
  return [`-> ${args.join(' ')}`, ...lines]
}

function macOf(fileKey: Buffer, text: string): Buffer {
  const key = Buffer.from(hkdfSync('sha256', fileKey, '', 'header', 32))
  return createHmac('sha256', key).update(text).digest()
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}
