import { generateKeyPairSync } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import { type Copied, copy } from '../../commands/copy.ts'
import type { Plan } from '../../config.ts'
import { exitCodeOf, JobError } from '../../errors.ts'
import { formatManifest } from '../../manifest.ts'
import type { PutOptions } from '../../storage.ts'
import { keysOf, manifestOf, memoryStore, putBackup, putText, type Store, signal, textAt } from '../catalog/store.ts'
import { fakeJob, now } from './fake-job.ts'

const daily = (age: number) => String(now.getTime() / 1000 - age * 86_400)
const parts = { 'users.sql': 'CREATE USER a;\n', 'shop/items.sql': 'INSERT INTO items VALUES (1);\n' }

let main: Store
let offsite: Store

beforeEach(() => {
  main = memoryStore({ name: 'main' })
  offsite = memoryStore({ name: 'offsite' })
})

const jobOf = (plan: Partial<Plan> = {}) => fakeJob({ storages: [main, offsite], backups: { nightly: plan } })
const copied = (data: unknown) => (data as { copies: Copied[] }).copies
const committedIn = async (storage: Store) => (await openCatalog({ storage, plan: 'nightly' }).ids()).committed

async function isWhole(storage: Store, id: string): Promise<void> {
  const catalog = openCatalog({ storage, plan: 'nightly' })
  const { problems } = await catalog.verify(await catalog.manifest(id), { level: 'content', signal })
  expect(problems).toEqual([])
}

describe('with trust', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const trust = [publicKey.export({ type: 'spki', format: 'pem' }).toString()]

  test('what nobody trusted has signed stays where it is, and the others are copied', async () => {
    await putBackup(main, daily(2), parts, privateKey)
    await putBackup(main, daily(1), parts)
    const { data, failure } = await copy(jobOf({ trust }), { name: 'nightly' })
    expect(exitCodeOf(failure)).toBe(24)
    expect(copied(data)).toMatchObject([
      { backup: daily(1), to: 'offsite', failed: expect.stringContaining('is not signed, and backups.nightly.trust') },
      { backup: daily(2), to: 'offsite', parts: 2 },
    ])
    expect(await committedIn(offsite)).toEqual([daily(2)])
    expect(await keysOf(offsite, `nightly/${daily(1)}`)).toEqual([])
    await isWhole(offsite, daily(2))
  })

  test('an unsigned one is not copied when it is asked for', async () => {
    await putBackup(main, daily(1), parts)
    const copying = copy(jobOf({ trust }), { name: 'nightly', pick: daily(1) })
    await expect(copying).rejects.toMatchObject({ kind: 'verification' })
    expect(await keysOf(offsite)).toEqual([])
  })
})

describe('one backup that cannot be copied does not keep the others from it', () => {
  test.each(['{}', 'cut'])('its manifest is %s', async (text) => {
    for (const day of [1, 2, 3]) await putBackup(main, daily(day), parts)
    await putText(main, `nightly/${daily(2)}.json`, text)
    const { data, failure } = await copy(jobOf(), { name: 'nightly' })
    expect(failure).toMatchObject({
      kind: 'verification',
      message: expect.stringContaining(`backup ${daily(2)} is not`),
    })
    expect(copied(data).map(({ backup, failed }) => [backup, failed !== undefined])).toEqual([
      [daily(1), false],
      [daily(2), true],
      [daily(3), false],
    ])
    expect(await committedIn(offsite)).toEqual([daily(3), daily(1)])
    for (const day of [1, 3]) await isWhole(offsite, daily(day))
  })

  test('it was pruned a moment ago', async () => {
    for (const day of [1, 2]) await putBackup(main, daily(day), parts)
    main.before = (call) => {
      if (call === `get nightly/${daily(1)}.json`) main.objects.delete(`nightly/${daily(1)}.json`)
    }
    const { data, failure } = await copy(jobOf(), { name: 'nightly' })
    expect(failure).toBeUndefined()
    expect(copied(data).map(({ backup }) => backup)).toEqual([daily(2)])
  })

  test('it was asked for, and pruned a moment ago', async () => {
    await putBackup(main, daily(1), parts)
    let reads = 0
    main.before = (call) => {
      if (call === `get nightly/${daily(1)}.json` && ++reads === 2) main.objects.delete(`nightly/${daily(1)}.json`)
    }
    const { failure } = await copy(jobOf(), { name: 'nightly', pick: daily(1) })
    expect(failure).toMatchObject({ kind: 'nothing-matches' })
    expect(await keysOf(offsite)).toEqual([])
  })
})

