import { posix } from 'node:path'
import { z } from 'zod'
import { pod } from '../kubernetes/values.ts'
import type { Storage } from '../storage.ts'
import { EncryptionValues, openEncryption } from './encryption.ts'
import { filesystem } from './filesystem.ts'
import type { OpenContext } from './kind.ts'
import { rclone } from './rclone-values.ts'
import { retrying } from './retrying.ts'
import { regionOf, s3 } from './s3-values.ts'

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

/**
 * What tells the storage's place from others, whatever its name or credentials. It is written into databases: a change of the text would make
 * our own backups there somebody else's.
 */
export function placeOf(values: StorageValues): string {
  return JSON.stringify(placed(values))
}

/** The kind, then what `place` of the kind says: its folder is the last. */
function placed(values: StorageValues): string[] {
  if (values.s3) return ['s3', ...s3.place(values.s3)]
  if (values.filesystem) return ['filesystem', ...filesystem.place(values.filesystem)]
  if (values.rclone) return ['rclone', ...rclone.place(values.rclone)]
  throw new Error(oneKind)
}

/**
 * However their folders are written. Buckets of one name are the same only for the same account in the same region: of one server two tenants
 * may each have theirs.
 */
export function isSamePlace(first: StorageValues, second: StorageValues): boolean {
  return JSON.stringify(normal(first)) === JSON.stringify(normal(second))
}

function normal(values: StorageValues): unknown[] {
  const place = placed(values)
  const folder = place.at(-1) ?? ''
  const rest = place.slice(0, -1)
  if (values.s3) {
    const { endpoint, credentials } = values.s3
    return [...place.with(1, endpoint ? new URL(endpoint).href : ''), regionOf(values.s3), credentials]
  }
  return [...rest, posix.normalize(`/${folder}`).replace(/\/$/, '')]
}

/** Where the values of a storage say where it is: `storages.main.filesystem`. */
export function kindPath(name: string, values: StorageValues): string {
  return `storages.${name}.${placed(values)[0]}`
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
