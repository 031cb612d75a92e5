import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { Readable } from 'node:stream'
import { getCACertificates } from 'node:tls'
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
  type StorageClass,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { JobError, ObjectError } from '../errors.ts'
import type { Body, GetOptions, Listed, PutOptions, Storage, Stored } from '../storage.ts'
import { backoff, type Pacing, realPacing } from './backoff.ts'
import { bufferPool } from './buffers.ts'
import { guarded } from './guarded.ts'
import { chunksOf, openBody, requireSize } from './incoming.ts'
import type { OpenContext } from './kind.ts'
import { S3Error, type ServerError } from './s3-errors.ts'
import type { S3Options } from './s3-values.ts'
import { type UploadTarget, upload } from './upload.ts'

const MiB = 2 ** 20
/** A stream cannot be asked for again, so each of its requests is made again for about half a minute. */
const patience = 8
/** Keys in one DeleteObjects, by the protocol. */
const deleteBatch = 1000

interface Asking {
  operation: string
  signal?: AbortSignal | undefined
  /** What ends the attempt under way; the signal, unless told. */
  cut?: AbortSignal
  /** How often to try; once, unless told: then `retrying` around the storage decides. */
  attempts?: number
  /** Told of every failure that is followed by another attempt. */
  onRetry?(error: S3Error): void
  /** For the whole answer, however lively the connection. */
  limitMs?: number
}

type Call<Output> = (options: { abortSignal: AbortSignal }) => Promise<Output>

interface Writing {
  ifAbsent: boolean
  attempts: number
}

