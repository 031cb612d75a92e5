import type { Readable } from 'node:stream'
import { ObjectError } from './errors.ts'

/**
 * CONTRACT. What a storage must know how to do. A storage knows nothing of databases, manifests or plans: keys and bytes.
 * Keys are relative to the storage's own prefix, use `/`, and never start with it.
 * Every failure is a JobError of kind `storage` (or `configuration` for what only other values can mend), with
 * `retryable` set when the same call may succeed later. A promise always settles: a stalled server is an error.
 */
export interface Storage {
  /** The name the values give it. */
  readonly name: string
  readonly features: StorageFeatures
  /**
   * Stores one object, whole or not at all: after a rejection nothing is visible under the key (unless the answer was lost).
   * With `ifAbsent` an existing object stays as it is and the call rejects with an ObjectExists error.
   * Resolves only when the object is durable and the storage has confirmed its size.
   */
  put(key: string, body: Body, options: PutOptions): Promise<Stored>
  /** The bytes of an object, or of `range` of it. Rejects with ObjectMissing. The stream errors when it ends too early. */
  get(key: string, options?: GetOptions): Promise<Readable>
  /** What the storage has under the key; undefined when nothing. */
  head(key: string): Promise<Stored | undefined>
  /** Objects below a prefix in key order; with a delimiter, what lies deeper comes as one `folder` entry ending in it. */
  list(prefix: string, options?: { delimiter?: string }): AsyncIterable<Listed>
  /**
   * Rejects with `storage` when it is known, without writing, that nothing can be put below `prefix`, which ends in a slash. Absent where only a
   * put can tell.
   */
  writable?(prefix: string): Promise<void>
  /** Removes objects; one that is missing already is no error. Rejects when any could not be removed, naming it. */
  delete(keys: string[]): Promise<void>
  /**
   * Where another program finds what lies below `prefix`, and how it logs in, for databases that write backups by themselves. Absent where
   * no such program gets to. No request is made.
   */
  external?(prefix: string): ExternalPlace
  /** Set when parts are encrypted before they come here. The storage itself knows nothing of it: put and get are of stored bytes. */
  readonly encryption?: Encryption
  /** Frees connections. The storage is not used afterwards. */
  close(): Promise<void>
}

/** For whom parts are encrypted, and who can read them. */
export interface Encryption extends Identities {
  /** Public keys of age: each alone opens what is encrypted. Never none. */
  readonly recipients: readonly string[]
}

export interface Identities {
  /** Where they are named, for errors: a values path, a flag. */
  readonly at: string
  /** Private keys of age. Reads their file: never logged, never serialised. Throws `configuration` when none is named. */
  identities(): string[]
}

/** A folder of a bucket, as a program that speaks S3 needs to know it. Holds secrets: never logged, never serialised. */
export interface ExternalPlace {
  kind: 's3'
  bucket: string
  /** Without a slash at its ends. */
  prefix: string
  /** URL of a server that is not AWS. */
  endpoint?: string
  region?: string
  /** Bucket in the path instead of the host name. */
  forcePathStyle: boolean
  /** Server-side encryption to ask for, and its key. */
  sse?: string
  kmsKeyId?: string
  storageClass?: string
  /** Absent: whatever the machine of the program is allowed. */
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }
}

/** What this storage can do, as data: nobody asks for its kind. */
export interface StorageFeatures {
  /** put with ifAbsent is decided by the storage itself, so two writers cannot both win. */
  readonly conditionalPut: boolean
  /** So many streams it takes at once, whatever their pace; more share its memory and may wait for each other's end. Absent: any number. */
  readonly streams?: number
}

/** A stream can be read once; a function can be called again, so its put can be retried. */
export type Body = Buffer | Readable | (() => Readable)

/**
 * A stream that can also be read in loans: chunks that are the reader's only until it asks for the next, so that long
 * streams take no new memory all the time. It is read one way or the other, not both.
 */
export interface Lender extends Readable {
  loans(): AsyncIterable<Buffer>
}

export function isLender(stream: Readable): stream is Lender {
  return 'loans' in stream
}

export interface PutOptions {
  /** Bytes, when known: chooses the part size, and a body of another length is refused. */
  size?: number
  ifAbsent?: boolean
  /** It is to be removed before long: where objects are locked when they are written, this one is not. */
  unlocked?: boolean
  signal?: AbortSignal
}

export interface GetOptions {
  /** First and last byte, both included; without `end` to the end of the object. */
  range?: { start: number; end?: number }
  signal?: AbortSignal
}

export interface Stored {
  /** Bytes. */
  size: number
  /** Last change, by the storage's clock. */
  modified?: Date
}

export type Listed = { kind: 'object'; key: string; size: number; modified: Date } | { kind: 'folder'; key: string }

/** Reads a whole small object (manifests, facts). Rejects with ObjectMissing. */
export async function readAll(storage: Pick<Storage, 'get'>, key: string, signal?: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of await storage.get(key, signal ? { signal } : {})) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** True for the error of a get of something that is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof ObjectError && error.code === 'ObjectMissing'
}

/** True for the error of a put with ifAbsent that found an object. */
export function isExisting(error: unknown): boolean {
  return error instanceof ObjectError && error.code === 'ObjectExists'
}
