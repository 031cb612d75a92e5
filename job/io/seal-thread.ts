import { createHash, type KeyObject } from 'node:crypto'
import { type MessagePort, parentPort } from 'node:worker_threads'
import { chunksInBlock, sealChunks } from './chunks.ts'

/** A thread that seals and hashes, for io/seal-aside.ts. Each stream has a port. */

export interface Opening {
  key: KeyObject
  /** What is stored in front of the chunks. */
  head: Uint8Array
}

/** The memory of both goes there and back. */
export interface Block {
  plain: ArrayBuffer
  sealed: ArrayBuffer
  /** Bytes in `plain`. */
  size: number
  ends: boolean
}

export interface Sealed extends Block {
  /** Bytes in `sealed`. */
  stored: number
  /** With the last block: sha256 of all that went in, and of all that came out. */
  hashes?: { plain: string; stored: string }
}

parentPort?.on('message', ({ port, key, head }: Opening & { port: MessagePort }) => {
  const hashes = { plain: createHash('sha256'), stored: createHash('sha256').update(head) }
  let first = 0
  port.on('message', ({ plain, sealed, size, ends }: Block) => {
    const data = Buffer.from(plain, 0, size)
    const stored = sealChunks(data, Buffer.from(sealed), { key, first, ends })
    first += chunksInBlock
    hashes.plain.update(data)
    hashes.stored.update(Buffer.from(sealed, 0, stored))
    const last = ends && { hashes: { plain: hashes.plain.digest('hex'), stored: hashes.stored.digest('hex') } }
    port.postMessage({ plain, sealed, size, ends, stored, ...last } satisfies Sealed, [plain, sealed])
  })
})
