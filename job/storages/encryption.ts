import { z } from 'zod'
import { JobError } from '../errors.ts'
import { secretName } from '../io/connection.ts'
import type { Encryption } from '../storage.ts'
import type { OpenContext } from './kind.ts'

const mixed =
  'age1pq1… beside age1…: one of the old kind takes the protection of the new away, so age refuses both together'

/** What a storage's values say of encryption: the same for every kind. */
export const EncryptionValues = z
  .strictObject({
    recipients: z
      .array(z.string().regex(/^age1(pq1)?[02-9ac-hj-np-z]{58,}$/, 'a recipient of age begins with age1'))
      .min(1)
      .refine(isOneKind, mixed)
      .describe('who can read the backups: public keys of age, age1…; each alone opens them'),
    identities: z
      .strictObject({
        secret: secretName,
        key: z
          .string()
          .min(1)
          .default('identities.txt')
          .describe('key of the file in the Secret, as age-keygen writes it'),
      })
      .optional()
      .describe(
        'private keys of age, to restore; backups do not need them, and the chart mounts them into restores alone',
      ),
  })
  .describe('encrypt every part before it leaves the pod; names, sizes and the manifest stay readable')
export type EncryptionValues = z.infer<typeof EncryptionValues>

function isOneKind(recipients: string[]): boolean {
  return new Set(recipients.map((recipient) => recipient.startsWith('age1pq1'))).size <= 1
}

/** Loads age only for storages that encrypt. Throws `configuration` for a recipient that is none. */
export async function openEncryption(
  { recipients, identities }: EncryptionValues,
  { at, secret, secretPath }: OpenContext,
): Promise<Encryption> {
  const { identitiesIn, recipientOf } = await import('../io/age.ts')
  for (const [i, recipient] of recipients.entries()) recipientOf(recipient, `${at}.encryption.recipients.${i}`)
  const where = `${at}.encryption.identities`
  return {
    recipients,
    at: where,
    identities: () => {
      if (identities) {
        const { key } = identities
        const text = secret(identities, key, where)
        return identitiesIn(text, `${where}: secret ${identities.secret}, key ${key} (${secretPath(identities, key)})`)
      }
      throw new JobError('configuration', `${where}: missing, and what is stored there is encrypted`, {
        hint: `it is for ${recipients.join(', ')}: put the identity of one of them into a Secret, and name it there`,
      })
    },
  }
}
