import { describe, expect, test } from 'vitest'
import { storageContract } from '../contracts/storage.ts'
import { startMoto } from '../servers/moto.ts'
import { startS3 } from '../servers/s3.ts'
import { openBucket } from './bucket.ts'

const server = await startS3()

if (server) {
  storageContract('s3', async () => {
    const bucket = await server.createBucket()
    const storage = openBucket({ server, bucket, values: { prefix: '/some/prefix/' } })
    return { storage, dispose: server.stop, leftovers: () => server.uploadsIn(bucket) }
  })
}

const other = await startMoto()

if (other) {
  storageContract('s3, another server', async () => {
    const bucket = await other.createBucket()
    const storage = openBucket({ server: other, bucket, values: { prefix: '/some/prefix/' } })
    // it does not look at the condition of an upload in parts
    return { storage, conditionalPut: 'small', dispose: other.stop, leftovers: () => other.uploadsIn(bucket) }
  })
}

describe.skipIf(!server)('s3 contract', () => {
  test('has a server', () => expect(server?.endpoint).toMatch(/^http/))
  test('has another', () => expect(other?.endpoint).toMatch(/^http/))
})
