import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { freePort, listeningProgram } from './programs.ts'

export interface S3Server {
  endpoint: string
  accessKey: string
  secretKey: string
  /** Where the server keeps its buckets, when it is ours. */
  dataDir: string | undefined
  /** Makes a bucket with a name of its own; with `objectLock` a versioned one whose objects can be locked. */
  createBucket(options?: { objectLock?: boolean }): Promise<string>
  /** Until when the newest version of an object is locked. */
  lockOf(bucket: string, key: string): Promise<{ mode: string; until: Date } | undefined>
  /** `key version` of all that is stored; with a `-` behind it those that mark a removed object. */
  versionsIn(bucket: string): Promise<string[]>
  /** Removes one version, or one mark, as somebody with more rights than ours would. */
  removeVersion(bucket: string, key: string, version: string): Promise<void>
  /** `key uploadId` of the uploads that were begun and neither completed nor aborted. */
  uploadsIn(bucket: string): Promise<string[]>
  stop(): Promise<void>
}

export interface S3ServerOptions {
  /** PEM files; the server then speaks TLS. */
  tls?: { cert: string; key: string }
}

/**
 * A real S3 server, versitygw: from HOLDFAST_TEST_S3_ENDPOINT (with _ACCESS_KEY and _SECRET_KEY), the kit of test tools
 * (HOLDFAST_TEST_KIT, or shared/kit beside the checkout) or PATH. undefined, and a line why, when there is none.
 */
export async function startS3({ tls }: S3ServerOptions = {}): Promise<S3Server | undefined> {
  const {
    HOLDFAST_TEST_S3_ENDPOINT: endpoint,
    HOLDFAST_TEST_S3_ACCESS_KEY,
    HOLDFAST_TEST_S3_SECRET_KEY,
    CI,
  } = process.env
  if (endpoint && !tls) {
    const keys = {
      accessKey: HOLDFAST_TEST_S3_ACCESS_KEY ?? 'test',
      secretKey: HOLDFAST_TEST_S3_SECRET_KEY ?? 'testtesttest',
    }
    return serverAt({ endpoint, ...keys, dataDir: undefined, stop: async () => {} })
  }
  const program = await findProgram()
  if (program) return await startProgram(program, tls)
  const reason = 'no S3 server: set HOLDFAST_TEST_S3_ENDPOINT or HOLDFAST_TEST_KIT, or put versitygw on the PATH'
  if (CI) throw new Error(reason)
  console.log(`skipped, ${reason}`)
  return undefined
}

async function findProgram(): Promise<string | undefined> {
  const top = fileURLToPath(new URL('../../../', import.meta.url))
  const kit = join(process.env.HOLDFAST_TEST_KIT ?? join(top, '..', 'shared', 'kit'), 'tools', 'tools')
  if (existsSync(kit)) {
    const { stdout } = await promisify(execFile)(kit, ['path', 'versitygw'])
    return join(stdout.trim(), 'versitygw')
  }
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'versitygw'))
    .find(existsSync)
}

async function startProgram(program: string, tls: S3ServerOptions['tls']): Promise<S3Server> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-s3-'))
  const dataDir = join(folder, 'data')
  await mkdir(dataDir)
  await mkdir(join(folder, 'versions'))
  const keys = { accessKey: 'test', secretKey: 'testtesttest' }
  const port = await freePort()
  const args = ['--port', `127.0.0.1:${port}`, ...(tls ? ['--cert', tls.cert, '--key', tls.key] : [])]
  const stopProgram = await listeningProgram(program, {
    args: [...args, 'posix', '--versioning-dir', join(folder, 'versions'), dataDir],
    port,
    env: { ROOT_ACCESS_KEY: keys.accessKey, ROOT_SECRET_KEY: keys.secretKey },
  })
  const stop = async () => {
    await stopProgram()
    await rm(folder, { recursive: true, force: true })
  }
  return serverAt({ endpoint: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`, ...keys, dataDir, stop })
}

export function serverAt(
  server: Pick<S3Server, 'endpoint' | 'accessKey' | 'secretKey' | 'dataDir' | 'stop'>,
): S3Server {
  const client = new S3Client({
    endpoint: server.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
  })
  return {
    ...server,
    async createBucket({ objectLock = false } = {}) {
      const Bucket = `test-${randomBytes(6).toString('hex')}`
      if (server.dataDir && !objectLock) await mkdir(join(server.dataDir, Bucket))
      else await client.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: objectLock }))
      return Bucket
    },
    async lockOf(Bucket, Key) {
      const found = await client.send(new HeadObjectCommand({ Bucket, Key }))
      const { ObjectLockMode: mode, ObjectLockRetainUntilDate: until } = found
      return mode && until && { mode, until }
    },
    async versionsIn(Bucket) {
      const { Versions = [], DeleteMarkers = [] } = await client.send(new ListObjectVersionsCommand({ Bucket }))
      return [
        ...Versions.map(({ Key, VersionId }) => `${Key} ${VersionId}`),
        ...DeleteMarkers.map(({ Key, VersionId }) => `${Key} ${VersionId} -`),
      ]
    },
    async removeVersion(Bucket, Key, VersionId) {
      await client.send(new DeleteObjectCommand({ Bucket, Key, VersionId }))
    },
    async uploadsIn(Bucket) {
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket }))
      return Uploads.map(({ Key, UploadId }) => `${Key} ${UploadId}`)
    },
    async stop() {
      client.destroy()
      await server.stop()
    },
  }
}
