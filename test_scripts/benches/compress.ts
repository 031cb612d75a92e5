import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { fileStream } from '../../job/io/lending.ts'
import { compress } from '../../job/io/zstd.ts'

/** A file through our compression, into another. */
export async function compressFile(from: string, to: string, level: string): Promise<void> {
  const { signal } = new AbortController()
  await pipeline(compress(fileStream(from, signal), Number(level)), createWriteStream(to))
}
