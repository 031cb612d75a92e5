import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, type TestContext, test, vi } from 'vitest'
import { type S3Proxy, type S3Request, startS3Proxy } from '../fakes/s3-proxy.ts'
import { seeded } from '../fakes/seeded.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { openWorkspace, succeeds, type Workspace } from './harness.ts'

// what is dead is asked again for half a minute, several times
vi.setConfig({ testTimeout: 600_000 })

const s3 = await startS3()

/** What goes wrong at a request that matches; from then on the server is not there any more. */
interface Death {
  at: (request: S3Request) => boolean
  /** That request is carried out, and its answer is lost. */
  lost?: boolean
}

const is = (operation: string, key: RegExp) => (request: S3Request) =>
  request.operation === operation && key.test(request.key)
const manifest = /^some\/where\/nightly\/\d+\.json$/

const deaths: [string, Death][] = [
  ['when its id is claimed', { at: is('PutObject', /started\.json$/), lost: true }],
  ['when an upload is begun', { at: is('CreateMultipartUpload', /tree\.tar\.zst$/) }],
  ['in the middle of an upload', { at: (request) => request.part === 2 }],
  ['before an upload is complete', { at: is('CompleteMultipartUpload', /tree\.tar\.zst$/) }],
  ['when an upload is complete', { at: is('CompleteMultipartUpload', /tree\.tar\.zst$/), lost: true }],
  ['before the list of a worker', { at: is('PutObject', /parts\.json$/) }],
  ['before the commit', { at: is('PutObject', manifest) }],
  ['when the manifest is stored', { at: is('PutObject', manifest), lost: true }],
]

/** At a request by chance. */
function byChance(seed: number): Death {
  let left = 1 + seeded(seed)(20)
  return { at: () => --left === 0 }
}

