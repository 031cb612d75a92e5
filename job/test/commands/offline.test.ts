import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import { getEventListeners, once } from 'node:events'
import { access, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { queryObjects } from 'node:v8'
import { pack } from 'tar-stream'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import { exportBackup } from '../../commands/export.ts'
import { importBackup } from '../../commands/import.ts'
import { unpack } from '../../commands/unpack.ts'
import { anyOf } from '../../io/destinations.ts'
import { writePart } from '../../io/parts.ts'
import { formatManifest, type Manifest, type Part, signManifest } from '../../manifest.ts'
import { readAll, type Storage } from '../../storage.ts'
import { filesystemStorage } from '../../storages/filesystem.ts'
import { keysOf, manifestOf, memoryStore, putText, type Store, signal, startedOf, textAt } from '../catalog/store.ts'
import { destinationsOf } from '../fakes/destinations.ts'
import { fakeJob, now } from './fake-job.ts'

const id = '1795218000'
const plan = 'nightly'
const contents: Record<string, Buffer> = {
  'users.sql': Buffer.from('CREATE USER a;\n'),
  'rondb/1/BACKUP-1.Data': randomBytes(200_000),
  'rondb/2/empty.log': Buffer.alloc(0),
  'shop/tables/orders.sql': Buffer.from('INSERT INTO orders VALUES (1);\n'.repeat(20_000)),
  'shop/tables/items.sql': Buffer.from('INSERT INTO items VALUES (1);\n'),
}
/** What RonDB wrote is stored as it is. */
const isPlain = (path: string) => path.startsWith('rondb/')

let dir: string
let store: Store
let manifest: Manifest

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdfast-offline-'))
  const made = dir
  onTestFinished(() => rm(made, { recursive: true, force: true }))
  store = memoryStore()
  manifest = await putWhole(store)
})

async function putWhole(storage: Storage): Promise<Manifest> {
  const parts: Part[] = []
  for (const [path, bytes] of Object.entries(contents)) {
    const data = Readable.from([bytes], { objectMode: false })
    const to = destinationsOf([storage])
    parts.push(anyOf(await writePart({ plan, id, path, data, plain: isPlain(path), to, signal, onBytes: () => {} })))
  }
  const [source] = manifestOf(id).sources as [Manifest['sources'][number]]
  const whole = manifestOf(id, { parts, sources: [source, { ...source, name: 'shop', engine: 'mysql' }] })
  await putText(storage, `${plan}/${id}/started.json`, JSON.stringify(startedOf(id)))
  await storage.put(`${plan}/${id}.json`, formatManifest(whole), {})
  return whole
}

const jobOf = (...storages: Storage[]) => fakeJob({ storages, backups: { [plan]: {} } })
const file = () => join(dir, 'nightly.tar')

async function exportTo(path = file(), from: Storage = store): Promise<Buffer> {
  await exportBackup(jobOf(from), { plan, pick: 'latest', file: path })
  return readFile(path)
}

const hash = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')

/** Paths below the folder, with the hashes of their files. */
async function treeOf(folder: string): Promise<Record<string, string>> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const pairs = files.map(async (path) => [path.slice(folder.length + 1), hash(await readFile(path))] as const)
  return Object.fromEntries(await Promise.all(pairs))
}

async function partsIn(storage: Storage): Promise<string[]> {
  return (await keysOf(storage, `${plan}/`)).filter((key) => !key.endsWith('started.json'))
}

/** An archive of any members, as somebody else would make it. */
async function tarOf(members: [name: string, bytes: Buffer | string, type?: 'symlink'][]): Promise<Buffer> {
  const archive = pack()
  for (const [name, bytes, type] of members) {
    if (type) archive.entry({ name, type, linkname: String(bytes) })
    else archive.entry({ name }, Buffer.from(bytes))
  }
  archive.finalize()
  return Buffer.concat((await Array.fromAsync(archive)) as Buffer[])
}

/** The members of a good archive, to be changed. */
function members(): [string, Buffer | string, 'symlink'?][] {
  const bytes = formatManifest(manifest)
  const stored = manifest.parts.map(({ path }): [string, Buffer] => {
    const key = `${plan}/${id}/${path}`
    return [key, store.objects.get(key) as Buffer]
  })
  return [['holdfast-backup.json', bytes], ...stored, [`${plan}/${id}.json`, bytes]]
}

