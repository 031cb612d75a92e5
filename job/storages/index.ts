import { z } from 'zod'
import { pod } from '../kubernetes/values.ts'
import type { Storage } from '../storage.ts'
import { EncryptionValues, openEncryption } from './encryption.ts'
import { filesystem } from './filesystem.ts'
import type { OpenContext } from './kind.ts'
import { rclone } from './rclone-values.ts'
import { retrying } from './retrying.ts'
import { s3 } from './s3-values.ts'

export type { OpenContext, StorageKind } from './kind.ts'

/** Every kind of storage, under the key that the values use for it. */
export const storageKinds = { s3, filesystem, rclone } as const

const names = Object.keys(storageKinds)
const oneKind = `name one kind: ${names.slice(0, -1).join(', ')} or ${names.at(-1)}`

/** An entry of `storages` in the values. */
export const StorageValues = z
  .strictObject({
    s3: s3.schema.optional().describe('A bucket of AWS or of any server that speaks S3'),
    filesystem: filesystem.schema.optional().describe('A folder of a mounted volume'),
    rclone: rclone.schema.optional().describe('A folder of any remote that rclone knows'),
    encryption: EncryptionValues.optional(),
    pod,
  })
  .refine((values) => names.filter((name) => values[name as keyof typeof storageKinds] !== undefined).length === 1, {
    error: oneKind,
  })
  .meta({ oneOf: names.map((name) => ({ required: [name] })) })
export type StorageValues = z.output<typeof StorageValues>

/** What tells the storage's place from others: the same text for the same place, whatever its name or credentials. */
export function placeOf(values: StorageValues): string {
  if (values.s3) return JSON.stringify(['s3', ...s3.place(values.s3)])
  if (values.filesystem) return JSON.stringify(['filesystem', ...filesystem.place(values.filesystem)])
  if (values.rclone) return JSON.stringify(['rclone', ...rclone.place(values.rclone)])
  throw new Error(oneKind)
}

/** Opens the storage that the values describe, with retries around it. */
export async function openStorage({
  name,
  values,
  context,
}: {
  name: string
  values: StorageValues
  context: OpenContext
}): Promise<Storage> {
  const named = { ...context, name }
  const encryption = values.encryption && (await openEncryption(values.encryption, context))
  const opened = (storage: Storage): Storage => ({ ...retrying(storage), ...(encryption ? { encryption } : {}) })
  if (values.s3) return opened(await s3.open(values.s3, named))
  if (values.filesystem) return opened(await filesystem.open(values.filesystem, named))
  if (values.rclone) return opened(await rclone.open(values.rclone, named))
  throw new Error(`${context.at}: ${oneKind}`)
}
