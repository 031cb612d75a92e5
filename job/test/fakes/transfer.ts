/**
 * A process that moves bytes of no meaning to or from a bucket and says what it took; for the memory test and the bench.
 * transfer.ts put|get <endpoint> <bucket> <GiB> [streams], with S3_OPTIONS: JSON of values under `s3`
 */
import { Readable } from 'node:stream'
import { parseArgs } from 'node:util'
import { openStorage, StorageValues } from '../../storages/index.ts'

const { positionals } = parseArgs({ allowPositionals: true })
const [verb, endpoint, bucket, gib, streams = '1'] = positionals
const bytes = Math.round((Number(gib) * 2 ** 30) / Number(streams))
const values = StorageValues.parse({
  s3: { endpoint, bucket, credentials: { secret: 'keys' }, ...JSON.parse(process.env.S3_OPTIONS ?? '{}') },
})
const storage = await openStorage({
  name: 'main',
  values,
  context: {
    at: 'storages.main',
    secret: (_, key) => (key === 'access-key-id' ? 'test' : 'testtesttest'),
    secretPath: () => '',
    volumesDir: '/nowhere',
  },
})
const begun = performance.now()
await Promise.all(Array.from({ length: Number(streams) }, (_, index) => move(`transfer/${index}`)))
const seconds = (performance.now() - begun) / 1000
const mibPerSecond = Math.round((bytes * Number(streams)) / 2 ** 20 / seconds)
const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage()
console.log(
  JSON.stringify({
    seconds: Number(seconds.toFixed(2)),
    mibPerSecond,
    peakMiB: Math.round(maxRSS / 1024),
    cpuSeconds: Number(((userCPUTime + systemCPUTime) / 1e6).toFixed(2)),
  }),
)
await storage.close()

async function move(key: string): Promise<void> {
  if (verb === 'put') return void (await storage.put(key, source(bytes), {}))
  for await (const _ of await storage.get(key));
}

/** Chunks as a file gives them, each in memory of its own. */
function source(size: number): Readable {
  let left = size
  return new Readable({
    highWaterMark: 256 * 1024,
    read() {
      const chunk = Buffer.allocUnsafe(Math.min(left, 64 * 1024)).fill(left & 255)
      left -= chunk.length
      this.push(chunk.length > 0 ? chunk : null)
    },
  })
}
