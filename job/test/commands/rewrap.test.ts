import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { beforeEach, describe, expect, test } from 'vitest'
import { rewrap } from '../../commands/rewrap.ts'
import type { Config } from '../../config.ts'
import { keyOf } from '../../io/keys.ts'
import { formatManifest, type Manifest } from '../../manifest.ts'
import { manifestOf, memoryStore, type Store } from '../catalog/store.ts'
import { newKey } from '../io/keyed.ts'
import { fakeJob, now } from './fake-job.ts'

const id = '1795218000'
const content = { size: 1, sha256: 'a'.repeat(64) }
const path = 'users.sql.zst.age'
const signal = new AbortController().signal
const old = await generateX25519Identity()
const fresh = await generateX25519Identity()
const [oldRecipient, freshRecipient] = await Promise.all([old, fresh].map(identityToRecipient))
let fileKey: Buffer
let store: Store

beforeEach(async () => {
  const made = await newKey([oldRecipient as string], `nightly/${id}/${path}`)
  fileKey = made.fileKey
  const parts = [{ path, ...content, codec: 'zstd' as const, age: made.age, plain: content }]
  store = withManifest({ ...manifestOf(id), format: 2, parts })
})

test('rewrap gives old backups to new recipients, and changes nothing that is there', async () => {
  const before = new Map(store.objects)
  const job = fakeJob({ storages: [encrypting([old])], backups: { nightly: {} } })
  const { data } = await rewrap(job, { plan: 'nightly' })
  expect(data).toMatchObject({ backups: [{ id, storage: 'main', result: 'rewrapped', recipients: [freshRecipient] }] })
  for (const [key, bytes] of before) expect(store.objects.get(key)).toEqual(bytes)
  const file = JSON.parse(store.objects.get(`nightly/${id}.keys-1.json`)?.toString() ?? '')
  expect(file).toMatchObject({
    format: 1,
    plan: 'nightly',
    id,
    created: now.toISOString(),
    recipients: [freshRecipient],
  })

  const manifest = JSON.parse(store.objects.get(`nightly/${id}.json`)?.toString() ?? '') as Manifest
  const part = manifest.parts[0] as Manifest['parts'][0]
  expect(await keyOf(part, { plan: 'nightly', id, signal, storage: encrypting([fresh]) })).toEqual(fileKey)
})

test('rewrap does nothing twice, and goes on from what was rewrapped', async () => {
  const first = () => fakeJob({ storages: [encrypting([old])], backups: { nightly: {} } })
  await rewrap(first(), { plan: 'nightly' })
  const again = await rewrap(first(), { plan: 'nightly', pick: id })
  expect(again.data).toMatchObject({ backups: [{ result: 'is for these recipients already' }] })
  const third = encrypting([fresh], [oldRecipient as string, freshRecipient as string])
  await rewrap(fakeJob({ storages: [third], backups: { nightly: {} } }), { plan: 'nightly' })
  expect([...store.objects.keys()].sort()).toEqual(
    [`${id}.json`, `${id}.keys-1.json`, `${id}.keys-2.json`].map((name) => `nightly/${name}`),
  )
})

test('a dry run writes nothing', async () => {
  const job = fakeJob({ storages: [encrypting([old])], backups: { nightly: {} } })
  const { data } = await rewrap(job, { plan: 'nightly', dryRun: true })
  expect(data).toMatchObject({ backups: [{ result: 'would be rewrapped' }] })
  expect(store.objects.size).toBe(1)
})

test('without the old identity nothing is written', async () => {
  const job = fakeJob({ storages: [encrypting([fresh])], backups: { nightly: {} } })
  const { data, failure } = await rewrap(job, { plan: 'nightly' })
  expect(data).toMatchObject({ backups: [{ id, result: expect.stringMatching(/^FAILED: .*no identity there opens/) }] })
  expect(failure).toMatchObject({ kind: 'configuration', hint: expect.stringContaining(oldRecipient as string) })
  expect(store.objects.size).toBe(1)
})

test('a backup that is not encrypted is left alone, and storages without encryption are refused', async () => {
  store = withManifest(manifestOf(id))
  const { data } = await rewrap(fakeJob({ storages: [encrypting([old])], backups: { nightly: {} } }), {
    plan: 'nightly',
  })
  expect(data).toMatchObject({ backups: [{ result: 'is not encrypted' }] })
  const refused = rewrap(fakeJob({ storages: [store], backups: { nightly: {} } }), { plan: 'nightly' })
  await expect(refused).rejects.toMatchObject({
    kind: 'configuration',
    message: 'storages: none of main has encryption',
  })
})