describe('a backup goes from one storage to another as a file', () => {
  test('every object is the same, and the catalog there knows it', async () => {
    await exportTo()
    const vault = memoryStore({ name: 'vault' })
    const { data, notes } = await importBackup(jobOf(vault), { file: file(), storage: 'vault' })
    expect(data).toMatchObject({ plan, backup: id, storage: 'vault', parts: 5, written: true })
    expect(notes).toEqual([])
    expect(await partsIn(vault)).toEqual(await partsIn(store))
    for (const key of await partsIn(store))
      expect(vault.objects.get(key)?.equals(store.objects.get(key) as Buffer), key).toBe(true)
    const catalog = openCatalog({ storage: vault, plan })
    const found = await catalog.find({ pick: 'latest', signal })
    expect((await catalog.verify(found, { level: 'content', signal })).problems).toEqual([])
  })

  test('through a pipe', async () => {
    const pipe = new PassThrough()
    const vault = memoryStore({ name: 'vault' })
    const [sent] = await Promise.all([
      exportBackup(jobOf(store), { plan, pick: id, file: '-', stdout: pipe }).finally(() => pipe.end()),
      importBackup(jobOf(vault), { file: '-', storage: 'vault', input: pipe }),
    ])
    expect(sent.beside).toBe(true)
    expect(await partsIn(vault)).toEqual(await partsIn(store))
  })

  test('the manifest is the last member, so that tar never unpacks half a backup', async () => {
    const archive = await exportTo()
    expect(archive.equals(await tarOf(members()))).toBe(false)
    const names = [...archive.toString('latin1').matchAll(/nightly\/1795218000[^\0]*/g)].map(([name]) => name)
    expect(names.at(-1)).toBe(`${plan}/${id}.json`)
    expect(names).toHaveLength(6)
  })

  test('bytes of the manifest that this version does not know stay', async () => {
    const bytes = Buffer.from(JSON.stringify({ ...manifest, later: 'x' }))
    await store.put(`${plan}/${id}.json`, bytes, {})
    await exportTo()
    const vault = memoryStore({ name: 'vault' })
    await importBackup(jobOf(vault), { file: file(), storage: 'vault' })
    expect(vault.objects.get(`${plan}/${id}.json`)).toEqual(bytes)
  })

  test('again changes nothing and says so', async () => {
    await exportTo()
    const vault = memoryStore({ name: 'vault' })
    await importBackup(jobOf(vault), { file: file(), storage: 'vault' })
    vault.calls.length = 0
    const { data, notes } = await importBackup(jobOf(vault), { file: file(), storage: 'vault' })
    expect(data).toMatchObject({ written: false, brought: { parts: 0, keys: 0 } })
    expect(notes).toEqual(['it was there already: nothing was written'])
    expect(vault.calls.filter((call) => call.startsWith('put'))).toEqual([])
  })

  test('again brings the parts that were lost since, and nothing else', async () => {
    await exportTo()
    const vault = memoryStore({ name: 'vault' })
    await importBackup(jobOf(vault), { file: file(), storage: 'vault' })
    const whole = new Map(vault.objects)
    const lost = [`${plan}/${id}/rondb/1/BACKUP-1.Data`, `${plan}/${id}/users.sql.zst`] as const
    vault.objects.delete(lost[0])
    vault.objects.set(lost[1], Buffer.from('x'))
    vault.calls.length = 0
    const job = jobOf(vault)
    const { data, notes } = await importBackup(job, { file: file(), storage: 'vault' })
    expect(data).toMatchObject({ written: false, brought: { parts: 2, keys: 0 } })
    expect(notes).toEqual(['it was there already: 2 parts that were missing were added'])
    expect(job.warnings.join()).toContain('BACKUP-1.Data is missing')
    expect(vault.objects).toEqual(whole)
    const puts = vault.calls.filter((call) => call.startsWith('put') && !call.includes('.hold-import-'))
    expect(puts.toSorted()).toEqual(lost.map((key) => `put ${key}`))
  })

  test('again, from an archive that lacks its end, says so and leaves the backup as it was', async () => {
    const archive = await exportTo()
    const vault = memoryStore({ name: 'vault' })
    await importBackup(jobOf(vault), { file: file(), storage: 'vault' })
    vault.objects.delete(`${plan}/${id}/shop/tables/items.sql.zst`)
    const before = new Map(vault.objects)
    const input = Readable.from(archive.subarray(0, 100_000), { objectMode: false })
    await expect(importBackup(jobOf(vault), { file: '-', storage: 'vault', input })).rejects.toMatchObject({
      kind: 'verification',
    })
    expect(vault.objects).toEqual(before)
  })
})

