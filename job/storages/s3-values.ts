import { z } from 'zod'
import { httpUrl } from '../urls.ts'
import type { StorageKind } from './kind.ts'
import { ServerTls } from './tls.ts'

const secret = z.string().min(1).describe('Name of the Secret')

const schema = z
  .strictObject({
    bucket: z.string().min(1).describe('Bucket; it must exist'),
    prefix: z.string().optional().describe('Folder in the bucket under which everything is kept'),
    region: z.string().min(1).optional().describe('Region of the bucket; with an endpoint, us-east-1 unless told'),
    endpoint: httpUrl
      .optional()
      .describe('URL of an S3 server that is not AWS, with its port: https://s3.example.org:9000'),
    forcePathStyle: z
      .boolean()
      .optional()
      .describe('Bucket in the path instead of the host name; true unless told when there is an endpoint'),
    credentials: z
      .strictObject({
        secret,
        accessKeyIdKey: z.string().min(1).default('access-key-id').describe('Key of the access key id in the Secret'),
        secretAccessKeyKey: z
          .string()
          .min(1)
          .default('secret-access-key')
          .describe('Key of the secret access key in the Secret'),
        sessionTokenKey: z
          .string()
          .min(1)
          .optional()
          .describe('Key of a session token in the Secret, for temporary credentials'),
      })
      .optional()
      .describe(
        'Without it: environment, workload identity (IRSA), profile or instance role, in the order of the AWS SDK',
      ),
    tls: ServerTls.prefault({}).describe('How the certificate of an https endpoint is checked'),
    sse: z.enum(['AES256', 'aws:kms', 'aws:kms:dsse']).optional().describe('Server-side encryption to ask for'),
    kmsKeyId: z
      .string()
      .min(1)
      .optional()
      .describe('Key for aws:kms and aws:kms:dsse; the key of the account unless told'),
    storageClass: z.string().min(1).optional().describe('Storage class of new objects: STANDARD_IA, GLACIER_IR, …'),
    objectLock: z
      .strictObject({
        mode: z
          .enum(['governance', 'compliance'])
          .describe('governance: accounts with a right of its own may remove it before; compliance: nobody may'),
        days: z.int().min(1).describe('Days from its upload for which an object is locked'),
      })
      .optional()
      .describe('Lock every object when it is written; the bucket must have been made with object lock'),
    checksums: z
      .enum(['when-required', 'when-supported'])
      .optional()
      .describe(
        'CRC32 of every upload: when-supported on AWS, when-required with an endpoint, unless told; many servers refuse them',
      ),
    signPayload: z
      .boolean()
      .optional()
      .describe(
        'SHA-256 of every upload in its signature; only over plain http unless told, where nothing else protects the bytes',
      ),
    conditionalPut: z
      .enum(['auto', 'never'])
      .default('auto')
      .describe('Whether the server can write only if absent; never: look first, then write'),
    signatureVersion: z
      .enum(['v4', 's3v4'], { error: 'only version 4 is known here; for version 2 use an rclone storage with v2_auth' })
      .default('v4')
      .describe('Version of the request signature'),
    partSizeMiB: z
      .int()
      .min(5)
      .max(64)
      .default(8)
      .describe('Size of the parts of an upload; larger for objects of which 9000 parts would not do'),
    partsInFlight: z
      .int()
      .min(1)
      .max(25)
      .default(5)
      .describe('Parts sent at the same time by all uploads of one pod together; memory is this times the part size'),
    timeoutSeconds: z.number().positive().default(60).describe('How long the server may be silent in a request'),
  })
  .refine(({ partSizeMiB, partsInFlight }) => partSizeMiB * partsInFlight <= 128, {
    path: ['partsInFlight'],
    message: 'partSizeMiB × partsInFlight may be 128 at most',
  })
  .refine(({ kmsKeyId, sse }) => kmsKeyId === undefined || sse?.startsWith('aws:kms'), {
    path: ['kmsKeyId'],
    message: 'needs sse: aws:kms or aws:kms:dsse',
  })
export type S3Options = z.output<typeof schema>

/** Servers that are not AWS take any, and most call their own so. */
export function regionOf({ region, endpoint }: Pick<S3Options, 'region' | 'endpoint'>): string | undefined {
  return region ?? (endpoint === undefined ? undefined : 'us-east-1')
}

/** A bucket of AWS or of any server that speaks S3. The SDK costs 90 MiB: it is loaded when a storage is opened. */
export const s3: StorageKind<typeof schema> = {
  name: 's3',
  schema,
  place: ({ endpoint = '', bucket, prefix = '' }) => [
    endpoint.replace(/\/+$/, ''),
    bucket,
    prefix.replaceAll(/^\/+|\/+$/g, ''),
  ],
  open: async (options, context) => (await import('./s3.ts')).openS3(options, context),
}
