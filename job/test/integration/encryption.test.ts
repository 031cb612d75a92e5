import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Manifest } from '../../manifest.ts'
import { type NdbCluster, startNdb } from '../servers/ndb.ts'
import { type S3Server, startS3 } from '../servers/s3.ts'
import { emptyCluster, openWorkspace, prepareAccount, sourceOf, succeeds, targetOf, type Workspace } from './harness.ts'

const run = promisify(execFile)
const s3 = await startS3()
const cluster = s3 && (await startNdb({ dataNodes: 2, ldm: 1 }))

/** Stands in a table, in a file and in a definer: nothing that is stored may show it. */
const word = 'pw-Hq8Ns3-content'

describe.skipIf(!s3 || !cluster)('an encrypted and signed backup', () => {
  const [server, rondb] = [s3, cluster] as [S3Server, NdbCluster]
  let work: Workspace
  let bucket: string
  let id: string
  const keys = { ours: '', safe: '', fresh: '', foreign: '' }
  const signer = generateKeyPairSync('ed25519')
  const stranger = generateKeyPairSync('ed25519')

  beforeAll(async () => {
    work = await openWorkspace()
    bucket = await server.createBucket()
    for (const name of Object.keys(keys) as (keyof typeof keys)[]) {
      keys[name] = await generateX25519Identity()
      await work.secret('age', { [`${name}.txt`]: `# ${name}\n${keys[name]}\n` })
    }
    await work.secret('signing', { 'private.pem': `${signer.privateKey.export({ type: 'pkcs8', format: 'pem' })}` })
    await prepareAccount(rondb)
    await emptyCluster(rondb)
    await rondb.sql(`CREATE DATABASE shop; CREATE TABLE shop.items (id INT PRIMARY KEY, note VARCHAR(200)) ENGINE=NDB`)
    await rondb.sql(
      `INSERT INTO shop.items WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i, CONCAT('${word}-', i) FROM n`,
    )
    await rondb.sql(`CREATE VIEW shop.noted AS SELECT id, '${word}' AS word FROM shop.items`)
    await mkdir(join(work.dir, 'source'))
    await writeFile(join(work.dir, 'source', 'note.txt'), `${word}\n`.repeat(1000))
    await values()
    id = `${(await succeeds(work.holdfast('backup', 'nightly'))).summary.backup}`
  })

  afterAll(async () => {
    await rondb.destroy()
    await server.stop()
    await work.remove()
  })

  beforeEach(() => values())

  /** Two storages for other people each: `safe` reads both. */
  async function values(identity: keyof typeof keys | 'none' = 'ours'): Promise<void> {
    const recipientOf = (name: keyof typeof keys) => identityToRecipient(keys[name])
    const identities = identity !== 'none' ? { identities: { secret: 'age', key: `${identity}.txt` } } : {}
    const source = { access: 'local', path: join(work.dir, 'source') }
    work.values = {
      storages: {
        s3: {
          s3: { endpoint: server.endpoint, bucket, region: 'us-east-1', credentials: { secret: 's3' } },
          encryption: { recipients: [await recipientOf('ours'), await recipientOf('safe')], ...identities },
        },
        local: { filesystem: { path: work.store }, encryption: { recipients: [await recipientOf('safe')] } },
      },
      backups: {
        nightly: {
          storages: ['s3', 'local'],
          sources: [sourceOf(rondb), { name: 'media', files: source }],
          signing: { secret: 'signing' },
        },
      },
      restores: {
        back: {
          from: { plan: 'nightly', storages: ['s3'] },
          trust: [`${signer.publicKey.export({ type: 'spki', format: 'pem' })}`],
          targets: [targetOf(rondb), { name: 'media', files: { access: 'local', path: join(work.dir, 'target') } }],
        },
      },
    }
  }

  /** Nothing of it is left. */
  async function lost(): Promise<void> {
    await emptyCluster(rondb)
    await rm(join(work.dir, 'target'), { recursive: true, force: true })
    await mkdir(join(work.dir, 'target'))
  }

  async function databases(): Promise<number> {
    return (await rondb.sql("SELECT 1 FROM information_schema.schemata WHERE schema_name = 'shop'")).length
  }

  test('shows nothing of what is in it, and every part of both storages opens for its own readers', async () => {
    const local = await work.manifest('nightly', id)
    const remote = JSON.parse(
      (await succeeds(work.holdfast('show', 'nightly', id, '--storage', 's3', '-o', 'json'))).stdout,
    )
    for (const [manifest, readers] of [
      [local, ['safe']],
      [remote as Manifest, ['ours', 'safe']],
    ] as const) {
      expect(manifest).toMatchObject({ format: 2, signature: { key: expect.stringMatching(/^MCow/) } })
      expect(manifest.parts.filter(({ path }) => path.includes('BACKUP-')).length).toBeGreaterThan(4)
      const recipients = await Promise.all(readers.map((name) => identityToRecipient(keys[name as 'safe'])))
      for (const { path, age } of manifest.parts) {
        expect(path).toMatch(/\.age$/)
        expect(age?.recipients).toEqual(recipients)
      }
    }
    const plain = (manifest: Manifest) => manifest.parts.map(({ plain }) => plain?.sha256)
    expect(plain(remote)).toEqual(plain(local))
    for (const folder of [work.store, server.dataDir ?? work.store])
      await expect(run('grep', ['-r', '-l', '-a', word, folder])).rejects.toMatchObject({ code: 1 })
    await succeeds(work.holdfast('verify', 'nightly', '--storage', 's3', '--level', 'readable'))
  })

  test.each([
    ['no identity', 'none', 'identities: missing'],
    ['an identity that it is not for', 'foreign', 'no identity there opens backup'],
  ] as const)('is not restored with %s, and nothing is changed', async (_, identity, says) => {
    await values(identity)
    await lost()
    const ran = await work.holdfast('restore', 'back', '--token', identity)
    expect(ran.code).toBe(2)
    expect(ran.summary.error).toContain(says)
    expect(ran.summary.hint).toContain(await identityToRecipient(keys.ours))
    expect([await databases(), await readdir(join(work.dir, 'target'))]).toEqual([0, []])
  })

  test('is not restored when somebody else signed it, nobody did, or it was changed after that', async () => {
    await lost()
    const restore = work.values.restores.back as { trust: string[]; from: { storages: string[] } }
    const [own] = restore.trust
    restore.trust = [`${stranger.publicKey.export({ type: 'spki', format: 'pem' })}`]
    expect(await work.holdfast('restore', 'back')).toMatchObject({ code: 24 })

    restore.trust = [own as string]
    restore.from.storages = ['local']
    const file = join(work.store, 'nightly', `${id}.json`)
    const sound = await readFile(file)
    const { signature, ...unsigned } = JSON.parse(sound.toString())
    for (const forged of [unsigned, { ...unsigned, warnings: ['changed'], signature }]) {
      await rm(file)
      await writeFile(file, JSON.stringify(forged))
      const ran = await work.holdfast('restore', 'back')
      expect(ran.code, ran.stderr).toBe(24)
      expect(ran.summary.error).toMatch(/is not signed|is not what/)
    }
    await writeFile(file, sound)
    expect([await databases(), await readdir(join(work.dir, 'target'))]).toEqual([0, []])
  })

  test('comes back with the identity of one of its readers', async () => {
    await lost()
    await succeeds(work.holdfast('restore', 'back'))
    expect(await rondb.sql('SELECT COUNT(*) AS rows_, MIN(note) AS note FROM shop.items')).toEqual([
      { rows_: 900, note: `${word}-1` },
    ])
    expect(await rondb.sql('SELECT word FROM shop.noted LIMIT 1')).toEqual([{ word }])
    expect(await readFile(join(work.dir, 'target', 'note.txt'), 'utf8')).toBe(`${word}\n`.repeat(1000))
  })

  test('is opened by a new reader after a rewrap, in a storage and as a copy, and its parts stay as they were', async () => {
    const before = await run('sh', ['-c', 'find . -type f | sort | xargs sha256sum'], {
      cwd: join(work.store, 'nightly', id),
    })
    const storages = work.values.storages as Record<string, { encryption: object }>
    const fresh = await identityToRecipient(keys.fresh)
    const local = storages.local as { encryption: object }
    local.encryption = { recipients: [fresh], identities: { secret: 'age', key: 'safe.txt' } }
    await succeeds(work.holdfast('rewrap', 'nightly', id, '--storage', 'local'))
    local.encryption = { recipients: [fresh], identities: { secret: 'age', key: 'fresh.txt' } }
    await succeeds(work.holdfast('verify', 'nightly', id, '--storage', 'local', '--level', 'readable'))
    const to = join(work.dir, 'unpacked')
    const from = join(work.store, 'nightly', id)
    await succeeds(
      work.holdfast('unpack', '--from', from, '--to', to, '--identity', join(work.dir, 'secrets/age/fresh.txt')),
    )
    expect(await readFile(join(to, 'databases.sql'), 'utf8')).toContain(word)
    const after = await run('sh', ['-c', 'find . -type f | sort | xargs sha256sum'], { cwd: from })
    expect(after.stdout).toBe(before.stdout)
  })
})
