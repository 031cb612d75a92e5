import { basename } from 'node:path'
import { partKey } from '../catalog/layout.ts'
import type { Config } from '../config.ts'
import { JobError } from '../errors.ts'
import type { Result } from '../io/print.ts'
import type { Manifest } from '../manifest.ts'
import type { Storage } from '../storage.ts'

/** The result of a backup as the backup executor of Colonies gives it. Bytes and whole seconds. */
interface ColoniesResult {
  filename: string
  bucket: string
  filepath_s3: string
  exectime_backup: number
  size: number
  size_s3: number
  exectime_upload_s3: number
}

interface Options {
  manifest: Manifest
  storage: Storage
  config: Config
}

/**
 * Of a backup that is one file in S3. There the dump was taken and then sent, here both happen at once: the times are the same.
 * What S3 has is asked for, not remembered.
 */
export async function colonies({ manifest, storage, config }: Options): Promise<Result> {
  const { id, plan, parts, started, finished } = manifest
  const values = config.storages[storage.name]
  const s3 = values && 's3' in values ? values.s3 : undefined
  if (!s3)
    throw new JobError(
      'configuration',
      `storage ${storage.name} is not in S3, and --output colonies tells of a file in S3`,
      {
        hint: 'name a storage in S3 with --storage',
      },
    )
  const [part, another] = parts
  if (!part || another)
    throw new JobError(
      'nothing-matches',
      `backup ${id} of plan ${plan} has ${parts.length} parts, and --output colonies tells of one`,
      {
        hint: 'for one part a backup: one source, one database, method: single, globals: false',
      },
    )
  const key = partKey(plan, id, part.path)
  const there = await storage.head(key)
  if (!there) throw new JobError('verification', `storage ${storage.name} has no ${key}`)
  const seconds = Math.round((Date.parse(finished) - Date.parse(started)) / 1000)
  const data: ColoniesResult = {
    filename: basename(key),
    bucket: s3.bucket,
    filepath_s3: `/${[s3.prefix, key].filter(Boolean).join('/')}`,
    exectime_backup: seconds,
    size: part.size,
    size_s3: there.size,
    exectime_upload_s3: seconds,
  }
  return { data, table: { columns: [], rows: [] } }
}