describe('of a plan with trust', () => {
  const [own, stranger] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')]
  const trust = [own.publicKey.export({ type: 'spki', format: 'pem' }).toString()]
  const job = () => fakeJob({ storages: [store], backups: { [plan]: { trust } } })
  const verbs: [string, () => Promise<unknown>][] = [
    ['export', () => exportBackup(job(), { plan, pick: 'latest', file: file() })],
    ['unpack', () => unpack(job(), { plan, to: join(dir, 'files') })],
  ]

  test.each(verbs)('%s takes only what its keys signed', async (_, run) => {
    const put = (one: Manifest) => store.put(`${plan}/${id}.json`, formatManifest(one), {})
    const refused = { kind: 'verification', message: expect.stringContaining(`backups.${plan}.trust`) }
    await expect(run()).rejects.toMatchObject(refused)
    await put(signManifest(manifest, stranger.privateKey))
    await expect(run()).rejects.toMatchObject(refused)
    expect(await readdir(dir)).toEqual([])
    await put(signManifest(manifest, own.privateKey))
    await run()
    expect(await readdir(dir)).toHaveLength(1)
  })

  test.each(verbs)('%s looks at what it reads, not at what was found before', async (_, run) => {
    const key = `${plan}/${id}.json`
    await store.put(key, formatManifest(signManifest(manifest, own.privateKey)), {})
    let reads = 0
    store.before = (call) => {
      if (call !== `get ${key}`) return
      reads += 1
      if (reads > 1) store.objects.set(key, formatManifest(manifest))
    }
    await expect(run()).rejects.toMatchObject({ kind: 'verification' })
    expect(reads).toBe(2)
  })
})

describe('an encrypted backup that was rewrapped', () => {
  const fixture = join(import.meta.dirname, '../fixtures/format-2')
  const encrypted = async () => {
    await cp(fixture, join(dir, 'store'), { recursive: true })
    return filesystemStorage({ name: 'main', root: join(dir, 'store') })
  }

  test('takes its keys along into another storage', async () => {
    const from = await encrypted()
    await exportTo(file(), from)
    const vault = memoryStore({ name: 'vault' })
    await importBackup(jobOf(vault), { file: file(), storage: 'vault' })
    expect(await partsIn(vault)).toEqual(await partsIn(from))
    expect(vault.objects.has(`${plan}/${id}.keys-1.json`)).toBe(true)
    for (const [key, bytes] of vault.objects)
      if (!key.endsWith('started.json')) expect((await readAll(from, key)).equals(bytes), key).toBe(true)
  })

  test('brings them to a storage that had the backup before, beside other keys', async () => {
    const from = await encrypted()
    await exportTo(file(), from)
    const vault = memoryStore({ name: 'vault' })
    for (const key of await keysOf(from, `${plan}/`))
      if (!key.includes('.keys-')) await vault.put(key, await readAll(from, key), {})
    const bring = () => importBackup(jobOf(vault), { file: file(), storage: 'vault' })
    await putText(vault, `${plan}/${id}.keys-1.json`, 'of somebody else')
    const keys = await readAll(from, `${plan}/${id}.keys-1.json`)
    expect((await bring()).data).toMatchObject({ written: false, brought: { parts: 0, keys: 1 } })
    expect(await textAt(vault, `${plan}/${id}.keys-1.json`)).toBe('of somebody else')
    expect(vault.objects.get(`${plan}/${id}.keys-2.json`)).toEqual(keys)
    expect((await bring()).data).toMatchObject({ brought: { keys: 0 } })
    expect(await keysOf(vault, `${plan}/${id}.keys-3`)).toEqual([])
  })

  test.each(['identity.txt', 'identity-2.txt'])('is opened from its archive with %s', async (name) => {
    await exportTo(file(), await encrypted())
    await unpack(jobOf(), { from: file(), to: join(dir, 'files'), identity: join(fixture, name) })
    expect(await readFile(join(dir, 'files/databases.sql'), 'utf8')).toBe('CREATE DATABASE shop;\n')
    expect(await readFile(join(dir, 'files/rondb/1/BACKUP-1795218000.1.ctl'), 'utf8')).toBe('NDBBCKUP\n')
  })
})

