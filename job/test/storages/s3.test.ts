import { describe } from 'vitest'
import { openS3 } from '../../storages/s3.ts'
import { s3 } from '../../storages/s3-values.ts'
import { storageContract } from '../contracts/storage.ts'
import { startS3 } from '../servers/s3.ts'

const server = await startS3()
if (server) {
  storageContract('s3', async () => {
    const bucket = await server.createBucket()
    const storage = openS3(
      s3.schema.parse({
        endpoint: server.endpoint,
        bucket,
        prefix: 'some/prefix',
        partSizeMiB: 5,
        partsInFlight: 4,
        credentials: { secret: 'keys' },
      }),
      {
        name: 'main',
        at: 'storages.main',
        secret: (_, key) => (key === 'access-key-id' ? server.accessKey : server.secretKey),
        secretPath: () => '',
        volumesDir: '/nowhere',
      },
    )
    return { storage, dispose: server.stop, leftovers: () => server.uploadsIn(bucket) }
  })
} else describe.skip('s3')
