import { execFile } from 'node:child_process'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isExisting } from '../../storage.ts'
import { type S3Stub, startS3Stub } from '../fakes/s3-stub.ts'
import { openBucket } from './bucket.ts'

const MiB = 2 ** 20
const keys = { accessKey: 'test', secretKey: 'testtesttest' }

describe('s3 with a server that keeps nothing', () => {
  let stub: S3Stub
  beforeEach(async () => {
    stub = await startS3Stub()
  })
  afterEach(() => stub.stop())
  const open = (values: object = {}) =>
    openBucket({ server: { ...keys, endpoint: stub.endpoint }, bucket: 'bucket', values })

  test('a server that ignores conditions is found out by the first of them', async () => {
    const storage = open()
    await storage.put('ignoring', Buffer.from('first'), { ifAbsent: true })
    expect(storage.features.conditionalPut).toBe(false)
    expect(
      isExisting(await storage.put('ignoring', Buffer.from('second'), { ifAbsent: true }).catch((error) => error)),
    ).toBe(true)
    await storage.close()
  })

  test('a server that ignores ranges is refused', async () => {
    const storage = open()
    await storage.put('whole', Buffer.alloc(10), {})
    await expect(storage.get('whole', { range: { start: 5 } })).rejects.toThrow(/ignores ranges/)
    await storage.close()
  })

  test.each([
    [1, 6],
    [3, 6],
    [5, 2],
  ])('%i parts are in flight at most, whatever the number of uploads', async (partsInFlight, uploads) => {
    const storage = open({ partsInFlight, partSizeMiB: 5 })
    const puts = Array.from({ length: uploads }, (_, index) => storage.put(`${index}`, zeros(21 * MiB), {}))
    await Promise.all(puts)
    expect(stub.mostParts).toBeLessThanOrEqual(partsInFlight)
    expect([...stub.sizes.values()]).toEqual(puts.map(() => 21 * MiB))
    await storage.close()
  })

  test('parts grow with the size that is told', async () => {
    const storage = open({ partSizeMiB: 5, partsInFlight: 4 })
    const told = storage.put('told', zeros(30 * MiB), { size: 100_000 * MiB })
    await expect(told).rejects.toThrow(/should have/)
    expect(stub.largestPart).toBe(12 * MiB)
    await storage.close()
  })

  test('the memory of a process that uploads four gigabytes stays below 256 MiB', { timeout: 120_000 }, async () => {
    const program = fileURLToPath(new URL('../fakes/transfer.ts', import.meta.url))
    const { HOLDFAST_TEST_TRANSFER_GIB: gib = '4' } = process.env
    const args = ['--max-semi-space-size=1', program, 'put', stub.endpoint, 'bucket', gib, '2']
    // As workers are started: small young generation, one arena.
    const env = { ...process.env, MALLOC_ARENA_MAX: '1' }
    const { stdout } = await promisify(execFile)(process.execPath, args, { env })
    const { peakMiB, mibPerSecond } = JSON.parse(stdout)
    console.log(`${gib} GiB to a stub: ${mibPerSecond} MiB/s, at most ${peakMiB} MiB of memory`)
    expect(peakMiB).toBeLessThan(256)
    expect([...stub.sizes.values()].reduce((sum, size) => sum + size, 0)).toBe(Number(gib) * 1024 * MiB)
  })
})

function zeros(size: number): Readable {
  const chunk = Buffer.alloc(MiB)
  return Readable.from(Array.from({ length: size / MiB }, () => chunk))
}
