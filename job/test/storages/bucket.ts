import type { Storage } from '../../storage.ts'
import type { Pacing } from '../../storages/backoff.ts'
import { openS3 } from '../../storages/s3.ts'
import { s3 } from '../../storages/s3-values.ts'
import type { S3Server } from '../servers/s3.ts'

/** Waits are counted, not waited for. */
export function quickPacing(): Pacing & { pauses: number[] } {
  const pauses: number[] = []
  return {
    pauses,
    random: () => 0,
    async pause(ms, signal) {
      signal?.throwIfAborted()
      pauses.push(ms)
    },
  }
}

export interface BucketOptions {
  server: Pick<S3Server, 'endpoint' | 'accessKey' | 'secretKey'>
  bucket: string
  /** Instead of the server's own. */
  endpoint?: string
  pacing?: Pacing
  now?: () => Date
  /** More of the values under `s3`. */
  values?: object
}

/** The storage `main` in a bucket of a test server, with small parts. */
export function openBucket({
  server,
  bucket,
  endpoint = server.endpoint,
  pacing = quickPacing(),
  values,
  now,
}: BucketOptions): Storage {
  const options = s3.schema.parse({ endpoint, bucket, partSizeMiB: 5, credentials: { secret: 'keys' }, ...values })
  const secrets: Record<string, string> = { 'access-key-id': server.accessKey, 'secret-access-key': server.secretKey }
  const secret = (_: object, key: string) => secrets[key] ?? key
  return openS3(options, {
    name: 'main',
    at: 'storages.main',
    secret,
    secretPath: () => '',
    volumesDir: '/nowhere',
    pacing,
    ...(now ? { now } : {}),
  })
}