describe('export', () => {
  test('does not replace a file unless told', async () => {
    await writeFile(file(), 'precious')
    await expect(exportTo()).rejects.toMatchObject({
      kind: 'target-not-empty',
      hint: expect.stringContaining('--overwrite'),
    })
    expect(await readFile(file(), 'utf8')).toBe('precious')
    await exportBackup(jobOf(store), { plan, pick: 'latest', file: file(), overwrite: true })
    expect((await readFile(file())).length).toBeGreaterThan(200_000)
  })

  test.each<[string, (key: string) => Promise<unknown>]>([
    ['damaged', (key) => putText(store, key, 'X'.repeat(200_000))],
    ['cut', (key) => putText(store, key, 'X')],
    ['missing', (key) => store.delete([key])],
  ])('of a backup with a part that is %s fails and leaves no file', async (_, spoil) => {
    await spoil(`${plan}/${id}/rondb/1/BACKUP-1.Data`)
    await expect(exportTo()).rejects.toMatchObject({ kind: 'verification' })
    expect(await readdir(dir)).toEqual([])
  })

  test('holds the backup while it reads, and not after', async () => {
    await exportTo()
    const hold = (verb: string) => (call: string) => call.startsWith(`${verb} ${plan}/${id}.hold-export-`)
    const [put, end] = [store.calls.findIndex(hold('put')), store.calls.findIndex(hold('delete'))]
    const reads = store.calls.flatMap((call, i) => (call.startsWith(`get ${plan}/${id}/`) ? [i] : []))
    expect(reads).toHaveLength(5)
    expect(put).toBeGreaterThan(0)
    for (const read of reads) expect(put < read && read < end).toBe(true)
  })

  test('says what is missing before it reads a byte', async () => {
    await store.delete([`${plan}/${id}/shop/tables/items.sql.zst`])
    store.calls.length = 0
    await expect(exportTo()).rejects.toMatchObject({
      message: 'shop/tables/items.sql.zst in storage main is missing',
      hint: expect.stringContaining('another storage'),
    })
    expect(store.calls.filter((call) => call.startsWith(`get ${plan}/${id}/`))).toEqual([])
  })

  test('fails when the program behind the pipe goes away', async () => {
    const gone = new PassThrough({ highWaterMark: 1 })
    gone.once('data', () => gone.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })))
    await expect(exportBackup(jobOf(store), { plan, pick: id, file: '-', stdout: gone })).rejects.toMatchObject({
      kind: 'storage',
      message: 'whoever reads standard output has stopped before its end',
    })
  })

  test('through a pipe keeps nothing of the chunks that it has sent', async () => {
    const job = jobOf(store)
    let chunks = 0
    const archive = async () => {
      const stdout = new PassThrough()
      stdout.on('data', () => (chunks += 1))
      await exportBackup(job, { plan, pick: id, file: '-', stdout })
    }
    await archive()
    const before = queryObjects(Promise, { format: 'count' })
    chunks = 0
    for (let i = 0; i < 20; i++) await archive()
    expect(queryObjects(Promise, { format: 'count' }) - before).toBeLessThan(chunks)
    expect(getEventListeners(job.signal, 'abort')).toEqual([])
  })

  test('that waits for a reader ends when the run is stopped', async () => {
    const stop = new AbortController()
    const stdout = new PassThrough({ highWaterMark: 1 })
    const job = fakeJob({ storages: [store], backups: { [plan]: {} }, signal: stop.signal })
    const exporting = exportBackup(job, { plan, pick: id, file: '-', stdout })
    await once(stdout, 'readable')
    stop.abort(new Error('stopped'))
    await expect(exporting).rejects.toThrow('stopped')
  })

  test('writes no archive onto a terminal', async () => {
    const output = Object.assign(new PassThrough(), { isTTY: true })
    await expect(exportBackup(jobOf(store), { plan, pick: id, file: '-', stdout: output })).rejects.toMatchObject({
      kind: 'configuration',
    })
  })

  test.each([
    ['a folder that is not there', 'missing/nightly.tar', /^there is no folder /],
    ['a folder as the file', '.', / is no file$/],
  ])('into %s is refused', async (_, path, message) => {
    await expect(exportTo(join(dir, path))).rejects.toMatchObject({
      kind: 'configuration',
      message: expect.stringMatching(message),
    })
  })
})

