import type { Readable } from 'node:stream'
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
  type StorageClass,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { JobError, ObjectError } from '../errors.ts'
import type { Body, GetOptions, Listed, PutOptions, Storage, Stored } from '../storage.ts'
import { type Pacing, realPacing } from './backoff.ts'
import { bufferPool } from './buffers.ts'
import { given } from './given.ts'
import { guarded } from './guarded.ts'
import { chunksOf, openBody, requireSize } from './incoming.ts'
import type { OpenContext } from './kind.ts'
import { agentsOf, externalPlaceOf, settingsOf, signsPayload } from './s3-connection.ts'
import { S3Error } from './s3-errors.ts'
import { checksumFor, lockedFor } from './s3-lock.ts'
import { type Asking, patience, s3Requests } from './s3-requests.ts'
import type { S3Options } from './s3-values.ts'
import { maxParts, tooLarge, type UploadTarget, upload } from './upload.ts'

const MiB = 2 ** 20
/** Keys in one DeleteObjects, by the protocol. */
const deleteBatch = 1000

interface Writing {
  ifAbsent: boolean
  unlocked?: boolean | undefined
  attempts: number
  signal?: AbortSignal | undefined
}

/** Makes the request, with `If-None-Match` among its headers or without. */
type Write = (condition: { IfNoneMatch?: '*' }) => Promise<unknown>

export interface S3Context extends OpenContext {
  name: string
  pacing?: Pacing
  now?: () => Date
}