/** Opens a bucket. No request is made before the first use. */
export function openS3(
  options: S3Options,
  context: OpenContext & { name: string },
  pacing: Pacing = realPacing,
): Storage {
  const { name } = context
  const { bucket, endpoint } = options
  const at = `${context.at}.s3`
  const timeoutMs = options.timeoutSeconds * 1000
  const graceMs = Math.min(timeoutMs, 5000)
  const { client, reader } = connect(options, context)
  const pool = bufferPool(options.partSizeMiB * options.partsInFlight * MiB)
  const root = rootOf(options.prefix)
  const placement = given({
    ServerSideEncryption: options.sse,
    SSEKMSKeyId: options.kmsKeyId,
    StorageClass: options.storageClass as StorageClass | undefined,
  })
  let conditional: 'unknown' | 'yes' | 'no' = options.conditionalPut === 'never' ? 'no' : 'unknown'
  let multiDelete = true
  let reached = false

  async function put(key: string, body: Body, { size, ifAbsent = false, signal }: PutOptions): Promise<Stored> {
    const data = openBody(body)
    try {
      signal?.throwIfAborted()
      const sent = await send(key, data, { ...given({ size, signal }), ifAbsent })
      return await confirm(key, sent, signal)
    } finally {
      if (!Buffer.isBuffer(data)) data.destroy()
    }
  }

  async function send(
    key: string,
    data: Buffer | Readable,
    { size, ifAbsent = false, signal }: PutOptions,
  ): Promise<number> {
    if (Buffer.isBuffer(data) && data.length <= options.partSizeMiB * MiB) {
      requireSize(data.length, { key, size })
      await targetOf(key, { ifAbsent, attempts: 1 }).putWhole(data, signal)
      return data.length
    }
    const target = targetOf(key, { ifAbsent, attempts: patience })
    const read = (stop: AbortSignal) => chunksOf(data, { key, size, signal: stop })
    return await upload({ key, target, read, pool, partSize: partSizeOf(size ?? 0), graceMs, signal })
  }

  /** Not more than 9000 parts, of the 10 000 that S3 takes. */
  function partSizeOf(size: number): number {
    const needed = Math.ceil(size / 9000 / MiB)
    return Math.max(options.partSizeMiB, Math.min(needed, pool.budget / MiB)) * MiB
  }

  function targetOf(key: string, { ifAbsent, attempts }: Writing): UploadTarget<CompletedPart> {
    const object = { Bucket: bucket, Key: root + key }
    return {
      async putWhole(bytes, signal) {
        const input = { ...object, ...placement, Body: bytes, ContentLength: bytes.length }
        const write = (condition: object) =>
          ask((settings) => client.send(new PutObjectCommand({ ...input, ...condition }), settings), {
            operation: `put ${key}`,
            signal,
            attempts,
          })
        await conditionally(key, { ifAbsent, attempts, signal }, write)
        if (ifAbsent && conditional === 'unknown') conditional = await probe(write)
      },
      async begin(signal) {
        const operation = `begin the upload of ${key}`
        const { UploadId } = await ask(
          (settings) => client.send(new CreateMultipartUploadCommand({ ...object, ...placement }), settings),
          {
            operation,
            signal,
            attempts,
          },
        )
        if (UploadId === undefined)
          throw new JobError('storage', `storage ${name} (${bucket}): ${operation}: the server gave it no id`)
        return UploadId
      },
      async sendPart(UploadId, { number: PartNumber, bytes, signal, cut }) {
        const input = { ...object, UploadId, PartNumber, Body: bytes, ContentLength: bytes.length }
        const operation = `put part ${PartNumber} of ${key}`
        const { ETag, ChecksumCRC32 } = await ask((settings) => client.send(new UploadPartCommand(input), settings), {
          operation,
          signal,
          cut,
          attempts,
        })
        return given({ PartNumber, ETag, ChecksumCRC32 })
      },
      async complete(UploadId, { parts, size, signal }) {
        let lost = false
        const onRetry = (error: S3Error) => {
          lost ||= error.status !== 409
        }
        const input = { ...object, UploadId, MultipartUpload: { Parts: parts } }
        const write = (condition: object) =>
          ask((settings) => client.send(new CompleteMultipartUploadCommand({ ...input, ...condition }), settings), {
            operation: `complete ${key}`,
            signal,
            attempts,
            onRetry,
          })
        try {
          await conditionally(key, { ifAbsent, attempts, signal }, write)
        } catch (error) {
          const isGone = error instanceof S3Error && error.code === 'NoSuchUpload'
          if (!(lost && isGone && (await isComplete(key, { size, parts: parts.length, signal })))) throw error
        }
      },
      async abort(UploadId) {
        const signal = AbortSignal.timeout(Math.min(timeoutMs, 15_000))
        const command = new AbortMultipartUploadCommand({ ...object, UploadId })
        await ask((settings) => client.send(command, settings), {
          operation: `abort the upload of ${key}`,
          signal,
          attempts,
        })
      },
    }
  }

  /** Lets the server decide where it can; where it says that it cannot, looks first. */
  async function conditionally(
    key: string,
    { ifAbsent, attempts, signal }: Writing & { signal: AbortSignal | undefined },
    write: (condition: object) => Promise<unknown>,
  ): Promise<void> {
    try {
      if (ifAbsent && conditional !== 'no') return void (await write({ IfNoneMatch: '*' }))
    } catch (error) {
      if (!(error instanceof S3Error)) throw error
      if (error.status === 412) throw new ObjectError('ObjectExists', key, error)
      if (error.status !== 501) throw error
      conditional = 'no'
    }
    if (ifAbsent && (await look(key, { attempts, signal }))) throw new ObjectError('ObjectExists', key)
    await write({})
  }

  /** Some servers take the condition and ignore it. Only they accept the same object, just written, once more. */
  async function probe(write: (condition: object) => Promise<unknown>): Promise<typeof conditional> {
    try {
      await write({ IfNoneMatch: '*' })
      return 'no'
    } catch (error) {
      return error instanceof S3Error && error.status === 412 ? 'yes' : 'unknown'
    }
  }

  async function confirm(key: string, sent: number, signal: AbortSignal | undefined): Promise<Stored> {
    const found = await look(key, { signal, attempts: patience })
    if (found?.ContentLength !== sent) {
      const has = found ? `has ${found.ContentLength} bytes` : 'is missing'
      throw new JobError('storage', `storage ${name} (${bucket}): ${key} ${has} after ${sent} bytes were stored`, {
        retryable: true,
      })
    }
    return storedOf(found)
  }

  /** The answer to a completion was lost, and the upload is no more: is that because it was completed? */
  async function isComplete(
    key: string,
    { size, parts, signal }: { size: number; parts: number; signal: AbortSignal },
  ): Promise<boolean> {
    const found = await look(key, { signal, attempts: patience })
    return found?.ContentLength === size && new RegExp(`-${parts}"?$`).test(found.ETag ?? '')
  }

  async function get(key: string, { range, signal }: GetOptions = {}): Promise<Readable> {
    const operation = `get ${key}`
    const input = {
      Bucket: bucket,
      Key: root + key,
      ...(range ? { Range: `bytes=${range.start}-${range.end ?? ''}` } : {}),
    }
    try {
      const { Body, ContentLength, ContentRange } = await ask(
        (settings) => reader.send(new GetObjectCommand(input), settings),
        {
          operation,
          signal,
          limitMs: timeoutMs,
        },
      )
      if (range && ContentRange === undefined)
        throw new JobError('storage', `storage ${name} (${bucket}): ${operation}: the server ignores ranges`)
      const explain = (error: unknown) => explained(error, operation)
      return guarded(Body as Readable, {
        what: `storage ${name} (${bucket}): ${operation}`,
        expected: ContentLength,
        stallMs: timeoutMs,
        signal,
        explain,
      })
    } catch (error) {
      throw isMissingKey(error) ? new ObjectError('ObjectMissing', key, error) : error
    }
  }

  async function head(key: string): Promise<Stored | undefined> {
    const found = await look(key, {})
    return found && storedOf(found)
  }

  async function look(key: string, asking: Partial<Asking>): Promise<HeadObjectCommandOutput | undefined> {
    const command = new HeadObjectCommand({ Bucket: bucket, Key: root + key })
    try {
      return await ask((settings) => client.send(command, settings), { operation: `head ${key}`, ...asking })
    } catch (error) {
      if (isMissingKey(error)) return undefined
      throw error
    }
  }

  async function* list(prefix: string, { delimiter }: { delimiter?: string } = {}): AsyncIterable<Listed> {
    const input = {
      Bucket: bucket,
      Prefix: root + prefix,
      EncodingType: 'url' as const,
      ...given({ Delimiter: delimiter }),
    }
    for (let token: string | undefined, isLast = false; !isLast; ) {
      const command: ListObjectsV2Command = new ListObjectsV2Command({
        ...input,
        ...given({ ContinuationToken: token }),
      })
      const page = await ask((settings) => client.send(command, settings), { operation: `list ${prefix}` })
      yield* entriesOf(page, root)
      isLast = page.IsTruncated !== true
      if (!isLast && (page.NextContinuationToken ?? token) === token) {
        throw new JobError(
          'storage',
          `storage ${name} (${bucket}): list ${prefix}: the server says there is more, but not how to get it`,
        )
      }
      token = page.NextContinuationToken
    }
  }

  async function remove(keys: string[]): Promise<void> {
    for (let from = 0; from < keys.length; from += deleteBatch) {
      const batch = keys.slice(from, from + deleteBatch)
      if (!multiDelete || !(await removeTogether(batch))) await removeEach(batch)
    }
  }

  /** False when the server does not know how to. */
  async function removeTogether(keys: string[]): Promise<boolean> {
    const operation = `delete ${keys[0]}${keys.length > 1 ? ` and ${keys.length - 1} more` : ''}`
    const command = new DeleteObjectsCommand({
      Bucket: bucket,
      Delete: { Objects: keys.map((key) => ({ Key: root + key })), Quiet: true },
    })
    try {
      const { Errors = [] } = await ask((settings) => client.send(command, settings), { operation })
      const failed = Errors.filter(({ Code }) => Code !== 'NoSuchKey')
      if (failed[0])
        throw explained(
          { name: failed[0].Code, message: failed[0].Message },
          `delete ${failed[0].Key?.slice(root.length)}`,
        )
    } catch (error) {
      if (!(error instanceof S3Error && refusesMultiDelete(error))) throw error
      multiDelete = false
    }
    return multiDelete
  }

  async function removeEach(keys: string[]): Promise<void> {
    const queue = keys.values()
    const work = async () => {
      for (const key of queue) {
        const command = new DeleteObjectCommand({ Bucket: bucket, Key: root + key })
        await ask((settings) => client.send(command, settings), { operation: `delete ${key}` }).catch((error) => {
          if (!isMissingKey(error)) throw error
        })
      }
    }
    const results = await Promise.allSettled(Array.from({ length: 8 }, work))
    const failed = results.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }

  async function ask<Output>(call: Call<Output>, asking: Asking): Promise<Output> {
    for (let attempt = 1; ; attempt++) {
      try {
        const output = await once(call, asking)
        reached = true
        return output
      } catch (error) {
        asking.signal?.throwIfAborted()
        const failure = explained(error, asking.operation)
        if (!(failure instanceof S3Error && failure.retryable) || attempt >= (asking.attempts ?? 1)) throw failure
        asking.onRetry?.(failure)
        await pacing.pause(backoff(attempt, pacing.random), asking.signal).catch((error) => {
          asking.signal?.throwIfAborted()
          throw error
        })
      }
    }
  }

  /** One request. Settles when its signal aborts and when its time is over, whatever the SDK does. */
  async function once<Output>(
    call: Call<Output>,
    { signal, cut = signal, limitMs = 10 * timeoutMs }: Asking,
  ): Promise<Output> {
    signal?.throwIfAborted()
    const stop = new AbortController()
    const abort = () => stop.abort(cut?.reason)
    const timer = setTimeout(
      () => stop.abort(Object.assign(new Error(`no answer in ${limitMs / 1000} s`), { code: 'ETIMEDOUT' })),
      limitMs,
    )
    cut?.addEventListener('abort', abort, { once: true })
    try {
      const stopped = new Promise<never>((_, reject) =>
        stop.signal.addEventListener('abort', () => reject(stop.signal.reason), { once: true }),
      )
      return await Promise.race([call({ abortSignal: stop.signal }), stopped])
    } finally {
      clearTimeout(timer)
      cut?.removeEventListener('abort', abort)
    }
  }

  function explained(error: unknown, operation: string): JobError {
    if (error instanceof JobError) return error
    return new S3Error(error as ServerError, { name, at, bucket, endpoint, operation, reached })
  }

  return {
    name,
    features: {
      get conditionalPut() {
        return conditional !== 'no'
      },
    },
    put,
    get,
    head,
    list,
    delete: remove,
    async close() {
      client.destroy()
      reader.destroy()
    },
  }
}

