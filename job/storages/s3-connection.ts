import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { ExternalPlace } from '../storage.ts'
import { given } from './given.ts'
import type { OpenContext } from './kind.ts'
import { regionOf, type S3Options } from './s3-values.ts'
import { trusted } from './tls.ts'

/** The values as the SDK's settings; without the SDK, which only s3.ts imports. */
export function settingsOf(options: S3Options, context: OpenContext) {
  const { endpoint } = options
  const checksums = options.checksums ?? (endpoint ? 'when-required' : 'when-supported')
  return {
    ...given({
      endpoint,
      region: regionOf(options),
      credentials: refreshed(options, context),
    }),
    forcePathStyle: options.forcePathStyle ?? endpoint !== undefined,
    requestChecksumCalculation: checksums === 'when-required' ? 'WHEN_REQUIRED' : 'WHEN_SUPPORTED',
    // What is read is checked against the manifest.
    responseChecksumValidation: 'WHEN_REQUIRED',
    expectContinueHeader: false,
    // Attempts are counted in one place: `s3Requests`, and `retrying` around it.
    maxAttempts: 1,
  } as const
}

/** Connections to one server; made when needed, kept for the next request, closed with the client. */
export function agentsOf({ tls }: S3Options, { at, secret }: OpenContext) {
  const pooled = { keepAlive: true, maxSockets: 256, maxFreeSockets: 64 }
  const ca = trusted(tls, { at: `${at}.s3.tls`, secret })
  return {
    httpAgent: new HttpAgent(pooled),
    httpsAgent: new HttpsAgent({ ...pooled, ...given({ ca }), rejectUnauthorized: !tls.insecureSkipVerify }),
  }
}

/**
 * Over TLS nothing changes on the way, and hashing would cost a third of a core at 500 MB/s.
 * Over plain HTTP the hash in the signature is all there is.
 */
export function signsPayload({ signPayload, endpoint }: S3Options): boolean {
  return signPayload ?? endpoint?.startsWith('http://') ?? false
}

/** Files of a Secret change when it does; they are read again every five minutes. */
function refreshed(options: S3Options, context: OpenContext) {
  const read = () => {
    const found = credentialsOf(options, context)
    // The SDK asks again five minutes before.
    return found && { ...found, expiration: new Date(Date.now() + 10 * 60_000) }
  }
  const first = read()
  return first && (async () => read() ?? first)
}

/** As the files of the Secret say now; undefined when the values name none. Throws `configuration`. */
export function credentialsOf({ credentials }: S3Options, { at, secret }: OpenContext) {
  if (!credentials) return undefined
  const path = `${at}.s3.credentials`
  const { accessKeyIdKey, secretAccessKeyKey, sessionTokenKey } = credentials
  return {
    accessKeyId: secret(credentials, accessKeyIdKey, path),
    secretAccessKey: secret(credentials, secretAccessKeyKey, path),
    ...(sessionTokenKey === undefined ? {} : { sessionToken: secret(credentials, sessionTokenKey, path) }),
  }
}

/** What a database has to be told to find and use the same bucket by itself. */
export function externalPlaceOf(options: S3Options, context: OpenContext, prefix: string): ExternalPlace {
  const { bucket, endpoint, sse, kmsKeyId, storageClass } = options
  return {
    kind: 's3',
    bucket,
    prefix,
    forcePathStyle: options.forcePathStyle ?? endpoint !== undefined,
    ...given({ endpoint, region: regionOf(options), sse, kmsKeyId, storageClass }),
    ...given({ credentials: credentialsOf(options, context) }),
  }
}