describe('import', () => {
  let vault: Store
  beforeEach(() => {
    vault = memoryStore({ name: 'vault' })
  })

  const bringIn = (input: Buffer | Readable) =>
    importBackup(jobOf(vault), { file: '-', storage: 'vault', input: Readable.from(input, { objectMode: false }) })

  const commits = () => vault.objects.has(`${plan}/${id}.json`)

  test('refuses an id that another backup has, and leaves that one alone', async () => {
    const archive = await exportTo()
    await vault.put(`${plan}/${id}.json`, formatManifest({ ...manifest, cluster: 'other' }), {})
    const before = new Map(vault.objects)
    await expect(bringIn(archive)).rejects.toMatchObject({
      kind: 'target-not-empty',
      message: `storage vault has another backup as ${plan}/${id}.json`,
    })
    expect(vault.objects).toEqual(before)
  })

  test.each([
    ['an unfinished run', `${plan}/${id}/started.json`, JSON.stringify(startedOf(id))],
    ['another tool', `${plan}/${id}/users.sql`, 'x'],
  ])('refuses the folder of %s', async (_, key, text) => {
    const archive = await exportTo()
    await putText(vault, key, text)
    await expect(bringIn(archive)).rejects.toMatchObject({ kind: 'target-not-empty' })
    expect(await keysOf(vault)).toEqual([key])
  })

  test('that was killed at any moment leaves no backup, and the same command completes it', async () => {
    const archive = await exportTo()
    const whole = memoryStore({ name: 'vault' })
    await importBackup(jobOf(whole), { file: file(), storage: 'vault' })
    const puts = whole.calls.filter((call) => call.startsWith('put'))
    expect(puts).toHaveLength(7)
    for (const last of puts.slice(1)) {
      vault = memoryStore({ name: 'vault' })
      let dead = false
      // nothing gets through after that: no failed.json either
      vault.before = (call) => {
        dead ||= call === last
        if (dead) throw new Error('killed')
      }
      await expect(bringIn(archive), last).rejects.toThrow('killed')
      vault.before = () => {}
      expect(commits(), last).toBe(false)
      expect(await keysOf(vault)).toContain(`${plan}/${id}/started.json`)
      await bringIn(archive)
      expect(await partsIn(vault)).toEqual(await partsIn(store))
    }
  })

  test('that was swept in the last moment says so', async () => {
    const archive = await exportTo()
    vault.before = (call) => {
      if (call === `put ${plan}/${id}.json`) vault.objects.delete(`${plan}/${id}/users.sql.zst`)
    }
    await expect(bringIn(archive)).rejects.toMatchObject({
      kind: 'storage',
      message: 'storage vault does not have what was sent: users.sql.zst is missing',
    })
  })

  test('that failed says why in failed.json, which the next one takes away', async () => {
    const archive = await exportTo()
    await expect(bringIn(archive.subarray(0, 100_000))).rejects.toMatchObject({ kind: 'verification' })
    expect(JSON.parse(await textAt(vault, `${plan}/${id}/failed.json`))).toMatchObject({
      kind: 'verification',
      reason: expect.stringContaining('cut off'),
    })
    await bringIn(archive)
    expect(await keysOf(vault)).not.toContain(`${plan}/${id}/failed.json`)
  })

  test('leftovers are swept like those of a backup', async () => {
    const archive = await exportTo()
    await expect(bringIn(archive.subarray(0, 100_000))).rejects.toThrow()
    const catalog = openCatalog({ storage: vault, plan })
    const later = new Date(now.getTime() + 49 * 3600 * 1000)
    const { uncommitted } = await catalog.ids()
    const options = { uncommitted, keepFailedSeconds: 48 * 3600, deadlineSeconds: 3600 }
    expect(await catalog.leftovers({ ...options, now })).toMatchObject([{ id, remove: false }])
    expect(await catalog.leftovers({ ...options, now: later })).toMatchObject([{ id, remove: true }])
  })

  test('the abort of the run ends the wait for a silent pipe', async () => {
    const stop = new AbortController()
    const job = fakeJob({ storages: [vault], backups: {}, signal: stop.signal })
    const importing = importBackup(job, { file: '-', storage: 'vault', input: new PassThrough() })
    stop.abort(new Error('stopped'))
    await expect(importing).rejects.toThrow('stopped')
  })

  test('an archive that was cut off at any block is no backup', async () => {
    const archive = await exportTo()
    const end = archive.length - 1024
    for (let length = 0; length < end; length += Math.max(512, Math.floor(end / 60 / 512) * 512)) {
      vault = memoryStore({ name: 'vault' })
      await expect(bringIn(archive.subarray(0, length)), `${length}`).rejects.toMatchObject({ kind: 'verification' })
      expect(commits(), `${length}`).toBe(false)
    }
    await bringIn(archive.subarray(0, end))
    expect(commits()).toBe(true)
  })

  const other = () => formatManifest({ ...manifest, cluster: 'other' })
  test.each<[string, (all: ReturnType<typeof members>) => ReturnType<typeof members>, RegExp]>([
    ['nothing', () => [], /is empty/],
    ['no manifest in front', (all) => all.slice(1), /begins with "nightly\/1795218000\/.*": it is no exported backup/],
    ['no manifest at its end', (all) => all.slice(0, -1), /was cut off/],
    [
      'another manifest at its end',
      (all) => [...all.slice(0, -1), [`${plan}/${id}.json`, other()]],
      /begins with another manifest/,
    ],
    ['a part less', (all) => all.filter((_, i) => i !== 2), /has no rondb\/1\/BACKUP-1.Data/],
    ['a part twice', (all) => [...all.slice(0, 2), ...all.slice(1)], /does not know, or has it twice/],
    [
      'a part that was changed',
      (all) => all.map((one, i) => (i === 2 ? [one[0], Buffer.alloc(200_000)] : one)),
      /not what was stored/,
    ],
    [
      'a part that was cut',
      (all) => all.map((one, i) => (i === 2 ? [one[0], 'x'] : one)),
      /has 1 bytes, the manifest says 200000/,
    ],
    [
      "two parts in each other's place",
      (all) => all.map((one, i) => (i === 4 ? [one[0], all[5]?.[1] ?? ''] : one)),
      /the manifest says/,
    ],
    [
      'a path that leads out',
      (all) => [...all.slice(0, -1), ['../../etc/cron.d/x', 'x'], ...all.slice(-1)],
      /"\.\.\/\.\.\/etc\/cron\.d\/x"/,
    ],
    ['an absolute path', (all) => [...all.slice(0, -1), ['/etc/passwd', 'x'], ...all.slice(-1)], /etc\/passwd/],
    [
      'the started.json of a run',
      (all) => [...all.slice(0, -1), [`${plan}/${id}/started.json`, 'x'], ...all.slice(-1)],
      /started.json/,
    ],
    [
      'the manifest of another backup',
      (all) => [...all.slice(0, -1), [`${plan}/1795218001.json`, 'x'], ...all.slice(-1)],
      /1795218001/,
    ],
    ['a link', (all) => [...all.slice(0, -1), [`${plan}/${id}/x`, '/etc', 'symlink'], ...all.slice(-1)], /a symlink/],
    [
      'a manifest of a newer format',
      (all) => [['holdfast-backup.json', '{"format": 99}'], ...all.slice(1)],
      /has format 99/,
    ],
    [
      'a manifest that leads out',
      (all) => [
        [
          'holdfast-backup.json',
          JSON.stringify({ ...manifest, parts: [{ path: '../x', size: 1, sha256: '0'.repeat(64) }] }),
        ],
        ...all.slice(1),
      ],
      /not a path inside a backup/,
    ],
    ['a manifest that is none', (all) => [['holdfast-backup.json', 'x'], ...all.slice(1)], /is not JSON/],
  ])('refuses an archive with %s', async (_, change, message) => {
    await expect(bringIn(await tarOf(change(members())))).rejects.toMatchObject({
      kind: 'verification',
      message: expect.stringMatching(message),
    })
    expect(commits()).toBe(false)
    expect((await keysOf(vault)).filter((key) => !key.startsWith(`${plan}/${id}/`))).toEqual([])
  })

  test('refuses what a storage did not keep', async () => {
    const archive = await exportTo()
    vault.after = (call) => {
      if (call === `put ${plan}/${id}/shop/tables/items.sql.zst`) vault.objects.delete(call.slice(4))
    }
    await expect(bringIn(archive)).rejects.toMatchObject({ kind: 'storage' })
    expect(commits()).toBe(false)
  })
})