/** Two clients on the same connections: one must not be silent; one reads objects, as fast as whoever wants them can. */
function connect(options: S3Options, context: OpenContext): { client: S3Client; reader: S3Client } {
  const { endpoint, tls, timeoutSeconds } = options
  const at = `${context.at}.s3`
  const pooled = { keepAlive: true, maxSockets: 256, maxFreeSockets: 64 }
  const ca = tls.ca && [...getCACertificates('default'), context.secret(tls.ca, tls.ca.key, `${at}.tls.ca`)]
  const agents = {
    httpAgent: new HttpAgent(pooled),
    httpsAgent: new HttpsAgent({ ...pooled, ...given({ ca }), rejectUnauthorized: !tls.insecureSkipVerify }),
  }
  const checksums =
    (options.checksums ?? (endpoint ? 'when-required' : 'when-supported')) === 'when-required'
      ? 'WHEN_REQUIRED'
      : 'WHEN_SUPPORTED'
  const timeoutMs = timeoutSeconds * 1000
  const connectionTimeout = Math.min(timeoutMs, 10_000)
  const config: S3ClientConfig = {
    ...given({
      endpoint,
      region: options.region ?? (endpoint && 'us-east-1'),
      credentials: credentialsOf(options, context),
    }),
    forcePathStyle: options.forcePathStyle ?? endpoint !== undefined,
    requestChecksumCalculation: checksums,
    responseChecksumValidation: 'WHEN_REQUIRED',
    expectContinueHeader: false,
    // The tries are counted in one place: here, and in `retrying`.
    maxAttempts: 1,
  }
  const client = new S3Client({ ...config, requestHandler: { ...agents, connectionTimeout, socketTimeout: timeoutMs } })
  const reader = new S3Client({ ...config, requestHandler: { ...agents, connectionTimeout, socketTimeout: 0 } })
  if (!(options.signPayload ?? endpoint?.startsWith('http://') ?? false)) leavePayloadUnsigned(client)
  return { client, reader }
}

