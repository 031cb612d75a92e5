import { createHash } from 'node:crypto'
import { type MessagePort, parentPort } from 'node:worker_threads'

/** A thread that hashes, for io/hash-aside.ts. Each stream has a port. */

/** The memory goes there and back. */
export interface Block {
  data: ArrayBuffer
  /** Bytes in `data`. */
  size: number
  ends: boolean
}

export interface Hashed extends Block {
  /** With the last block: of all that went in. */
  sha256?: string
}

parentPort?.on('message', ({ port }: { port: MessagePort }) => {
  const hash = createHash('sha256')
  port.on('message', (block: Block) => {
    hash.update(Buffer.from(block.data, 0, block.size))
    const last = block.ends && { sha256: hash.digest('hex') }
    port.postMessage({ ...block, ...last } satisfies Hashed, [block.data])
  })
})
