import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { beforeAll, describe, expect, test } from 'vitest'
import { wrapKey } from '../../io/age.ts'
import { KeysFile, keyOf, requireEncrypted } from '../../io/keys.ts'
import type { Part } from '../../manifest.ts'
import type { Storage } from '../../storage.ts'
import { type MemoryStorage, memoryStorage } from '../fakes/memory.ts'
import { newKey } from './keyed.ts'

const backup = { plan: 'nightly', id: '1795218000', signal: new AbortController().signal }
const path = 'users.sql.zst.age'
const place = `nightly/1795218000/${path}`
const content = { size: 1, sha256: 'a'.repeat(64) }
let [mine, other, recipient, others] = ['', '', '', '']
let part: Part & { age: object }
let fileKey: Buffer

beforeAll(async () => {
  mine = await generateX25519Identity()
  other = await generateX25519Identity()
  recipient = await identityToRecipient(mine)
  others = await identityToRecipient(other)
  const made = await newKey([recipient], place)
  fileKey = made.fileKey
  part = { path, ...content, codec: 'zstd', age: made.age, plain: content }
})

describe('the key of a part', () => {
  test('is found with the identity of a recipient', async () => {
    expect(await keyOf(part, { ...backup, storage: encrypting([other, mine]) })).toEqual(fileKey)
  })

  test('is refused to everybody else, with who can read it', async () => {
    const reading = keyOf(part, { ...backup, storage: encrypting([other]) })
    await expect(reading).rejects.toMatchObject({
      kind: 'configuration',
      message: 'storages.memory.encryption.identities: no identity there opens backup 1795218000 of plan nightly',
      hint: expect.stringContaining(recipient),
    })
    await expect(reading).rejects.not.toThrow(/SECRET/)
  })

  test('is refused when the storage names no encryption', async () => {
    await expect(keyOf(part, { ...backup, storage: memoryStorage() })).rejects.toMatchObject({
      kind: 'configuration',
      message: 'storages.memory.encryption: missing, but backup 1795218000 is encrypted there',
    })
  })

  test('of another part, plan or backup is refused', async () => {
    const storage = encrypting([mine])
    for (const wrong of [{ plan: 'weekly' }, { id: '1795218001' }]) {
      await expect(keyOf(part, { ...backup, ...wrong, storage })).rejects.toMatchObject({ kind: 'verification' })
    }
    const moved = { ...part, path: 'databases.sql.zst.age' }
    await expect(keyOf(moved, { ...backup, storage })).rejects.toMatchObject({ kind: 'verification' })
  })

  test('is another one for each part', async () => {
    const keys = await Promise.all([1, 2, 3].map(() => newKey([recipient], place)))
    expect(new Set(keys.map((one) => one.fileKey.toString('hex'))).size).toBe(3)
    expect(new Set(keys.map((one) => one.age.header)).size).toBe(3)
  })
})

describe('a key that was wrapped again', () => {
  test('is found by the new recipient, in the newest file that has it', async () => {
    const storage = encrypting([other])
    await rewrapped(storage, 2, { headers: { [path]: await wrapKey({ fileKey, recipients: [others], place }) } })
    await rewrapped(storage, 10, { headers: {} })
    expect(await keyOf(part, { ...backup, storage })).toEqual(fileKey)
  })

  test('is passed over when it is not that of the part', async () => {
    const storage = encrypting([other])
    const stranger = await newKey([others], place)
    await rewrapped(storage, 1, { headers: { [path]: await wrapKey({ fileKey, recipients: [others], place }) } })
    await rewrapped(storage, 2, { headers: { [path]: stranger.age.header } })
    await rewrapped(storage, 3, { headers: { [path]: 'age-encryption.org/v1\n' } })
    await rewrapped(storage, 4, { id: '5', headers: { [path]: stranger.age.header } })
    await storage.put('nightly/1795218000.keys-5.json', Buffer.from('{'), {})
    expect(await keyOf(part, { ...backup, storage })).toEqual(fileKey)
  })
})

test('a file too large for keys is not read', async () => {
  const storage = encrypting([other])
  await rewrapped(storage, 1, { headers: { [path]: await wrapKey({ fileKey, recipients: [others], place }) } })
  const inflated: Storage = {
    ...storage,
    async *list(prefix) {
      for await (const entry of storage.list(prefix)) yield { ...entry, size: 1e9 }
    },
  }
  await expect(keyOf(part, { ...backup, storage: inflated })).rejects.toMatchObject({ kind: 'configuration' })
})

describe('a storage that encrypts', () => {
  const plain: Part = { path: 'users.sql.zst', ...content, codec: 'zstd', plain: content }

  test('has no part that is plain, or for others', () => {
    expect(() => requireEncrypted([part], encrypting([]))).not.toThrow()
    expect(() => requireEncrypted([part, plain], encrypting([]))).toThrow('users.sql.zst was stored before encryption')
    const foreign = { ...part, age: { ...part.age, recipients: [recipient, others] } } as Part
    expect(() => requireEncrypted([foreign], encrypting([]))).toThrow(`${path} was stored for other recipients`)
  })

  test('is not every one', () => {
    expect(() => requireEncrypted([plain], memoryStorage())).not.toThrow()
  })
})

function encrypting(identities: string[]): MemoryStorage & Storage {
  return {
    ...memoryStorage(),
    encryption: { recipients: [recipient], at: 'storages.memory.encryption.identities', identities: () => identities },
  }
}

async function rewrapped(storage: Storage, number: number, change: Partial<KeysFile>): Promise<void> {
  const { plan, id } = backup
  const file = KeysFile.parse({ format: 1, plan, id, created: '2026-11-21T00:00:00Z', recipients: [others], ...change })
  await storage.put(`nightly/1795218000.keys-${number}.json`, Buffer.from(JSON.stringify(file)), {})
}
