import { describe, expect, test } from 'vitest'
import { storageContract } from '../contracts/storage.ts'
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

describe.skipIf(!server)('s3 contract', () => {
  test('has a server', () => expect(server?.endpoint).toMatch(/^http/))
})
