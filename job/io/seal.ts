import { createDecipheriv, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { JobError } from '../errors.ts'
import type { Lender } from '../storage.ts'
import { blocksOf } from './blocks.ts'
import { chunkNonce, chunkSize, cipher, sealChunks, sealedBlockSize, sealedChunkSize, tagSize } from './chunks.ts'
import { lending, lendingItsOwn, piecesOf } from './lending.ts'

/**
 * The payload of the age format, version 1: a nonce, then chunks of 64 KiB under ChaCha20-Poly1305, each with its number and whether it
 * is the last, so that one that is cut, changed, moved or missing is found, and any can be read alone.
 */

/** Random, so that a key that is used for a second try of an upload makes another stream. */
export const nonceSize = 16

export interface FileKey {
  fileKey: Buffer
  /** As io/age.ts makes it: what the file begins with. */
  header: string
}

/** A file of age. Errors of the source reach the reader; who lets go of it ends the source. */
export function seal(source: Readable, key: FileKey): Lender {
  return lending(sealed(source, key), source)
}

/** Bytes of a file of age, header included. */
export function sealedSize(plain: number, header: string): number {
  return header.length + nonceSize + plain + Math.max(1, Math.ceil(plain / chunkSize)) * tagSize
}

/** What a file begins with, and the key of its chunks: others for each file. */
export function beginFile({ fileKey, header }: FileKey): { head: Buffer; key: KeyObject } {
  const nonce = randomBytes(nonceSize)
  return { head: Buffer.concat([Buffer.from(header), nonce]), key: payloadKey(fileKey, nonce) }
}

async function* sealed(source: Readable, fileKey: FileKey): AsyncGenerator<Buffer> {
  const { head, key } = beginFile(fileKey)
  const chunk = Buffer.allocUnsafeSlow(chunkSize)
  const loan = Buffer.allocUnsafeSlow(sealedBlockSize)
  let first = 0
  let lent = 0
  yield head
  for await (const { block, ends } of blocksOf(source, () => chunk)) {
    if (lent === loan.length) {
      yield loan
      lent = 0
    }
    lent += sealChunks(block, loan.subarray(lent), { key, first, ends })
    first += 1
  }
  yield loan.subarray(0, lent)
}

interface Opening {
  fileKey: Buffer
  /** Bytes of the file before its nonce. */
  headerSize: number
  /** For errors. */
  where: string
}

/** What is in a file of age. Only bytes that were authenticated come out; an early end is an error. */
export function unseal(source: Readable, options: Opening): Lender {
  return lendingItsOwn(opened(source, options), source)
}

async function* opened(source: Readable, { fileKey, headerSize, where }: Opening): AsyncGenerator<Buffer> {
  const start = headerSize + nonceSize
  const pieces = piecesOf(source)[Symbol.asyncIterator]()
  let head = Buffer.alloc(0)
  while (head.length < start) {
    const piece = await pieces.next()
    if (piece.done) throw broken(where, 'ends before its first chunk')
    head = Buffer.concat([head, piece.value])
  }
  const key = payloadKey(fileKey, head.subarray(headerSize, start))
  yield* openChunks(rest(head.subarray(start), pieces), { key, first: 0, ends: true, where })
}

async function* rest(head: Buffer, pieces: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield head
    for (let piece = await pieces.next(); !piece.done; piece = await pieces.next()) yield piece.value
  } finally {
    await pieces.return?.()
  }
}

interface Chunks {
  key: KeyObject
  /** Number of the first chunk. */
  first: number
  /** The last of these chunks is the last of all. */
  ends: boolean
  where: string
}

/** The plain bytes of chunks that follow each other. */
export async function* openChunks(
  source: AsyncIterable<Buffer>,
  { key, first, ends, where }: Chunks,
): AsyncGenerator<Buffer> {
  const chunk = Buffer.allocUnsafeSlow(sealedChunkSize)
  let filled = 0
  let number = first
  const open = (last: boolean) => {
    if (filled < tagSize || (filled === tagSize && number > 0)) throw broken(where, `ends after ${number} chunks`)
    const nonce = chunkNonce(number, last)
    const decipher = createDecipheriv(cipher, key, nonce, { authTagLength: tagSize })
    decipher.setAuthTag(chunk.subarray(filled - tagSize, filled))
    const plain = decipher.update(chunk.subarray(0, filled - tagSize))
    try {
      decipher.final()
    } catch (cause) {
      throw broken(where, `is not what was sealed: chunk ${number}`, cause)
    }
    number += 1
    filled = 0
    return plain
  }
  for await (const data of source) {
    for (let at = 0; at < data.length; ) {
      if (filled === sealedChunkSize) yield open(false)
      const bytes = data.copy(chunk, filled, at)
      at += bytes
      filled += bytes
    }
  }
  yield open(ends)
}

function broken(where: string, how: string, cause?: unknown): JobError {
  return new JobError('verification', `${where} ${how}`, {
    hint: 'the part is damaged or was changed: restore another backup, or from another storage',
    cause,
  })
}

/** The key that a file key and a nonce make. As an object: bytes are made one for each chunk, which takes a fifth of its encryption. */
export function payloadKey(fileKey: Buffer, nonce: Buffer): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32)))
}
