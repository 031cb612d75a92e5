import { JobError, type JobErrorOptions } from '../errors.ts'

/** Whom a request was for, for the text of an error. */
export interface Server {
  /** Of the storage. */
  name: string
  /** Values path of its options. */
  at: string
  bucket: string
  endpoint: string | undefined
}

interface Asked extends Server {
  /** `put nightly/1795218000.json`. */
  operation: string
  /** The server has answered before: its name exists, even if it cannot be looked up now. */
  reached: boolean
}

interface Trouble extends JobErrorOptions {
  text: string
  kind?: 'configuration'
}

/** The SDK's errors carry the server's code as name, Node's carry it as code. */
export interface ServerError extends Error {
  code?: string
  $metadata?: { httpStatusCode?: number }
  $response?: { headers?: Record<string, string> }
}

/** A failure of an S3 request, with what the server or Node called it. */
export class S3Error extends JobError {
  readonly code: string
  /** Of HTTP; 0 when there was no answer. */
  readonly status: number

  constructor(error: ServerError, asked: Asked) {
    const { text, kind = 'storage', ...options } = troubleOf(error, asked)
    super(kind, `storage ${asked.name} (${asked.bucket}): ${asked.operation}: ${text}`, {
      cause: plain(error),
      ...options,
    })
    this.code = codeOf(error)
    this.status = error.$metadata?.httpStatusCode ?? 0
  }
}

/** The SDK calls a broken connection a TimeoutError: Node's word is the better one. */
function codeOf(error: ServerError): string {
  return error.code ?? error.name
}

function troubleOf(error: ServerError, asked: Asked): Trouble {
  return (
    byLock(error.message ?? '', asked) ??
    byCode(codeOf(error), asked) ??
    byCode(error.name, asked) ??
    byMessage(error.message ?? '', asked) ??
    byStatus(error, asked) ?? {
      text: 'failed',
      retryable: error.$metadata?.httpStatusCode === undefined && error.code !== undefined,
    }
  )
}

function byCode(code: string, { at, bucket, endpoint = 'AWS', reached }: Asked): Trouble | undefined {
  const keys = `look at ${at}.credentials`
  const brokenHint =
    !reached && endpoint.startsWith('http:') ? `if it speaks TLS, write https:// in ${at}.endpoint` : undefined
  switch (code) {
    case 'NoSuchBucket':
      return { text: `there is no bucket ${bucket}`, hint: `create it, or correct ${at}.bucket` }
    case 'InvalidBucketName':
      return { text: `${bucket} cannot be the name of a bucket`, hint: `correct ${at}.bucket`, kind: 'configuration' }
    case 'InvalidAccessKeyId':
    case 'InvalidAccessKey':
    case 'XAdminUserNotFound':
      return { text: 'the server does not know the access key', hint: keys }
    case 'SignatureDoesNotMatch':
      return {
        text: 'the server refuses the signature',
        hint: `the secret access key does not fit the access key: ${keys}`,
      }
    case 'ExpiredToken':
    case 'ExpiredTokenException':
    case 'TokenRefreshRequired':
    case 'InvalidToken':
      return { text: 'the session token is invalid or has expired', hint: `renew the token: ${keys}` }
    case 'AccessDenied':
    case 'AllAccessDisabled':
    case 'AccountProblem':
      return { text: 'access denied', hint: accessHint(bucket) }
    case 'RequestTimeTooSkewed':
    case 'RequestExpired':
      return {
        text: 'the clocks of this machine and of the server differ too much',
        hint: 'set the clock of the node',
        retryable: true,
      }
    case 'CredentialsProviderError':
      return {
        text: 'no credentials found',
        hint: `set ${at}.credentials, or give the pod an identity (IRSA, instance role)`,
        kind: 'configuration',
      }
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return { text: `the bucket ${bucket} is in another region`, hint: `correct ${at}.region`, kind: 'configuration' }
    case 'InvalidRange':
      return { text: 'the object has no such range' }
    case 'QuotaExceeded':
    case 'XAmzStorageFull':
    case 'XMinioStorageFull':
    case 'InsufficientStorage':
      return { text: 'the storage is full', hint: 'make it larger, or keep fewer backups' }
    case 'EntityTooLarge':
      return { text: 'the server does not take objects or parts of this size' }
    case 'KeyTooLongError':
      return { text: 'the server does not take names of this length' }
    case 'InvalidObjectState':
      return { text: 'the object is archived', hint: 'restore it from the archive tier first' }
    case 'ECONNREFUSED':
      return {
        text: `nobody listens at ${endpoint}`,
        hint: `is the server up? correct ${at}.endpoint otherwise`,
        retryable: true,
      }
    case 'ENOTFOUND':
      return { text: `the name of ${endpoint} is unknown`, hint: hostHint(at), retryable: reached }
    case 'EAI_AGAIN':
      return {
        text: `the name of ${endpoint} could not be looked up`,
        hint: 'does DNS work in the pod?',
        retryable: true,
      }
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return { text: `no way to ${endpoint}`, hint: 'does a network policy forbid it?', retryable: true }
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return {
        text: `the certificate of ${endpoint} is not signed by a known authority`,
        hint: `name the authority in ${at}.tls.ca`,
      }
    case 'CERT_HAS_EXPIRED':
      return { text: `the certificate of ${endpoint} has expired` }
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return {
        text: `the certificate of ${endpoint} is for another name`,
        hint: `use the name in the certificate, or set ${at}.forcePathStyle: true`,
      }
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
    case 'ERR_SSL_HTTP_REQUEST':
    case 'EPROTO':
      return { text: `${endpoint} does not speak TLS`, hint: `write http:// in ${at}.endpoint`, kind: 'configuration' }
    case 'HPE_INVALID_CONSTANT':
    case 'HPE_INVALID_VERSION':
      return {
        text: `${endpoint} does not speak plain HTTP`,
        hint: `write https:// in ${at}.endpoint`,
        kind: 'configuration',
      }
    case 'ECONNRESET':
    case 'EPIPE':
    case 'ECONNABORTED':
      return { text: 'the connection broke', hint: brokenHint, retryable: true }
    case 'TimeoutError':
    case 'ETIMEDOUT':
      return { text: 'no answer in time', retryable: true }
    case 'SlowDown':
    case 'RequestTimeout':
    case 'InternalError':
    case 'ServiceUnavailable':
    case 'OperationAborted':
    case 'ConditionalRequestConflict':
      return { text: 'the server asks to try again later', retryable: true }
    default:
      return undefined
  }
}