describe('somebody else is at the folder', () => {
  test('which has become a backup: it stays as it is', async () => {
    await putBackup(main, daily(1), parts)
    await putBackup(offsite, daily(1), parts)
    const manifest = offsite.objects.get(`nightly/${daily(1)}.json`) as Buffer
    offsite.objects.delete(`nightly/${daily(1)}.json`)
    offsite.before = (call) => {
      if (call === `get nightly/${daily(1)}/started.json`) offsite.objects.set(`nightly/${daily(1)}.json`, manifest)
    }
    const { failure } = await copy(jobOf(), { name: 'nightly' })
    expect(failure).toMatchObject({ kind: 'busy', hint: expect.stringContaining('run it again') })
    await isWhole(offsite, daily(1))
  })

  test('which is swept in the last moment: the copy says that it is hollow', async () => {
    await putBackup(main, daily(1), parts)
    offsite.before = (call) => {
      if (call === `put nightly/${daily(1)}.json`) offsite.objects.delete(`nightly/${daily(1)}/users.sql`)
    }
    const { data, failure } = await copy(jobOf(), { name: 'nightly' })
    expect(exitCodeOf(failure)).toBe(23)
    expect(copied(data)).toMatchObject([{ failed: expect.stringContaining('does not have what was sent: users.sql') }])
  })
})

test('one that is asked for gets back the parts that it has lost, and nothing else is touched', async () => {
  for (const store of [main, offsite]) await putBackup(store, daily(1), parts)
  const whole = new Map(offsite.objects)
  offsite.calls.length = 0
  offsite.objects.delete(`nightly/${daily(1)}/users.sql`)
  const { data, failure } = await copy(jobOf(), { name: 'nightly', pick: daily(1) })
  expect(failure).toBeUndefined()
  expect(copied(data)).toMatchObject([{ backup: daily(1), to: 'offsite' }])
  expect(offsite.objects).toEqual(whole)
  const puts = offsite.calls.filter((call) => call.startsWith(`put nightly/${daily(1)}/`))
  expect(puts).toEqual([`put nightly/${daily(1)}/users.sql`])
})

describe('a part that is damaged where it is looked for first', () => {
  const id = daily(1)
  const key = `nightly/${id}/users.sql`
  let third: Store

  beforeEach(async () => {
    third = memoryStore({ name: 'third' })
    for (const store of [main, third]) await putBackup(store, id, parts)
    main.objects.set(key, Buffer.from(parts['users.sql'].replace('a', 'b')))
  })

  test.each([
    ['one storage', ['offsite']],
    ['several at once', ['offsite', 'fourth']],
  ])('comes to %s from the next that has it', async (_, names) => {
    const targets = names.map((name) => memoryStore({ name }))
    const job = fakeJob({ storages: [main, third, ...targets], backups: { nightly: {} } })
    const { failure } = await copy(job, { name: 'nightly', pick: id, from: ['main', 'third'], to: names })
    expect(failure).toBeUndefined()
    for (const target of targets) await isWhole(target, id)
  })

  test('is told when there is no other', async () => {
    third.objects.delete(key)
    const storages = [main, third, offsite]
    const job = fakeJob({ storages, backups: { nightly: {} } })
    const { failure } = await copy(job, { name: 'nightly', pick: id, from: ['main', 'third'], to: ['offsite'] })
    expect(failure).toMatchObject({ kind: 'verification', message: expect.stringContaining('users.sql') })
    expect(await committedIn(offsite)).toEqual([])
  })
})