describe.skipIf(!s3)('a backup on two storages', () => {
  const server = s3 as S3Server
  afterAll(() => server.stop())

  /** A workspace with a plan from a folder to `local` and to a bucket behind a proxy. */
  async function setUp({ onTestFinished }: TestContext, plan: Record<string, unknown> = {}) {
    const work = await openWorkspace()
    const proxy = await startS3Proxy(server.endpoint)
    onTestFinished(async () => {
      await proxy.stop()
      await work.remove()
    })
    const bucket = await server.createBucket()
    const keys = { credentials: { secret: 's3' }, region: 'us-east-1', prefix: 'some/where', partSizeMiB: 5 }
    work.values.storages.bucket = { s3: { endpoint: proxy.endpoint, bucket, ...keys } }
    const source = join(work.dir, 'source')
    const random = seeded(1)
    await mkdir(join(source, 'deeper'), { recursive: true })
    for (let i = 0; i < 3; i++) await writeFile(join(source, `deeper/${i}`), bytesOf(random, 4_000_000 + i))
    const sources = [{ name: 'docs', files: { access: 'local', path: source } }]
    work.values.backups.nightly = { storages: ['bucket', 'local'], sources, ...plan }
    return { work, proxy, source }
  }

  function dies(proxy: S3Proxy, { at, lost = false }: Death): void {
    let dead = false
    const struck = (request: S3Request) => {
      if (dead || !at(request)) return false
      dead = true
      return true
    }
    proxy.on(struck, lost ? 'lose' : 'reset')
    proxy.on(() => dead, 'reset', { times: Number.POSITIVE_INFINITY })
  }

  /** Restores from this storage alone; the hash of each file by its path. */
  async function restored(work: Workspace, storage: string): Promise<Map<string, string>> {
    const path = join(work.dir, `restored-from-${storage}`)
    await mkdir(path)
    const from = { plan: 'nightly', storages: [storage] }
    work.values.restores.back = { from, targets: [{ name: 'docs', files: { access: 'local', path } }] }
    await succeeds(work.holdfast('restore', 'back'))
    return hashesIn(path)
  }

  async function repaired(work: Workspace, source: string, storage: string): Promise<void> {
    await succeeds(work.holdfast('copy', 'nightly'))
    await succeeds(work.holdfast('verify', 'nightly', '--all', '--storage', storage))
    expect(await restored(work, storage)).toEqual(await hashesIn(source))
    const { stdout } = await succeeds(work.holdfast('copy', 'nightly', '-o', 'json'))
    expect(JSON.parse(stdout).copies).toEqual([])
  }

  const byLuck = [11, 12, 13].map((seed): [string, Death] => [`at a request by chance (${seed})`, byChance(seed)])
  test.concurrent.for([...deaths, ...byLuck])(
    'is good on the other when one dies %s, and a copy repairs it',
    async ([, death], context) => {
      const { work, proxy, source } = await setUp(context, { require: 'any' })
      dies(proxy, death)
      const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
      proxy.clear()
      expect(summary.storages).toContain('local')
      await succeeds(work.holdfast('verify', 'nightly', '--storage', 'local'))
      if (!(summary.storages as string[]).includes('bucket')) {
        expect(summary).toMatchObject({ code: 0, storages: ['local'], without: { bucket: expect.any(String) } })
        expect(summary.warnings).toEqual([expect.stringContaining('this backup goes on without bucket')])
      }
      await repaired(work, source, 'bucket')
    },
  )

  test.concurrent('fails when both had to have it, and says which has it', async (context) => {
    const { work, proxy, source } = await setUp(context)
    dies(proxy, { at: (request) => request.part === 1 })
    const { code, summary } = await work.holdfast('backup', 'nightly')
    proxy.clear()
    expect({ code, ...summary }).toMatchObject({ code: 23, kind: 'storage', outcome: 'failed', storages: ['local'] })
    expect(summary.error).toMatch(/^backup \d+ is stored on local, but not on bucket \(/)
    expect(summary.hint).toContain(`holdfast copy nightly ${summary.backup}`)
    await repaired(work, source, 'bucket')
  })

  test.concurrent('is good in the bucket when a volume is lost in the middle', async (context) => {
    const { work, proxy, source } = await setUp(context, { require: 1 })
    const [volume, nowhere] = [`${work.store}-volume`, `${work.store}-nowhere`]
    await rename(work.store, volume)
    await point(work.store, volume)
    await writeFile(nowhere, '')
    const held = proxy.holdNext((request) => request.part === 2, 'before')
    const run = work.start('backup', 'nightly')
    await held.held
    await point(work.store, nowhere)
    held.release()
    const { summary } = await succeeds(run.done)
    expect(summary).toMatchObject({ storages: ['bucket'], without: { local: expect.any(String) } })
    await point(work.store, volume)
    await repaired(work, source, 'local')
  })

  test.concurrent('is copied on when a copy was killed, without what it had brought', async (context) => {
    const { work, proxy, source } = await setUp(context, { storages: ['local'] })
    await succeeds(work.holdfast('backup', 'nightly'))
    const args = ['copy', 'nightly', '--to', 'bucket']
    const held = proxy.holdNext(is('PutObject', manifest), 'before')
    const run = work.start(...args)
    await held.held
    run.kill('SIGKILL')
    await run.done
    proxy.on(is('PutObject', manifest), 'reset')
    held.release()
    proxy.clear()
    const before = proxy.requests.length
    const { summary } = await succeeds(work.holdfast(...args))
    expect(summary.copies).toMatchObject([{ to: 'bucket', parts: 2 }])
    expect(proxy.requests.slice(before).filter(({ key }) => key.endsWith('.zst'))).toEqual([])
    expect(await restored(work, 'bucket')).toEqual(await hashesIn(source))
  })

  test.concurrent('is restored and verified from where its parts are intact', async (context) => {
    const { work, source } = await setUp(context)
    const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
    const folder = join(work.store, 'nightly', summary.backup ?? '', 'docs/files')
    await rm(join(folder, 'list.jsonl.zst'))
    await flip(join(folder, 'tree.tar.zst'))
    const path = join(work.dir, 'target')
    await mkdir(path)
    const from = { plan: 'nightly', storages: ['local', 'bucket'] }
    work.values.restores.back = { from, targets: [{ name: 'docs', files: { access: 'local', path } }] }
    const ran = await work.holdfast('restore', 'back')
    expect(ran.summary.error).toBeUndefined()
    expect(ran.summary.warnings?.join()).toContain('storage local has no docs/files/list.jsonl.zst')
    expect(ran.summary.warnings?.join()).toContain('storage bucket has docs/files/tree.tar.zst too: it is read there')
    expect(await hashesIn(path)).toEqual(await hashesIn(source))
    const verified = await work.holdfast('verify', 'nightly')
    expect(verified.code).toBe(24)
  })
})

/** Such as do not compress: uploads have several parts. */
function bytesOf(random: (below: number) => number, size: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: size }, () => random(256)))
}

/** At once: nobody finds nothing there. */
async function point(link: string, to: string): Promise<void> {
  await symlink(to, `${link}-next`)
  await rename(`${link}-next`, link)
}

async function flip(path: string): Promise<void> {
  const bytes = await readFile(path)
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
  await writeFile(path, bytes)
}

async function hashesIn(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name === '.holdfast-restore') continue
    const path = join(entry.parentPath, entry.name)
    found.set(
      path.slice(folder.length),
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex'),
    )
  }
  return found
}
