import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { generateX25519Identity } from 'age-encryption'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { backup } from '../../commands/backup.ts'
import { check } from '../../commands/check.ts'
import { show } from '../../commands/show.ts'
import { signerOf } from '../../commands/signing.ts'
import { unpack } from '../../commands/unpack.ts'
import { verify } from '../../commands/verify.ts'
import type { Plan } from '../../config.ts'
import { exitCodeOf } from '../../errors.ts'
import { render } from '../../io/print.ts'
import { publicKeyOf } from '../../io/signature.ts'
import { formatManifest, parseManifest } from '../../manifest.ts'
import { filesystemStorage } from '../../storages/filesystem.ts'
import { manifestOf, memoryStore, putBackup } from '../catalog/store.ts'
import { fakeJob } from './fake-job.ts'
import { folderWith, planJob, planOf } from './plan-job.ts'

/** An encrypted backup that was signed and rewrapped (job/test/catalog/manifest.test.ts). */
const fixture = fileURLToPath(new URL('../fixtures/format-2', import.meta.url))
const id = '1795218000'
const signer = 'MCowBQYDK2VwAyEAdnTsAmeGGB0l27CdyefwDrVvRB/7nbOQPJyxkcBosgI='
const stranger = publicKeyOf(pemOf(generateKeyPairSync('ed25519').publicKey), 'here')
const stored = () => filesystemStorage({ name: 'main', root: fixture })
const jobOf = (plan: Partial<Plan> = {}) => fakeJob({ storages: [stored()], backups: { nightly: plan } })

describe('unpack', () => {
  const from = join(fixture, 'nightly', id)
  let dir: string

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'holdfast-unpack-'))
    const made = dir
    onTestFinished(() => rm(made, { recursive: true, force: true }))
  })

  test.each(['identity.txt', 'identity-2.txt'])('opens a copy of an encrypted backup with %s', async (name) => {
    await unpack(jobOf(), { from, to: join(dir, 'files'), identity: join(fixture, name) })
    const text = async (path: string) => (await readFile(join(dir, 'files', path))).toString()
    expect(await text('databases.sql')).toBe('CREATE DATABASE shop;\n')
    expect(await text('rondb/1/BACKUP-1795218000.1.ctl')).toBe('NDBBCKUP\n')
    expect(await text('users.sql')).toBe('CREATE USER a;\n')
  })

  test('says what is missing without an identity, with a wrong one, and with a file that has none', async () => {
    const identity = join(dir, 'key.txt')
    const to = join(dir, 'files')
    await expect(unpack(jobOf(), { from, to })).rejects.toMatchObject({
      kind: 'configuration',
      hint: expect.stringContaining('--identity'),
    })
    await expect(unpack(jobOf(), { from, to, identity })).rejects.toMatchObject({ kind: 'configuration' })
    await writeFile(identity, await generateX25519Identity())
    await expect(unpack(jobOf(), { from, to, identity })).rejects.toMatchObject({
      kind: 'configuration',
      message: expect.stringContaining('--identity: no identity there opens backup 1795218000'),
      hint: expect.stringContaining('age15qkw4vchk87slqc30jaxt4fuqe9g829dwahgw9tnyqy58tpej4nst8rcfx'),
    })
    await writeFile(identity, 'secret')
    await expect(unpack(jobOf(), { from, to, identity })).rejects.toMatchObject({ kind: 'configuration' })
  })
})

test('show says for whom a backup is encrypted, and who signed it', async () => {
  const text = render(await show(jobOf(), { plan: 'nightly', pick: id }), 'table')
  expect(text).toMatch(/^encrypted +2 of 3 parts$/m)
  expect(text).toMatch(/^ +for +age15qkw4vchk87slqc30jaxt4fuqe9g829dwahgw9tnyqy58tpej4nst8rcfx$/m)
  expect(text).toContain(signer)
})

