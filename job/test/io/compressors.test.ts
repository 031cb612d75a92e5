import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { compressorOf, decompressorOf } from '../../io/compressors.ts'

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