/** Servers have no code of their own for what has to do with object lock. */
function byLock(message: string, { at, bucket }: Asked): Trouble | undefined {
  if (/missing object ?lock ?config/i.test(message)) {
    return {
      text: `the bucket ${bucket} has no object lock`,
      hint: `a bucket gets it when it is made; or leave out ${at}.objectLock`,
      kind: 'configuration',
    }
  }
  if (/object lock|worm protected|object is (immutable|locked)/i.test(message)) {
    return { text: 'the object is locked', hint: 'the first prune after the end of its lock removes it' }
  }
  return undefined
}

function byMessage(message: string, asked: Asked): Trouble | undefined {
  const { at, endpoint = 'AWS' } = asked
  if (/HTTP request to an HTTPS server|plain HTTP request was sent to HTTPS port/i.test(message)) {
    return { text: `${endpoint} speaks TLS`, hint: `write https:// in ${at}.endpoint`, kind: 'configuration' }
  }
  if (/region is missing/i.test(message))
    return { text: 'no region given', hint: `set ${at}.region`, kind: 'configuration' }
  if (/could not load credentials/i.test(message)) return byCode('CredentialsProviderError', asked)
  return undefined
}

function byStatus(error: ServerError, { at, bucket }: Asked): Trouble | undefined {
  const status = error.$metadata?.httpStatusCode ?? 0
  const region = error.$response?.headers?.['x-amz-bucket-region']
  if (status >= 500 || status === 429 || status === 408)
    return { text: `the server answered ${status}`, retryable: status !== 501 && status !== 507 }
  if (status === 301 || status === 307) {
    return {
      text: `the bucket ${bucket} is elsewhere`,
      hint: `set ${at}.region${region ? ` to ${region}` : ', or .endpoint'}`,
      kind: 'configuration',
    }
  }
  if (status === 401 || status === 403)
    return { text: 'access denied', hint: `${accessHint(bucket)}; or the keys in ${at}.credentials are wrong` }
  if (status === 404) return { text: 'not found', hint: `does the bucket ${bucket} exist?` }
  if (status === 409) return { text: 'in conflict with something else in the bucket' }
  return status
    ? { text: `the server answered ${status}`, hint: `are ${at}.endpoint, .region and .credentials right?` }
    : undefined
}

function accessHint(bucket: string): string {
  return `the key needs s3:ListBucket on ${bucket}, and s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload on its objects; with objectLock s3:PutObjectRetention as well`
}

function hostHint(at: string): string {
  return `correct ${at}.endpoint, or set ${at}.forcePathStyle: true if the server has no host name for each bucket`
}

/** The SDK's errors hold the whole request and answer, credentials included: only the text goes on. */
function plain(error: ServerError): Error | undefined {
  const text = [codeOf(error), error.message].filter((word) => word && word !== 'UnknownError').join(': ')
  return text ? Object.assign(new Error(text), error.stack ? { stack: error.stack } : {}) : undefined
}