describe('a backup that storages have with bytes of their own', () => {
  const id = daily(1)
  const lost = `nightly/${id}/users.sql`

  beforeEach(async () => {
    await putBackup(main, id, parts)
    await putBackup(offsite, id, { ...parts, 'users.sql': 'encrypted by itself' })
  })

  test.each([
    ['is asked for', { name: 'nightly', pick: id }],
    ['is asked for from the other one', { name: 'nightly', pick: id, from: ['offsite'], to: ['main'] }],
  ])('and that lacks a part: the hint says how to copy it anew when it %s', async (_, options) => {
    main.objects.delete(lost)
    const before = new Map(main.objects)
    const { data, failure } = await copy(jobOf(), options)
    expect(exitCodeOf(failure)).toBe(24)
    expect(failure).toMatchObject({
      message: `backup ${id} is not whole on main: users.sql is missing, and offsite has the backup with other bytes: each storage encrypts with keys of its own`,
      hint: expect.stringContaining(
        `remove nightly/${id}.json and the folder nightly/${id}/ in storage main; holdfast copy nightly ${id} --from offsite --to main`,
      ),
    })
    expect(copied(data)).toMatchObject([{ backup: id, to: 'main', hollow: true }])
    expect([...main.objects].filter(([key]) => !key.includes('.hold-'))).toEqual([...before])
  })

  test('is copied anew when it was removed as the hint says', async () => {
    for (const key of await keysOf(main, `nightly/${id}`)) main.objects.delete(key)
    const { failure } = await copy(jobOf(), { name: 'nightly', pick: id, from: ['offsite'], to: ['main'] })
    expect(failure).toBeUndefined()
    await isWhole(main, id)
  })

  test('gets the parts that are the same in both', async () => {
    main.objects.delete(`nightly/${id}/shop/items.sql`)
    const { failure } = await copy(jobOf(), { name: 'nightly', pick: id, from: ['offsite'], to: ['main'] })
    expect(failure).toBeUndefined()
    await isWhole(main, id)
  })

  test('is not to be removed where a copy from the other would be refused', async () => {
    main.objects.delete(lost)
    const encryption = { recipients: ['age1'], at: 'storages.main.encryption.identities', identities: () => [] }
    const storages = [{ ...main, encryption }, offsite]
    const { failure } = await copy(fakeJob({ storages, backups: { nightly: {} } }), { name: 'nightly', pick: id })
    expect(failure).toMatchObject({
      kind: 'configuration',
      message: expect.stringContaining('not encrypted for the same'),
    })
  })
})

describe('nobody says that nothing is missing', () => {
  test.each([
    ['all are copied', { name: 'nightly' }],
    ['it is asked for', { name: 'nightly', pick: daily(1) }],
  ])('where the manifest is cut, when %s', async (_, options) => {
    for (const day of [1, 2]) for (const store of [main, offsite]) await putBackup(store, daily(day), parts)
    await putText(offsite, `nightly/${daily(1)}.json`, '{')
    const { data, notes, failure } = await copy(jobOf(), options)
    expect(exitCodeOf(failure)).toBe(24)
    expect(failure).toMatchObject({
      message: expect.stringContaining(`backup ${daily(1)} is not whole on offsite: `),
      hint: expect.stringContaining(`holdfast copy nightly ${daily(1)} --from main --to offsite`),
    })
    expect(copied(data)).toMatchObject([{ backup: daily(1), to: 'offsite', hollow: true }])
    expect(notes).toEqual([])
  })

  test('where a storage does not answer', async () => {
    for (const store of [main, offsite]) await putBackup(store, daily(1), parts)
    const third = memoryStore({ name: 'third' })
    third.before = () => {
      throw new JobError('storage', 'cannot be reached')
    }
    const job = fakeJob({ storages: [main, offsite, third], backups: { nightly: {} } })
    const { notes, failure } = await copy(job, { name: 'nightly' })
    expect(exitCodeOf(failure)).toBe(23)
    expect(notes).toEqual(['nothing is missing in the storages that answered; nobody knows of third'])
  })

  test('but what is from before the plan signed counts where nobody asked for it', async () => {
    for (const store of [main, offsite]) await putBackup(store, daily(1), parts)
    const { publicKey } = generateKeyPairSync('ed25519')
    const trust = [publicKey.export({ type: 'spki', format: 'pem' }).toString()]
    const { notes, failure } = await copy(jobOf({ trust }), { name: 'nightly' })
    expect([notes, failure]).toEqual([['nothing is missing'], undefined])
  })
})

describe('keys that were written for new recipients where the backup is', () => {
  const keys = `nightly/${daily(1)}.keys-1.json`

  test('are brought to where it was copied before, once', async () => {
    await putBackup(main, daily(1), parts)
    await copy(jobOf(), { name: 'nightly' })
    await putText(main, keys, 'for others')
    const dry = await copy(jobOf(), { name: 'nightly', dryRun: true })
    expect(copied(dry.data)).toEqual([{ backup: daily(1), to: 'offsite', parts: 0, bytes: 0, keys: 1 }])
    expect(offsite.objects.has(keys)).toBe(false)
    const { table, failure } = await copy(jobOf(), { name: 'nightly' })
    expect(failure).toBeUndefined()
    expect(table.rows).toEqual([[daily(1), 'offsite', '0', expect.any(String), 'keys copied']])
    expect(await textAt(offsite, keys)).toBe('for others')
    expect(copied((await copy(jobOf(), { name: 'nightly' })).data)).toEqual([])
  })

  test('stay where they are when the other storage encrypted by itself', async () => {
    await putBackup(main, daily(1), parts)
    await putBackup(offsite, daily(1), { ...parts, 'users.sql': 'other bytes' })
    await putText(main, keys, 'for others')
    const { data, failure } = await copy(jobOf(), { name: 'nightly' })
    expect([copied(data), failure]).toEqual([[], undefined])
    expect(offsite.objects.has(keys)).toBe(false)
  })

  test('that cannot be written fail the copy', async () => {
    for (const store of [main, offsite]) await putBackup(store, daily(1), parts)
    await putText(main, keys, 'for others')
    offsite.before = (call) => {
      if (call === `put ${keys}`) throw new JobError('storage', 'is full')
    }
    const { failure } = await copy(jobOf(), { name: 'nightly' })
    expect(exitCodeOf(failure)).toBe(23)
    expect(failure).toMatchObject({ message: expect.stringContaining(`keys of backup ${daily(1)} are not on offsite`) })
  })
})