/** Opens a bucket. No request is made before the first use. */
export function openS3(options: S3Options, context: S3Context): Storage {
  const { name, pacing = realPacing, now = () => new Date() } = context
  const { bucket, endpoint } = options
  const timeoutMs = options.timeoutSeconds * 1000
  const { client, reader } = connect(options, context)
  const { ask, explained } = s3Requests({
    server: { name, at: `${context.at}.s3`, bucket, endpoint },
    limitMs: 10 * timeoutMs,
    pacing,
  })
  const pool = bufferPool(options.partSizeMiB * options.partsInFlight * MiB)
  const root = rootOf(options.prefix)
  const placement = given({
    ServerSideEncryption: options.sse,
    SSEKMSKeyId: options.kmsKeyId,
    StorageClass: options.storageClass as StorageClass | undefined,
  })
  let conditional: 'unknown' | 'yes' | 'no' = options.conditionalPut === 'never' ? 'no' : 'unknown'
  let multiDelete = true

  const objectAt = (key: string) => ({ Bucket: bucket, Key: root + key })
  const failed = (text: string, retryable = false) =>
    new JobError('storage', `storage ${name} (${bucket}): ${text}`, { retryable })

  async function put(key: string, body: Body, options: PutOptions): Promise<Stored> {
    const { signal } = options
    const data = openBody(body)
    try {
      signal?.throwIfAborted()
      const sent = await send(key, data, options)
      return await confirm(key, sent, signal)
    } finally {
      if (!Buffer.isBuffer(data)) data.destroy()
    }
  }

  async function send(key: string, data: Buffer | Readable, options: PutOptions): Promise<number> {
    const { size, ifAbsent = false, unlocked, signal } = options
    const partSize = partSizeOf(size ?? 0)
    if (Buffer.isBuffer(data) && data.length <= partSize) {
      requireSize(data.length, { key, size })
      await targetOf(key, { ifAbsent, unlocked, attempts: 1 }).putWhole(data, signal)
      return data.length
    }
    if (size !== undefined && size > maxParts * partSize) throw tooLarge(key, partSize)
    return await upload({
      key,
      target: targetOf(key, { ifAbsent, unlocked, attempts: patience }),
      read: (stop) => chunksOf(data, { key, size, signal: stop }),
      pool,
      partSize,
      graceMs: Math.min(timeoutMs, 5000),
      signal,
    })
  }

  /** Not more than 9000 parts while the memory allows. */
  function partSizeOf(size: number): number {
    const needed = Math.ceil(size / 9000 / MiB)
    return Math.max(options.partSizeMiB, Math.min(needed, pool.budget / MiB)) * MiB
  }

  function targetOf(key: string, { ifAbsent, unlocked = false, attempts }: Writing): UploadTarget<CompletedPart> {
    const object = objectAt(key)
    const made = () => ({ ...object, ...placement, ...lockedFor(options, { unlocked, now: now() }) })
    return {
      async putWhole(bytes, signal) {
        const input = { ...made(), Body: bytes, ContentLength: bytes.length }
        const asking = { operation: `put ${key}`, signal, attempts }
        const write: Write = (condition) =>
          ask(asking, (settings) => client.send(new PutObjectCommand({ ...input, ...condition }), settings))
        await conditionally(key, { ifAbsent, attempts, signal }, write)
        if (ifAbsent && conditional === 'unknown') conditional = await probe(write)
      },
      async begin(signal) {
        const command = new CreateMultipartUploadCommand(made())
        const asking = { operation: `begin the upload of ${key}`, signal, attempts }
        const { UploadId } = await ask(asking, (settings) => client.send(command, settings))
        if (UploadId === undefined) throw failed(`${asking.operation}: the server gave it no id`)
        return UploadId
      },
      async sendPart(UploadId, { number: PartNumber, bytes, signal, cut }) {
        const command = new UploadPartCommand({
          ...object,
          ...checksumFor(options),
          UploadId,
          PartNumber,
          Body: bytes,
          ContentLength: bytes.length,
        })
        const asking = { operation: `put part ${PartNumber} of ${key}`, signal, cut, attempts }
        const { ETag, ChecksumCRC32 } = await ask(asking, (settings) => client.send(command, settings))
        return given({ PartNumber, ETag, ChecksumCRC32 })
      },
      async complete(UploadId, { parts, size, signal }) {
        let lost = false
        const onRetry = (error: S3Error) => {
          lost ||= error.status !== 409
        }
        const input = { ...object, UploadId, MultipartUpload: { Parts: parts } }
        const asking = { operation: `complete ${key}`, signal, attempts, onRetry }
        const write: Write = (condition) =>
          ask(asking, (settings) =>
            client.send(new CompleteMultipartUploadCommand({ ...input, ...condition }), settings),
          )
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
        const asking = { operation: `abort the upload of ${key}`, signal, attempts }
        await ask(asking, (settings) => client.send(command, settings))
      },
    }
  }

  /** Lets the server decide where it can; where it says that it cannot, looks first. */
  async function conditionally(key: string, { ifAbsent, attempts, signal }: Writing, write: Write): Promise<void> {
    if (!ifAbsent) return void (await write({}))
    try {
      if (conditional !== 'no') return void (await write({ IfNoneMatch: '*' }))
    } catch (error) {
      if (!(error instanceof S3Error)) throw error
      if (error.status === 412) throw new ObjectError('ObjectExists', key, error)
      if (error.status !== 501) throw error
      conditional = 'no'
    }
    if (await look(key, { attempts, signal })) throw new ObjectError('ObjectExists', key)
    await write({})
  }

  /** Some servers take the condition and ignore it. Only they accept the same object, just written, once more. */
  async function probe(write: Write): Promise<typeof conditional> {
    try {
      await write({ IfNoneMatch: '*' })
      return 'no'
    } catch (error) {
      return error instanceof S3Error && error.status === 412 ? 'yes' : 'unknown'
    }
  }

  async function confirm(key: string, sent: number, signal: AbortSignal | undefined): Promise<Stored> {
    const found = await look(key, { signal, attempts: patience })
    if (found?.ContentLength === sent) return storedOf(found)
    throw failed(
      `${key} ${found ? `has ${found.ContentLength} bytes` : 'is missing'} after ${sent} bytes were stored`,
      true,
    )
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
    const Range = range && `bytes=${range.start}-${range.end ?? ''}`
    const command = new GetObjectCommand({ ...objectAt(key), ...given({ Range }) })
    const asking = { operation, signal, limitMs: timeoutMs }
    const answer = await ask(asking, (settings) => reader.send(command, settings)).catch((error) => {
      throw isMissingKey(error) ? new ObjectError('ObjectMissing', key, error) : error
    })
    const body = answer.Body as Readable
    if (range && answer.ContentRange === undefined) {
      body.destroy()
      throw failed(`${operation}: the server ignores ranges`)
    }
    return guarded(body, {
      what: `storage ${name} (${bucket}): ${operation}`,
      expected: answer.ContentLength,
      stallMs: timeoutMs,
      signal,
      explain: (error) => explained(error, operation),
    })
  }

  async function head(key: string): Promise<Stored | undefined> {
    const found = await look(key)
    return found && storedOf(found)
  }

  async function look(
    key: string,
    asking: Omit<Asking, 'operation'> = {},
  ): Promise<HeadObjectCommandOutput | undefined> {
    const command = new HeadObjectCommand(objectAt(key))
    try {
      return await ask({ operation: `head ${key}`, ...asking }, (settings) => client.send(command, settings))
    } catch (error) {
      if (isMissingKey(error)) return undefined
      throw error
    }
  }

  async function* list(prefix: string, { delimiter }: { delimiter?: string } = {}): AsyncIterable<Listed> {
    const operation = `list ${prefix}`
    const query = {
      Bucket: bucket,
      Prefix: root + prefix,
      EncodingType: 'url',
      ...given({ Delimiter: delimiter }),
    } as const
    let token: string | undefined
    do {
      const command = new ListObjectsV2Command({ ...query, ...given({ ContinuationToken: token }) })
      const page = await ask({ operation }, (settings) => client.send(command, settings))
      yield* entriesOf(page, root)
      const next: string | undefined = page.IsTruncated ? page.NextContinuationToken : undefined
      if (page.IsTruncated && (next === undefined || next === token)) {
        throw failed(`${operation}: the server says there is more, but not how to get it`)
      }
      token = next
    } while (token !== undefined)
  }

  async function remove(keys: string[]): Promise<void> {
    for (let from = 0; from < keys.length; from += deleteBatch) {
      const batch = keys.slice(from, from + deleteBatch)
      if (!multiDelete || !(await removeTogether(batch))) await removeEach(batch)
    }
  }

  /** False when the server does not know how to. */
  async function removeTogether(keys: string[]): Promise<boolean> {
    const Objects = keys.map((key) => ({ Key: root + key }))
    const command = new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } })
    const operation = `delete ${keys[0]}${keys.length > 1 ? ` and ${keys.length - 1} more` : ''}`
    try {
      const { Errors = [] } = await ask({ operation }, (settings) => client.send(command, settings))
      const first = Errors.find(({ Code }) => Code !== 'NoSuchKey')
      if (first)
        throw explained({ name: first.Code, message: first.Message }, `delete ${first.Key?.slice(root.length)}`)
    } catch (error) {
      if (!(error instanceof S3Error && refusesMultiDelete(error))) throw error
      multiDelete = false
    }
    return multiDelete
  }

  async function removeEach(keys: string[]): Promise<void> {
    const queue = keys.values()
    const work = async () => {
      for (const key of queue) await removeOne(key)
    }
    const results = await Promise.allSettled(Array.from({ length: 8 }, work))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  async function removeOne(key: string): Promise<void> {
    const command = new DeleteObjectCommand(objectAt(key))
    try {
      await ask({ operation: `delete ${key}` }, (settings) => client.send(command, settings))
    } catch (error) {
      if (!isMissingKey(error)) throw error
    }
  }

  return {
    name,
    features: {
      get conditionalPut() {
        return conditional !== 'no'
      },
      streams: options.partsInFlight,
    },
    put,
    get,
    head,
    list,
    delete: remove,
    external: (prefix) => externalPlaceOf(options, context, root + prefix),
    async close() {
      client.destroy()
      reader.destroy()
    },
  }
}