/** TLS protects the bytes already; hashing them would cost a third of a core at 500 MB/s. */
function leavePayloadUnsigned(client: S3Client): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { body?: unknown; headers: Record<string, string> }
      if (Buffer.isBuffer(request.body)) request.headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD'
      return next(args)
    },
    { step: 'build', name: 'leavePayloadUnsigned' },
  )
}

/** Files of a Secret change when it does; they are read again every five minutes. */
function credentialsOf({ credentials }: S3Options, { at, secret }: OpenContext) {
  if (!credentials) return undefined
  const path = `${at}.s3.credentials`
  const { accessKeyIdKey, secretAccessKeyKey, sessionTokenKey } = credentials
  const read = () => ({
    accessKeyId: secret(credentials, accessKeyIdKey, path),
    secretAccessKey: secret(credentials, secretAccessKeyKey, path),
    ...(sessionTokenKey === undefined ? {} : { sessionToken: secret(credentials, sessionTokenKey, path) }),
    // The SDK asks again five minutes before.
    expiration: new Date(Date.now() + 10 * 60_000),
  })
  read()
  return async () => read()
}

/** One page in key order: objects and folders come in two lists, each sorted. */
function entriesOf(
  { Contents = [], CommonPrefixes = [], EncodingType }: ListObjectsV2CommandOutput,
  root: string,
): Listed[] {
  const decode = (key = '') =>
    (EncodingType === 'url' ? decodeURIComponent(key.replaceAll('+', '%20')) : key).slice(root.length)
  const objects = Contents.map(
    ({ Key, Size = 0, LastModified = new Date(0) }): Listed => ({
      kind: 'object',
      key: decode(Key),
      size: Size,
      modified: LastModified,
    }),
  )
  const folders = CommonPrefixes.map(({ Prefix }): Listed => ({ kind: 'folder', key: decode(Prefix) }))
  const all = [...objects, ...folders].filter(({ key }) => key !== '')
  return folders.length === 0 ? all : all.sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)))
}

/** Answers to HEAD have no code: there a missing bucket looks the same. */
function isMissingKey(error: unknown): boolean {
  return (
    error instanceof S3Error && error.status === 404 && ['NoSuchKey', 'NotFound', 'UnknownError'].includes(error.code)
  )
}

function refusesMultiDelete({ code, status }: S3Error): boolean {
  const codes = [
    'NotImplemented',
    'MethodNotAllowed',
    'MissingContentMD5',
    'InvalidRequest',
    'InvalidArgument',
    'MalformedXML',
    'InvalidDigest',
    'BadDigest',
  ]
  return codes.includes(code) || [405, 411, 501].includes(status)
}

function storedOf({ ContentLength = 0, LastModified }: HeadObjectCommandOutput): Stored {
  return { size: ContentLength, ...given({ modified: LastModified }) }
}

function rootOf(prefix = ''): string {
  const trimmed = prefix.replaceAll(/^\/+|\/+$/g, '')
  return trimmed && `${trimmed}/`
}

/** Without what is undefined. */
function given<T extends object>(values: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never
}
