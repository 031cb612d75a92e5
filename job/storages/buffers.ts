/** Memory for parts, shared by all uploads of a storage. Nobody holds a piece of it while waiting for another. */
export interface BufferPool {
  /** Waits in line until there is room. A buffer belongs to its taker until it is given back. */
  take(bytes: number, signal: AbortSignal): Promise<Buffer>
  give(buffer: Buffer): void
  readonly budget: number
}

interface Waiter {
  bytes: number
  serve(buffer: Buffer): void
}

/**
 * Buffers are kept and used again: fresh ones for every part make the collector's delay part of the memory
 * (aws-sdk-js-v3 #8286), and slices of pooled slabs keep the whole slab.
 */
export function bufferPool(budget: number): BufferPool {
  const kept: Buffer[] = []
  const line: Waiter[] = []
  let used = 0

  function take(bytes: number, signal: AbortSignal): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        line.splice(line.indexOf(waiter), 1)
        reject(signal.reason)
        serveLine()
      }
      const waiter: Waiter = {
        bytes,
        serve: (buffer) => {
          signal.removeEventListener('abort', leave)
          resolve(buffer)
        },
      }
      if (signal.aborted) return reject(signal.reason)
      signal.addEventListener('abort', leave, { once: true })
      line.push(waiter)
      serveLine()
    })
  }

  function give(buffer: Buffer): void {
    used -= buffer.length
    kept.push(buffer)
    serveLine()
  }

  function serveLine(): void {
    for (let first = line[0]; first && (used === 0 || used + first.bytes <= budget); first = line[0]) {
      line.shift()
      used += first.bytes
      first.serve(find(first.bytes))
    }
  }

  function find(bytes: number): Buffer {
    const index = kept.findIndex((buffer) => buffer.length === bytes)
    if (index >= 0) return kept.splice(index, 1)[0] as Buffer
    while (kept.length > 0 && used + kept.reduce((sum, buffer) => sum + buffer.length, 0) > budget) kept.pop()
    return Buffer.allocUnsafeSlow(bytes)
  }

  return { take, give, budget }
}
