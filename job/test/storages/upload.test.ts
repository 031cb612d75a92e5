import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { bufferPool } from '../../storages/buffers.ts'
import { type Upload, type UploadTarget, upload } from '../../storages/upload.ts'
import { someBytes } from '../contracts/storage.ts'

const MiB = 2 ** 20

/** A target that notes what it is asked for; `sendPart` can be another. */
function makeTarget(sendPart?: UploadTarget<number>['sendPart']) {
  const asked: string[] = []
  const sent: Buffer[] = []
  const target: UploadTarget<number> = {
    async putWhole(bytes) {
      asked.push(`put ${bytes.length}`)
    },
    async begin() {
      asked.push('begin')
      return 'id'
    },
    async sendPart(id, part) {
      asked.push(`part ${part.number}`)
      sent[part.number - 1] = Buffer.from(part.bytes)
      return (await sendPart?.(id, part)) ?? part.number
    },
    async complete(_, { parts, size }) {
      asked.push(`complete ${parts.join(' ')}, ${size} bytes`)
    },
    async abort() {
      asked.push('abort')
    },
  }
  return { target, asked, sent }
}

function optionsOf(target: UploadTarget<number>, bytes: Buffer, more: Partial<Upload<number>> = {}): Upload<number> {
  async function* read(signal: AbortSignal) {
    for (let at = 0; at < bytes.length; at += 100_000) {
      signal.throwIfAborted()
      yield bytes.subarray(at, at + 100_000)
    }
  }
  return { key: 'key', target, read, pool: bufferPool(4 * MiB), partSize: MiB, graceMs: 10_000, ...more }
}

const untilCut: UploadTarget<number>['sendPart'] = (_, { cut }) =>
  new Promise((_, reject) => cut.addEventListener('abort', () => reject(cut.reason)))

describe('upload', () => {
  test.each([
    [0, ['put 0']],
    [MiB, [`put ${MiB}`]],
    [MiB + 1, ['begin', 'part 1', 'part 2', `complete 1 2, ${MiB + 1} bytes`]],
    [3 * MiB, ['begin', 'part 1', 'part 2', 'part 3', `complete 1 2 3, ${3 * MiB} bytes`]],
  ])('%i bytes', async (size, expected) => {
    const { target, asked, sent } = makeTarget()
    const bytes = someBytes(size)
    expect(await upload(optionsOf(target, bytes))).toBe(size)
    expect(asked).toEqual(expected)
    if (sent.length > 0) expect(Buffer.concat(sent).equals(bytes)).toBe(true)
  })

  test('uses a chunk only until the next is asked for', async () => {
    const bytes = someBytes(MiB + 5)
    async function* read() {
      const lent = Buffer.alloc(1000)
      for (let at = 0; at < bytes.length; at += lent.length) yield lent.subarray(0, bytes.copy(lent, 0, at))
    }
    const { target, sent } = makeTarget()
    await upload(optionsOf(target, bytes, { read }))
    expect(Buffer.concat(sent).equals(bytes)).toBe(true)
  })

  test('parts are completed in their order, in whatever order they arrive', async () => {
    const waiting: (() => void)[] = []
    const { target, asked } = makeTarget(
      (_, { number }) => new Promise((resolve) => waiting.push(() => resolve(number))),
    )
    const uploading = upload(optionsOf(target, someBytes(4 * MiB)))
    while (waiting.length < 4) await setImmediate()
    for (const done of waiting.reverse()) done()
    await uploading
    expect(asked.at(-1)).toBe(`complete 1 2 3 4, ${4 * MiB} bytes`)
  })

  test.each([
    ['while there is more to read', 50 * MiB],
    ['when the last part is under way', 2 * MiB],
  ])('an abort cuts parts off that go on for longer than the grace, %s', async (_, size) => {
    const stop = new AbortController()
    const { target, asked } = makeTarget(untilCut)
    const uploading = upload(optionsOf(target, someBytes(size), { graceMs: 1, signal: stop.signal }))
    uploading.catch(() => {})
    while (!asked.includes('part 2')) await setImmediate()
    stop.abort(new Error('stop'))
    await expect(uploading).rejects.toThrow('stop')
    expect(asked.at(-1)).toBe('abort')
  })

  test('a failed part lets the others finish, then the upload is removed', async () => {
    const finished: number[] = []
    const { target, asked } = makeTarget(async (_, { number }) => {
      if (number === 1) throw new Error('refused')
      for (let turn = 0; turn < 20; turn++) await setImmediate()
      return finished.push(number)
    })
    await expect(upload(optionsOf(target, someBytes(3 * MiB)))).rejects.toThrow('refused')
    expect(finished).toEqual(asked.filter((what) => /part [23]/.test(what)).map((what) => Number(what.at(-1))))
    expect(asked.at(-1)).toBe('abort')
  })

  test('all memory is back after success and failure', async () => {
    const pool = bufferPool(4 * MiB)
    for (const sendPart of [undefined, async () => Promise.reject(new Error('refused')), untilCut]) {
      const { target } = makeTarget(sendPart)
      await upload(optionsOf(target, someBytes(3 * MiB), { pool, graceMs: 1, signal: AbortSignal.timeout(50) })).catch(
        () => {},
      )
      pool.give(await pool.take(4 * MiB, AbortSignal.timeout(5000)))
    }
  })

  test('more than ten thousand parts are refused', async () => {
    const { target, asked } = makeTarget()
    const read = async function* () {
      const chunk = Buffer.alloc(1000)
      for (let count = 0; count < 10_002; count++) yield chunk
    }
    const uploading = upload(optionsOf(target, Buffer.alloc(0), { read, partSize: 1000, pool: bufferPool(10_000) }))
    await expect(uploading).rejects.toMatchObject({ message: expect.stringMatching(/larger than 10000 parts/) })
    expect(asked.at(-1)).toBe('abort')
  })
})
