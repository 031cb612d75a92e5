import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { compressorOf, decompressorOf } from '../../io/compressors.ts'
import { lendingChunks, piecesOf } from '../../io/lending.ts'
import { compress as compressed, decompress as decompressed } from '../../io/zstd.ts'

const compress = async (bytes: Buffer) => Buffer.concat(await compressorOf(1)(bytes))
const decompress = async (frame: Buffer) => Buffer.concat(await decompressorOf(1_000_000)(frame))

test('frames that are made and read at the same time come back, each as it was', async () => {
  const contents = Array.from({ length: 20 }, (_, i) => randomBytes(50_000 * i))
  const frames = await Promise.all(contents.map(compress))
  const back = await Promise.all(frames.map(decompress))
  expect(back.map((bytes, i) => bytes.equals(contents[i] as Buffer))).toEqual(contents.map(() => true))
})

describe('what is no frame is refused, and does no harm to those that follow:', () => {
  const content = randomBytes(900_000)
  const change = (frame: Buffer, at: number) => Buffer.from(frame).fill((frame[at] as number) ^ 1, at, at + 1)
  const cases: [string, (frame: Buffer) => Buffer | Promise<Buffer>][] = [
    ['a bit that changed', (frame) => change(frame, 400_000)],
    ['another number in front', (frame) => change(frame, 0)],
    ['a sum that differs', (frame) => change(frame, frame.length - 1)],
    ['something behind it', (frame) => Buffer.concat([frame, Buffer.from('rest')])],
    ['more in it than there may be', () => compress(Buffer.alloc(1_000_001))],
  ]
  test.each(cases)('%s', async (_, broken) => {
    const frame = await compress(content)
    for (let i = 0; i < 5; i++) await expect(decompress(await broken(frame))).rejects.toThrow()
    expect((await decompress(frame)).equals(content)).toBe(true)
  })
})

describe('the memory of a long stream is given back as it is read', () => {
  const pieces = Array.from({ length: 40 }, () => randomBytes(500_000))
  const content = Buffer.concat(pieces)
  const source = (from: Buffer[]) => lendingChunks(Readable.from(from.map((piece) => Buffer.from(piece))))

  /** What was read, and pieces of memory that are still there. */
  async function readIn(stream: Readable) {
    const memories = new Set<ArrayBufferLike>()
    const bytes: Buffer[] = []
    for await (const piece of piecesOf(stream)) {
      memories.add(piece.buffer)
      bytes.push(Buffer.from(piece))
    }
    return { bytes: Buffer.concat(bytes), left: [...memories].filter(({ byteLength }) => byteLength > 0).length }
  }

  test('that is made beside another one, which is left half-way', async () => {
    // pieces of both lie in the same memory
    const left = piecesOf(compressed(source(pieces), 4))[Symbol.asyncIterator]()
    const wanted = piecesOf(compressed(source(pieces), 4))[Symbol.asyncIterator]()
    const bytes: Buffer[] = []
    for (let piece = await wanted.next(); !piece.done; piece = await wanted.next()) {
      bytes.push(Buffer.from(piece.value))
      if (bytes.length < 10) await left.next()
      if (bytes.length === 10) await left.return?.()
    }
    expect((await readIn(decompressed(source([Buffer.concat(bytes)])))).bytes.equals(content)).toBe(true)
  })

  test('compressed and decompressed', async () => {
    // of a level of its own: what others had of theirs was not given back
    const frames = await readIn(compressed(source(pieces), 2))
    const back = await readIn(decompressed(source([frames.bytes])))
    expect(back.bytes.equals(content)).toBe(true)
    // of each compressor what it has begun to fill, and the table of the frames
    expect(frames.left).toBeLessThanOrEqual(5)
    expect(back.left).toBeLessThanOrEqual(4)
  })
})
