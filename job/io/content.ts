import { createHash } from 'node:crypto'

/** What bytes are told by. */
export interface Content {
  size: number
  sha256: string
}

export interface Hasher {
  add(bytes: Buffer): void
  /** Of all that was added; once. */
  content(): Content
}

/** Hashes and counts what it is given, and tells how much that was. */
export function hasher(onBytes?: (bytes: number) => void): Hasher {
  const hash = createHash('sha256')
  let size = 0
  return {
    add: (bytes) => {
      hash.update(bytes)
      size += bytes.length
      onBytes?.(bytes.length)
    },
    content: () => ({ size, sha256: hash.digest('hex') }),
  }
}