describe('after the recipients were changed', () => {
  const id = daily(1)
  const keys = `nightly/${id}.keys-1.json`
  const [old, fresh] = ['age1old', 'age1new']
  const sealed = { 'users.sql.age': 'header and bytes', 'shop/items.sql.age': 'other bytes' }
  const encrypting = (store: Store, recipients: string[]): Store => ({
    ...store,
    encryption: { recipients, at: `storages.${store.name}.encryption.identities`, identities: () => [] },
  })
  const rewrapped = (more: object = {}) => {
    const headers = Object.fromEntries(Object.keys(sealed).map((path) => [path, 'header']))
    return JSON.stringify({
      format: 1,
      plan: 'nightly',
      id,
      created: now.toISOString(),
      recipients: [fresh],
      headers,
      ...more,
    })
  }
  const copying = () => {
    const storages = [encrypting(main, [fresh]), encrypting(offsite, [fresh])]
    return copy(fakeJob({ storages, backups: { nightly: {} } }), { name: 'nightly' })
  }

  beforeEach(async () => {
    const manifest = await putBackup(main, id, sealed)
    const encrypted = manifest.parts.map((part) => ({
      ...part,
      age: { header: 'header', recipients: [old] },
      plain: { size: 1, sha256: part.sha256 },
    }))
    await main.put(`nightly/${id}.json`, formatManifest({ ...manifest, format: 2, parts: encrypted }), {})
  })

  test('a backup that rewrap gave to the new ones refills a storage that was lost', async () => {
    await putText(main, keys, rewrapped())
    const { data, failure } = await copying()
    expect([copied(data), failure]).toMatchObject([[{ backup: id, to: 'offsite', parts: 2 }], undefined])
    expect(await textAt(offsite, keys)).toBe(rewrapped())
    await isWhole(offsite, id)
  })

  test.each([
    ['was not rewrapped', undefined],
    ['was rewrapped for others', { recipients: ['age1other'] }],
    ['was rewrapped in part', { headers: { 'users.sql.age': 'header' } }],
  ])('one that %s stays where it is, and the hint names rewrap', async (_, more) => {
    if (more) await putText(main, keys, rewrapped(more))
    const { failure } = await copying()
    expect(failure).toMatchObject({ kind: 'configuration', hint: expect.stringContaining('holdfast rewrap nightly') })
    expect(await committedIn(offsite)).toEqual([])
  })
})

describe('what the rules would remove', () => {
  const retention = { last: 1 }

  test('is not copied, unless it is pinned where it is', async () => {
    for (const day of [1, 2, 3]) await putBackup(main, daily(day), parts)
    await openCatalog({ storage: main, plan: 'nightly' }).guards.pin(daily(3), { pinned: now.toISOString() })
    const pin = `nightly/${daily(3)}.pin.json`
    const options: PutOptions[] = []
    const { put } = offsite
    offsite.put = (key, body, given) => {
      if (key === pin) options.push(given)
      return put(key, body, given)
    }
    const { failure } = await copy(jobOf({ retention }), { name: 'nightly' })
    expect(failure).toBeUndefined()
    expect(await committedIn(offsite)).toEqual([daily(3), daily(1)])
    expect(await textAt(offsite, pin)).toBe(await textAt(main, pin))
    expect(options).toMatchObject([{ unlocked: true }])
  })

  test('is told by the manifest of an adopted backup where it is', async () => {
    await putBackup(main, daily(1), parts)
    const started = new Date(Number(daily(2)) * 1000).toISOString()
    await main.put('nightly/265371530.json', formatManifest(manifestOf('265371530', { started, adopted: true })), {})
    expect((await copy(jobOf({ retention }), { name: 'nightly' })).failure).toBeUndefined()
    expect(await committedIn(offsite)).toEqual([daily(1)])
  })
})
