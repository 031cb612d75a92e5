import { createCipheriv, type KeyObject } from 'node:crypto'
import { release } from './memory.ts'

/**
 * The chunks of the age format, version 1, sealed. Only what a thread needs that does nothing else (io/seal-thread.ts).
 */

export const cipher = 'chacha20-poly1305'
export const tagSize = 16
/** Bytes in a chunk, before and after. */
export const chunkSize = 64 * 1024
export const sealedChunkSize = chunkSize + tagSize

/** So many make a loan, and are what a thread seals in one go. */
export const chunksInBlock = 7
export const blockSize = chunksInBlock * chunkSize
export const sealedBlockSize = chunksInBlock * sealedChunkSize

export interface Numbered {
  key: KeyObject
  /** Number of the first chunk. Each is used once: a key is for one stream. */
  first: number
  /** The last of these chunks is the last of all. */
  ends: boolean
}

/** Seals `plain` into `sealed`, and returns the bytes there. Only what ends a stream may have a chunk that is not full, or is empty. */
export function sealChunks(plain: Buffer, sealed: Buffer, { key, first, ends }: Numbered): number {
  let bytes = 0
  for (let at = 0, number = first; at === 0 || at < plain.length; at += chunkSize, number++) {
    const nonce = chunkNonce(number, ends && at + chunkSize >= plain.length)
    const seal = createCipheriv(cipher, key, nonce, { authTagLength: tagSize })
    const chunk = seal.update(plain.subarray(at, at + chunkSize))
    bytes += chunk.copy(sealed, bytes)
    release(chunk)
    seal.final()
    bytes += seal.getAuthTag().copy(sealed, bytes)
  }
  return bytes
}

/** 11 bytes of number, most significant first, and 1 in the last byte of the last. */
export function chunkNonce(number: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUIntBE(number, 5, 6)
  nonce.writeUInt8(last ? 1 : 0, 11)
  return nonce
}