test('one backup that cannot be opened does not keep the others from their new keys', async () => {
  const younger = '1795218001'
  const { age } = await newKey([freshRecipient as string], `nightly/${younger}/${path}`)
  const parts = [{ path, ...content, codec: 'zstd' as const, age, plain: content }]
  putManifest(store, { ...manifestOf(younger), format: 2, parts })
  putManifest(store, manifestOf('1795218002'))
  const recipients = [oldRecipient as string, freshRecipient as string]
  const job = fakeJob({ storages: [encrypting([old], recipients)], backups: { nightly: {} } })
  const { data, failure } = await rewrap(job, { plan: 'nightly' })
  expect(data).toMatchObject({
    backups: [
      { id: '1795218002', result: 'is not encrypted' },
      { id: younger, result: expect.stringMatching(/^FAILED: /) },
      { id, result: 'rewrapped' },
    ],
  })
  expect(failure).toMatchObject({ kind: 'configuration', message: '1 of 3 backups were not rewrapped' })
  expect(store.objects.has(`nightly/${id}.keys-1.json`)).toBe(true)
})

test('what a file says of its recipients counts only with a key of the backup in it', async () => {
  const stranger = await newKey([freshRecipient as string], `nightly/${id}/${path}`)
  putKeys(7, { [path]: stranger.age.header })
  const { data } = await rewrap(fakeJob({ storages: [encrypting([old])], backups: { nightly: {} } }), {
    plan: 'nightly',
  })
  expect(data).toMatchObject({ backups: [{ result: 'rewrapped' }] })
  expect(store.objects.has(`nightly/${id}.keys-8.json`)).toBe(true)
})

test('a file of the highest number is not passed over in silence', async () => {
  putKeys(999_999_999, {})
  const { failure } = await rewrap(fakeJob({ storages: [encrypting([old])], backups: { nightly: {} } }), {
    plan: 'nightly',
  })
  expect(failure).toMatchObject({ kind: 'storage', cause: { message: expect.stringContaining('keys-1000000000') } })
})

describe('rewrap looks into', () => {
  const copies = { far: { plan: 'nightly', to: ['far'] } } as unknown as Config['copies']
  let far: Store

  beforeEach(() => {
    far = memoryStore({ name: 'far' })
    for (const [key, bytes] of store.objects) far.objects.set(key, bytes)
  })

  test('the storages of copies of the plan', async () => {
    const storages = [encrypting([old]), encrypting([old], undefined, far)]
    await rewrap(fakeJob({ storages, backups: { nightly: { storages: ['main'] } }, copies }), { plan: 'nightly' })
    expect(far.objects.has(`nightly/${id}.keys-1.json`)).toBe(true)
  })

  test('storages without encryption, and fails for encrypted backups there', async () => {
    const storages = [encrypting([old]), far]
    const job = fakeJob({ storages, backups: { nightly: { storages: ['main'] } }, copies })
    const { data, failure } = await rewrap(job, { plan: 'nightly' })
    expect(data).toMatchObject({
      backups: [
        { storage: 'main', result: 'rewrapped' },
        { storage: 'far', result: expect.stringContaining('FAILED: storages.far.encryption: missing') },
      ],
    })
    expect(failure).toMatchObject({ kind: 'configuration', hint: expect.stringContaining(oldRecipient as string) })
  })
})

function encrypting(identities: string[], recipients = [freshRecipient as string], of = store): Store {
  return {
    ...of,
    encryption: { recipients, at: 'storages.memory.encryption.identities', identities: () => identities },
  }
}

function withManifest(manifest: Manifest): Store {
  const made = memoryStore()
  putManifest(made, manifest)
  return made
}

function putManifest({ objects }: Store, manifest: Manifest): void {
  objects.set(`nightly/${manifest.id}.json`, formatManifest(manifest))
}

function putKeys(number: number, headers: Record<string, string>): void {
  const file = { format: 1, plan: 'nightly', id, created: now.toISOString(), recipients: [freshRecipient], headers }
  store.objects.set(`nightly/${id}.keys-${number}.json`, Buffer.from(JSON.stringify(file)))
}
