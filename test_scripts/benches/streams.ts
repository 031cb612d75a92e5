import { Readable } from 'node:stream'
import { openDestinations } from '../../job/io/destinations.ts'
import { writePart } from '../../job/io/parts.ts'
import { openStorage, StorageValues } from '../../job/storages/index.ts'

/** One part of so many bytes as a backup writes it, compressed and encrypted, to an S3 server. */
export async function sendStream(bytes: string, endpoint: string, recipient: string): Promise<void> {
  const { signal } = new AbortController()
  const values = StorageValues.parse({
    s3: { endpoint, bucket: 'bench', credentials: { secret: 's3-keys' } },
    encryption: { recipients: [recipient] },
  })
  const context = { at: 'storages.main', secret: () => 'testtesttest', secretPath: () => '', volumesDir: '' }
  const storage = await openStorage({ name: 'main', values, context })
  const to = openDestinations({ storages: [storage], signal, onDrop: () => {} })
  const data = Readable.from(blocks(Number(bytes)), { objectMode: false })
  await writePart({ plan: 'bench', id: '1', path: 'stream', data, to, signal, onBytes: () => {} })
  await storage.close()
}

/** Half of them random, so that something is left of them. */
function* blocks(bytes: number): Generator<Buffer> {
  const size = 2 ** 16
  for (let left = bytes; left > 0; left -= size) {
    const block = Buffer.alloc(Math.min(size, left))
    crypto.getRandomValues(block.subarray(0, block.length / 2))
    yield block
  }
}
