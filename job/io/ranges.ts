import { Readable } from 'node:stream'
import { partKey } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import type { Part } from '../manifest.ts'
import type { Storage } from '../storage.ts'
import { chunkSize, sealedChunkSize } from './chunks.ts'
import { type FrameSizes, footerSize, parseFrames, tableSizeIn } from './frames.ts'
import { nonceSize, openChunks, payloadKey } from './seal.ts'
import { decompress } from './zstd.ts'

/** Bytes that can be read from anywhere. `end` is the first that is not read any more; there is something to read. */
interface Bytes {
  size: number
  read(start: number, end: number): Promise<Readable>
}

interface Options {
  plan: string
  id: string
  storage: Storage
  signal: AbortSignal
  /** Of a part that is encrypted. */
  fileKey?: Buffer | undefined
}

/**
 * Some of what a part was made of, without reading all of it: from `start` to before `end`. What is encrypted or compressed is checked chunk
 * by chunk, or frame by frame; nothing checks a part that is neither.
 */
export async function readRange(
  part: Part,
  { start, end }: { start: number; end: number },
  { plan, id, storage, signal, fileKey }: Options,
): Promise<Readable> {
  const where = `${part.path} in storage ${storage.name}`
  const size = (part.plain ?? part).size
  if (start < 0 || end > size || start > end)
    throw new JobError('bug', `${where} has no bytes ${start} to ${end}, only ${size}`)
  if (start === end) return Readable.from([])
  const key = partKey(plan, id, part.path)
  const stored: Bytes = {
    size: part.size,
    read: (first, next) => storage.get(key, { range: { start: first, end: next - 1 }, signal }),
  }
  const opened = part.age && fileKey ? chunked(stored, { headerSize: part.age.header.length, fileKey, where }) : stored
  const plain = part.codec ? await framed(opened, where) : opened
  return plain.read(start, end)
}

/** The inside of a file of age. */
function chunked(
  stored: Bytes,
  { headerSize, fileKey, where }: { headerSize: number; fileKey: Buffer; where: string },
): Bytes {
  const first = headerSize + nonceSize
  const sealed = stored.size - first
  const chunks = Math.max(1, Math.ceil(sealed / sealedChunkSize))
  const tags = chunks * (sealedChunkSize - chunkSize)
  return {
    size: sealed - tags,
    read: async (start, end) => {
      const nonce = await readAll(await stored.read(headerSize, first))
      const from = Math.floor(start / chunkSize)
      const to = Math.ceil(end / chunkSize)
      const data = await stored.read(
        first + from * sealedChunkSize,
        Math.min(first + to * sealedChunkSize, stored.size),
      )
      const key = payloadKey(fileKey, nonce)
      const plain = openChunks(data, { key, first: from, ends: to === chunks, where })
      return between(plain, start - from * chunkSize, end - from * chunkSize)
    },
  }
}

/** What Zstandard frames hold, found by the table at their end. */
async function framed(stored: Bytes, where: string): Promise<Bytes> {
  const frames = await framesOf(stored, where)
  return {
    size: frames.reduce((sum, { plain }) => sum + plain, 0),
    read: async (start, end) => {
      let [skipped, from, to, at] = [0, 0, 0, 0]
      for (const { stored: bytes, plain } of frames) {
        if (at + plain <= start) [skipped, from] = [skipped + plain, from + bytes]
        if (at < end) to += bytes
        at += plain
      }
      return between(decompress(await stored.read(from, to), where), start - skipped, end - skipped)
    },
  }
}

async function framesOf(stored: Bytes, where: string): Promise<FrameSizes[]> {
  const footer = stored.size < footerSize ? undefined : await stored.read(stored.size - footerSize, stored.size)
  const size = footer && tableSizeIn(await readAll(footer))
  if (size !== undefined && size <= stored.size)
    return parseFrames(await readAll(await stored.read(stored.size - size, stored.size)))
  throw new JobError('verification', `${where} has no table of its frames: it can be read as a whole only`)
}

async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function between(source: AsyncIterable<Buffer>, start: number, end: number): Readable {
  return Readable.from(slice(source, start, end), { objectMode: false, highWaterMark: 1024 * 1024 })
}

async function* slice(source: AsyncIterable<Buffer>, start: number, end: number): AsyncGenerator<Buffer> {
  let at = 0
  for await (const data of source) {
    const wanted = data.subarray(Math.max(0, start - at), Math.max(0, end - at))
    at += data.length
    if (wanted.length > 0) yield wanted
    if (at >= end) return
  }
}