/** Two clients on the same connections: one may not be silent; one reads objects, as slowly as whoever wants them. */
function connect(options: S3Options, context: OpenContext): { client: S3Client; reader: S3Client } {
  const timeoutMs = options.timeoutSeconds * 1000
  const agents = agentsOf(options, context)
  const handler = { ...agents, connectionTimeout: Math.min(timeoutMs, 10_000) }
  const settings = settingsOf(options, context)
  const client = new S3Client({ ...settings, requestHandler: { ...handler, socketTimeout: timeoutMs } })
  const reader = new S3Client({ ...settings, requestHandler: { ...handler, socketTimeout: 0 } })
  // it makes a copy of every answer for a log that nobody keeps, which takes longer than a listing of 1000 keys should
  for (const one of [client, reader]) one.middlewareStack.remove('loggerMiddleware')
  if (!signsPayload(options)) leavePayloadUnsigned(client)
  return { client, reader }
}

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

/** One page in key order: objects and folders come in two lists, each sorted. */
function entriesOf(page: ListObjectsV2CommandOutput, root: string): Listed[] {
  const { Contents = [], CommonPrefixes = [], EncodingType } = page
  const plain = (key: string) => (EncodingType === 'url' ? decodeURIComponent(key.replaceAll('+', '%20')) : key)
  const keyOf = (key = '') => plain(key).slice(root.length)
  const objects = Contents.map(({ Key, Size = 0, LastModified = new Date(0) }): Listed => {
    return { kind: 'object', key: keyOf(Key), size: Size, modified: LastModified }
  })
  const folders = CommonPrefixes.map(({ Prefix }): Listed => ({ kind: 'folder', key: keyOf(Prefix) }))
  // Consoles make an empty object of the prefix itself.
  return merged(objects, folders).filter(({ key }) => key !== '')
}

/** Both are in order: sorting them again would cost as much as reading the answer. */
function merged(a: Listed[], b: Listed[]): Listed[] {
  const all: Listed[] = []
  let next = 0
  for (const one of a) {
    for (let other = b[next]; other && isBefore(other.key, one.key); other = b[++next]) all.push(other)
    all.push(one)
  }
  return [...all, ...b.slice(next)]
}

/** By their bytes, as servers have it. */
function isBefore(a: string, b: string): boolean {
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0
}

/** Answers to HEAD have no code: there a missing bucket looks the same. */
function isMissingKey(error: unknown): boolean {
  const codes = ['NoSuchKey', 'NotFound', 'UnknownError']
  return error instanceof S3Error && error.status === 404 && codes.includes(error.code)
}

/** Among them the many ways to say that Content-MD5 is missing, which the SDK does not send. */
function refusesMultiDelete({ code, status }: S3Error): boolean {
  const unknown = ['NotImplemented', 'MethodNotAllowed', 'MalformedXML', 'InvalidRequest', 'InvalidArgument']
  const digest = ['MissingContentMD5', 'InvalidDigest', 'BadDigest']
  return [...unknown, ...digest].includes(code) || [405, 411, 501].includes(status)
}

function storedOf({ ContentLength = 0, LastModified }: HeadObjectCommandOutput): Stored {
  return { size: ContentLength, ...given({ modified: LastModified }) }
}

function rootOf(prefix = ''): string {
  const trimmed = prefix.replaceAll(/^\/+|\/+$/g, '')
  return trimmed && `${trimmed}/`
}