describe('verify', () => {
  test('says who signed a backup, and needs no key to read it again', async () => {
    const { data, failure } = await verify(jobOf(), { plan: 'nightly' })
    expect(failure).toBeUndefined()
    expect(data).toMatchObject([{ id, signedBy: signer, problems: [] }])
  })

  test.each([
    ['nobody is trusted by name', undefined, undefined],
    ['its signer is trusted', [stranger, signer], undefined],
    ['only somebody else is trusted', [stranger], 'is signed by'],
  ])('a signed backup, when %s', async (_, trust, problem) => {
    const { failure } = await verify(jobOf({ trust }), { plan: 'nightly' })
    if (!problem) return expect(failure).toBeUndefined()
    expect(exitCodeOf(failure)).toBe(24)
    expect(failure).toMatchObject({ message: expect.stringContaining(problem) })
  })

  test('a backup without signature fails where one is asked for', async () => {
    const main = memoryStore()
    await putBackup(main, id, { 'users.sql': 'create user a' })
    const of = (plan: Partial<Plan>) =>
      verify(fakeJob({ storages: [main], backups: { nightly: plan } }), { plan: 'nightly' })
    expect((await of({})).data).toMatchObject([{ signedBy: null, problems: [] }])
    const { failure } = await of({ trust: [signer] })
    expect(failure).toMatchObject({ kind: 'verification', message: expect.stringContaining('is not signed') })
  })
})

describe('a plan with a signing key', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const signing = { secret: 'backup-signing', key: 'private.pem' }
  const config = (secret: () => string) => ({ ...fakeJob({ storages: [], backups: { nightly: { signing } } }), secret })

  test('signs what it makes', () => {
    const manifest = signerOf(
      config(() => pem),
      'nightly',
    )(manifestOf(id))
    expect(parseManifest(formatManifest(manifest), 'here').signature?.key).toBe(publicKeyOf(pemOf(publicKey), 'here'))
  })

  test('is refused before anything is done when the key is none', () => {
    expect(() =>
      signerOf(
        config(() => 'secret'),
        'nightly',
      ),
    ).toThrow(
      expect.objectContaining({ kind: 'configuration', message: expect.stringContaining('backups.nightly.signing') }),
    )
  })

  describe('and with trust', () => {
    const folder = () => folderWith({ 'a.txt': 'a' })
    const trusting = async (trust: string[]) => {
      const main = memoryStore()
      const job = planJob({ storages: [main], backups: planOf(await folder(), { signing, trust }) })
      return { main, job: { ...job, secret: () => pem } }
    }

    test('makes a backup when its own key is among those', async () => {
      const { main, job } = await trusting([stranger, pemOf(publicKey)])
      await backup(job, { plan: 'nightly' })
      expect((await verify(job, { plan: 'nightly' })).failure).toBeUndefined()
      expect(main.objects.size).toBeGreaterThan(0)
    })

    test('is refused by check and backup when its own key is not, and writes nothing', async () => {
      const { main, job } = await trusting([stranger])
      const refused = {
        kind: 'configuration',
        message: expect.stringContaining('backups.nightly.trust: has no public key of backups.nightly.signing'),
        hint: expect.stringContaining(`add ${publicKeyOf(pemOf(publicKey), 'here')} to backups.nightly.trust`),
      }
      await expect(check(job, { plan: 'nightly' })).rejects.toMatchObject(refused)
      await expect(backup(job, { plan: 'nightly' })).rejects.toMatchObject(refused)
      expect(main.objects.size).toBe(0)
    })
  })

  test('leaves the manifests of other plans alone', () => {
    expect(
      signerOf(
        config(() => pem),
        'weekly',
      )(manifestOf(id)),
    ).toEqual(manifestOf(id))
  })
})

function pemOf(key: { export(options: { type: 'spki'; format: 'pem' }): string | Buffer }): string {
  return key.export({ type: 'spki', format: 'pem' }).toString()
}