describe('unpack', () => {
  const to = () => join(dir, 'files')
  const whole = () => ({
    ...Object.fromEntries(Object.entries(contents).map(([path, bytes]) => [path, hash(bytes)])),
    'manifest.json': hash(formatManifest(manifest)),
  })

  async function folderCopy(): Promise<string> {
    const copy = join(dir, 'copy')
    const disk = filesystemStorage({ name: 'copy', root: join(copy, 'prod') })
    for (const [key, bytes] of store.objects) await disk.put(key, bytes, {})
    await rm(join(copy, 'prod/.tmp'), { recursive: true })
    return join(copy, 'prod', plan)
  }

  const froms: [string, () => Promise<Parameters<typeof unpack>[1]>][] = [
    ['a storage', async () => ({ to: to(), plan, pick: 'latest' })],
    ['a folder', async () => ({ to: to(), from: join(await folderCopy(), id) })],
    ['a manifest', async () => ({ to: to(), from: join(await folderCopy(), `${id}.json`) })],
    ['the folder of a plan with one backup', async () => ({ to: to(), from: await folderCopy() })],
    ['an archive', async () => ({ to: to(), from: (await exportTo()) && file() })],
    ['a pipe', async () => ({ to: to(), from: '-', input: Readable.from(await exportTo(), { objectMode: false }) })],
  ]

  test.each(froms)('from %s gives the files as they were written', async (_, options) => {
    const { data } = await unpack(jobOf(store), await options())
    expect(await treeOf(to())).toEqual(whole())
    expect(data).toMatchObject({ plan, backup: id, to: to(), files: 5 })
  })

  test.each(froms)('from %s without one intact part leaves nothing', async (_, options) => {
    const made = await options()
    if (made.from && made.from !== '-' && made.from !== file()) {
      const folder = (await readdir(join(dir, 'copy'), { recursive: true })).find((path) =>
        path.endsWith('items.sql.zst'),
      ) as string
      await truncate(join(dir, 'copy', folder), 20)
    } else if (made.input)
      made.input = Readable.from((await exportTo(join(dir, 'b.tar'))).subarray(0, 150_000), { objectMode: false })
    else if (made.from) await truncate(file(), 150_000)
    else await putText(store, `${plan}/${id}/shop/tables/items.sql.zst`, 'x')
    await expect(unpack(jobOf(store), made)).rejects.toMatchObject({ kind: 'verification' })
    expect(await treeOf(to())).toEqual({})
    expect(await readdir(to())).toEqual([])
  })

  test.each<[string, Partial<Parameters<typeof unpack>[1]>, string[]]>([
    ['sources', { sources: ['shop'] }, ['shop/tables/items.sql', 'shop/tables/orders.sql']],
    ['two sources', { sources: ['shop', 'rondb'] }, Object.keys(contents)],
    ['patterns', { only: ['shop/**/it*.sql'] }, ['shop/tables/items.sql']],
    ['two patterns', { only: ['*.sql', 'rondb/2/*'] }, ['rondb/2/empty.log', 'users.sql']],
    ['both', { sources: ['rondb'], only: ['**/*.sql'] }, ['users.sql']],
  ])('chooses by %s', async (_, choice, expected) => {
    await exportTo()
    for (const options of [{ plan }, { from: file() }]) {
      await rm(to(), { recursive: true, force: true })
      await unpack(jobOf(store), { to: to(), ...options, ...choice })
      expect(Object.keys(await treeOf(to())).sort()).toEqual(['manifest.json', ...expected].sort())
    }
  })

  test.each<[string, Partial<Parameters<typeof unpack>[1]>, RegExp]>([
    ['a source that is not there', { sources: ['cache'] }, /has no source cache/],
    ['a pattern that matches nothing', { only: ['*.csv'] }, /no file of backup 1795218000 matches \*\.csv/],
    ['a backup that is not there', { pick: '1795218001' }, /has id 1795218001/],
  ])('of %s is nothing-matches', async (_, choice, message) => {
    await expect(unpack(jobOf(store), { to: to(), plan, ...choice })).rejects.toMatchObject({
      kind: 'nothing-matches',
      message: expect.stringMatching(message),
    })
    await expect(access(to())).rejects.toThrow()
  })

  test('refuses a folder that is not empty, and with overwrite replaces what has the same name', async () => {
    await mkdir(join(to(), 'shop/tables'), { recursive: true })
    await writeFile(join(to(), 'shop/tables/items.sql'), 'old')
    await writeFile(join(to(), 'shop/mine.txt'), 'mine')
    await expect(unpack(jobOf(store), { to: to(), plan })).rejects.toMatchObject({
      kind: 'target-not-empty',
      message: expect.stringContaining('it has shop'),
    })
    expect(Object.keys(await treeOf(to()))).toHaveLength(2)
    await unpack(jobOf(store), { to: to(), plan, overwrite: true })
    expect(await treeOf(to())).toEqual({ ...whole(), 'shop/mine.txt': hash('mine') })
  })

  test('writes nothing through a link', async () => {
    await mkdir(join(dir, 'elsewhere'))
    await mkdir(to())
    await symlink(join(dir, 'elsewhere'), join(to(), 'shop'))
    await expect(unpack(jobOf(store), { to: to(), plan, overwrite: true })).rejects.toMatchObject({
      kind: 'target-not-empty',
    })
    expect(await readdir(join(dir, 'elsewhere'))).toEqual([])
    expect(await readdir(to())).toEqual(['shop'])
  })

  test.each<[string, () => Promise<unknown>, string]>([
    ['a file where a folder must be', () => writeFile(join(to(), 'shop'), 'mine'), 'shop is no folder'],
    [
      'a folder where a file must be',
      () => mkdir(join(to(), 'shop/tables/orders.sql'), { recursive: true }),
      'orders.sql is a folder',
    ],
    ['a folder where the manifest must be', () => mkdir(join(to(), 'manifest.json')), 'manifest.json is a folder'],
  ])('changes nothing when there is %s', async (_, putInTheWay, message) => {
    await mkdir(to())
    await writeFile(join(to(), 'users.sql'), 'old')
    await putInTheWay()
    const before = await treeOf(to())
    await expect(unpack(jobOf(store), { to: to(), plan, overwrite: true })).rejects.toMatchObject({
      kind: 'target-not-empty',
      message: expect.stringContaining(message),
      hint: expect.stringContaining('nothing was changed'),
    })
    expect(await treeOf(to())).toEqual(before)
    expect(await readdir(to())).not.toContain('.holdfast-partial')
  })

  test('what a killed run left is no content, and goes', async () => {
    await mkdir(join(to(), '.holdfast-partial/shop'), { recursive: true })
    await writeFile(join(to(), '.holdfast-partial/shop/half'), 'x')
    await unpack(jobOf(store), { to: to(), plan })
    expect(await treeOf(to())).toEqual(whole())
  })

  test('of a folder with several backups asks which', async () => {
    const folder = await folderCopy()
    await writeFile(join(folder, '1795218060.json'), formatManifest(manifestOf('1795218060')))
    await expect(unpack(jobOf(store), { to: to(), from: folder })).rejects.toMatchObject({
      kind: 'nothing-matches',
      hint: `name one: --from ${join(folder, '1795218060')} is the newest`,
    })
  })

  test('of a copy under another name works: the manifest beside it counts', async () => {
    const folder = await folderCopy()
    const disk = filesystemStorage({ name: 'x', root: join(dir, 'copy') })
    for (const path of Object.keys(await treeOf(join(folder, id))))
      await disk.put(`old/${path}`, await readFile(join(folder, id, path)), {})
    await disk.put('old.json', await readFile(join(folder, `${id}.json`)), {})
    await unpack(jobOf(store), { to: to(), from: join(dir, 'copy/old') })
    expect(await treeOf(to())).toEqual(whole())
  })

  test('refuses a manifest whose parts would become one file', async () => {
    const twice = manifest.parts.map((part) =>
      part.path === 'users.sql.zst' ? { ...part, path: 'rondb/1/BACKUP-1.Data.zst' } : part,
    )
    await store.put(`${plan}/${id}.json`, formatManifest({ ...manifest, parts: twice }), {})
    await expect(unpack(jobOf(store), { to: to(), plan })).rejects.toMatchObject({
      kind: 'verification',
      message: 'the manifest has two parts that would become rondb/1/BACKUP-1.Data',
    })
  })

  test('the files are those that the hashes are of', async () => {
    await unpack(jobOf(store), { to: to(), plan })
    for (const part of manifest.parts) {
      const bytes = await readFile(join(to(), part.path.replace(/\.zst$/, '')))
      expect(hash(bytes)).toBe((part.plain ?? part).sha256)
    }
  })
})
