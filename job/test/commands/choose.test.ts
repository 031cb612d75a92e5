import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { chooseBackup, type Target } from '../../commands/choose.ts'
import { type Request, requestOf } from '../../commands/request.ts'
import { SourceValues } from '../../engines/index.ts'
import { signatureOf } from '../../io/signature.ts'
import { formatManifest, signManifest } from '../../manifest.ts'
import { manifestOf, memoryStore, putBackup, putText, type Store } from '../catalog/store.ts'
import { fakeJob } from './fake-job.ts'

const older = '1795200000'
const newer = '1795218000'
const newest = '1795221600'
const plan = 'nightly'

/** Stores `main` and `offsite` with backups of these ids; `damaged` ones have a manifest that is none. */
async function storesWith(ids: Record<string, string[]>, damaged: Record<string, string[]> = {}) {
  const stores = ['main', 'offsite'].map((name) => memoryStore({ name })) as [Store, Store]
  for (const store of stores) {
    for (const id of ids[store.name] ?? []) await putBackup(store, id)
    for (const id of damaged[store.name] ?? []) await putText(store, `${plan}/${id}.json`, '{}')
  }
  return stores
}

function choose(stores: Store[], pick: string | number = 'latest') {
  const job = fakeJob({ storages: stores, backups: {} })
  const from = { plan, storages: stores.map(({ name }) => name) }
  const request = { from, pick, scheduled: false, trust: undefined } as unknown as Request
  const chosen = chooseBackup(job, request, [{ marker: undefined }] as Target[])
  return { chosen, job }
}

describe('a damaged manifest in one of two storages', () => {
  test.each(['main', 'offsite'])('is never a reason to take an older backup: %s', async (spoilt) => {
    const stores = await storesWith({ main: [older], offsite: [older] }, { [spoilt]: [newer] })
    await expect(choose(stores).chosen).rejects.toMatchObject({
      kind: 'verification',
      message: expect.stringContaining(`${plan}/${newer}.json in storage ${spoilt} is no manifest`),
    })
  })

  test.each([
    ['the other has that backup', [older, newer], 'latest', newer],
    ['the other has a newer one', [older, newest], 'latest', newest],
    ['it is asked for by id', [newer], newer, newer],
    ['it is newer than the time that is asked for', [older], '2026-11-20T20:00:00Z', older],
  ] as const)('is passed over when %s', async (_, ids, pick, id) => {
    const stores = await storesWith({ main: [older], offsite: [...ids] }, { main: [newer] })
    const found = await choose(stores, pick).chosen
    expect(found?.manifest.id).toBe(id)
  })
})

test('a request made of a plan with trust refuses a backup that none of its keys signed', async () => {
  const [{ privateKey, publicKey }, stranger] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')]
  const trust = [publicKey.export({ type: 'spki', format: 'pem' }).toString()]
  const store = memoryStore()
  const sources = [SourceValues.parse({ name: 'docs', files: { access: 'local', path: '/docs' } })]
  const job = fakeJob({ storages: [store], backups: { [plan]: { sources, trust } } })
  const choosing = () => {
    const request = requestOf({ job, options: { backup: plan }, delegate: async () => {} })
    return chooseBackup(job, request, [{ marker: undefined }] as Target[])
  }
  const manifest = manifestOf(newer)
  const put = (one: typeof manifest) => store.put(`${plan}/${newer}.json`, formatManifest(one), {})
  await put(manifest)
  await expect(choosing()).rejects.toMatchObject({
    kind: 'verification',
    message: expect.stringContaining(`is not signed, and backups.${plan}.trust names keys`),
  })
  await put(signManifest(manifest, stranger.privateKey))
  await expect(choosing()).rejects.toMatchObject({
    kind: 'verification',
    message: expect.stringContaining(signatureOf({}, stranger.privateKey).key),
  })
  await put(signManifest(manifest, privateKey))
  expect((await choosing())?.manifest.id).toBe(newer)
})
