import { randomBytes } from 'node:crypto'
import { fileKeySize, wrapKey } from '../../io/age.ts'

/** A new key of a part, as a backup makes it. */
export async function newKey(recipients: string[], place: string) {
  const fileKey = randomBytes(fileKeySize)
  return { fileKey, age: { header: await wrapKey({ fileKey, recipients, place }), recipients } }
}
