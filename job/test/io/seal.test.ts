import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { Decrypter, generateHybridIdentity, generateX25519Identity, identityToRecipient } from 'age-encryption'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { fileKeySize, identitiesIn, isKeyOf, recipientOf, unwrapKey, wrapKey } from '../../io/age.ts'
import { blockSize } from '../../io/chunks.ts'
import { lending } from '../../io/lending.ts'
import { seal, unseal } from '../../io/seal.ts'
import { sealAside } from '../../io/seal-aside.ts'
import { piecesOf, seeded, someBytes } from '../fakes/seeded.ts'
import { patiently } from '../patience.ts'

const place = 'nightly/1795218000/shop/or ders.sql.zst.age'
const fileKey = randomBytes(fileKeySize)
let mine: string
let other: string
let header: string

beforeAll(async () => {
  mine = await generateX25519Identity()
  other = await generateX25519Identity()
  header = await wrapKey({ fileKey, recipients: [await identityToRecipient(mine)], place })
})

const chunk = 64 * 1024
const sizes = [0, 1, chunk - 1, chunk, chunk + 1, 7 * chunk, 8 * chunk - 16 * 8, 20 * chunk + 77]

describe('a file of age', () => {
  test.each(sizes)('of %i bytes comes back, and age itself opens it', async (size) => {
    const random = seeded(size)
    const bytes = someBytes(random, size)
    const file = await sealed(bytes, random)
    expect((await buffer(open(file))).equals(bytes)).toBe(true)
    const age = new Decrypter()
    age.addIdentity(mine)
    expect(Buffer.from(await age.decrypt(file)).equals(bytes)).toBe(true)
  })

  test.each([...sizes, blockSize, blockSize + 1, 9 * blockSize, 10 * blockSize + 5])(
    'of %i bytes is made by a thread too, which hashes both sides',
    async (size) => {
      const bytes = someBytes(seeded(size), size)
      const source = Readable.from(piecesOf(seeded(size), bytes), { objectMode: false })
      const { stream, result } = sealAside(source, { fileKey, header })
      const file = await buffer(stream)
      expect((await buffer(open(file))).equals(bytes)).toBe(true)
      expect(result()).toEqual({ plain: contentOf(bytes), stored: contentOf(file) })
    },
  )

  test('is made by a thread for many streams at once, of which some fail and some are let go of', async () => {
    const bytes = someBytes(seeded(4), 5_000_000)
    const source = () => Readable.from(piecesOf(seeded(5), bytes), { objectMode: false })
    const whole = Array.from({ length: 6 }, async () => buffer(open(await buffer(aside(source())))))
    const failing = Promise.allSettled(Array.from({ length: 3 }, () => buffer(aside(failsAfter(2_000_000)))))
    const unwanted = Array.from({ length: 4 }, endless)
    for (const one of unwanted.slice(1)) {
      const stream = aside(one)
      stream.once('data', () => stream.destroy())
    }
    let loans = 0
    for await (const _ of sealAside(unwanted[0] as Readable, { fileKey, header }).stream.loans())
      if (++loans === 5) break
    for (const back of await Promise.all(whole)) expect(back.equals(bytes)).toBe(true)
    for (const one of await failing)
      expect(one).toMatchObject({ status: 'rejected', reason: { message: 'the dump broke off' } })
    await vi.waitFor(() => expect(unwanted.map((one) => one.destroyed)).toEqual([true, true, true, true]), patiently)
  })

  test('is made of loans as of streams', async () => {
    const bytes = randomBytes(3_000_000)
    const lent = Buffer.alloc(100_000)
    const loans = async function* () {
      for (let at = 0; at < bytes.length; at += lent.length) yield lent.subarray(0, bytes.copy(lent, 0, at))
    }
    const stored: Buffer[] = []
    for await (const loan of seal(lending(loans()), { fileKey, header }).loans()) stored.push(Buffer.from(loan))
    expect((await buffer(open(Buffer.concat(stored)))).equals(bytes)).toBe(true)
  })

  test('of the same bytes and key is another file each time', async () => {
    const bytes = randomBytes(500_000)
    const [one, another] = [await sealed(bytes), await sealed(bytes)]
    expect(one.length).toBe(another.length)
    const same = one.subarray(header.length).filter((byte, i) => byte === another[header.length + i])
    // one byte in 256 is by chance
    expect(same.length).toBeLessThan(one.length / 200)
  })

  test.each([
    ['cut in its header', (file: Buffer) => file.subarray(0, 30)],
    ['cut after its nonce', (file: Buffer) => file.subarray(0, header.length + 16)],
    ['cut in a chunk', (file: Buffer) => file.subarray(0, -1)],
    ['cut between chunks', (file: Buffer) => file.subarray(0, header.length + 16 + 2 * (chunk + 16))],
    ['longer', (file: Buffer) => Buffer.concat([file, Buffer.from('x')])],
    ['two of it', (file: Buffer) => Buffer.concat([file, file.subarray(header.length + 16)])],
    ['in another order', (file: Buffer) => swapped(file, header.length + 16, chunk + 16)],
    ['with an empty chunk at its end', (file: Buffer) => Buffer.concat([file, Buffer.alloc(16)])],
  ])('that is %s is refused', async (_, spoil) => {
    const file = await sealed(randomBytes(5 * chunk))
    await expect(buffer(open(spoil(file)))).rejects.toMatchObject({ kind: 'verification' })
  })

  test('is refused with any bit of it changed, before anything of the chunk comes out', async () => {
    const random = seeded(6)
    const bytes = someBytes(random, 3 * chunk + 5)
    const file = await sealed(bytes)
    for (let i = 0; i < 100; i++) {
      const at = header.length + random(file.length - header.length)
      const damaged = Buffer.from(file)
      damaged[at] = (damaged[at] as number) ^ (1 << random(8))
      const out: Buffer[] = []
      const reading = (async () => {
        for await (const data of open(damaged)) out.push(data as Buffer)
      })()
      await expect(reading, `bit of byte ${at}`).rejects.toMatchObject({ kind: 'verification' })
      const got = Buffer.concat(out)
      expect(got.equals(bytes.subarray(0, got.length))).toBe(true)
    }
  })

  test('is not opened by another key', async () => {
    const file = await sealed(randomBytes(10))
    const opened = unseal(Readable.from([file]), { fileKey: randomBytes(16), headerSize: header.length, where: 'a' })
    await expect(buffer(opened)).rejects.toMatchObject({ kind: 'verification' })
  })

  test('whose producer fails, fails; nobody who lets go of it leaves the producer at work', async () => {
    const failing = Readable.from(
      (async function* () {
        yield Buffer.alloc(200_000)
        throw new Error('the dump broke off')
      })(),
    )
    await expect(buffer(seal(failing, { fileKey, header }))).rejects.toThrow('broke off')
    const [unread, stored] = [endless(), endless()]
    seal(unread, { fileKey, header }).destroy()
    unseal(stored, { fileKey, headerSize: 100, where: 'a' }).destroy()
    await vi.waitFor(() => expect([unread.destroyed, stored.destroyed]).toEqual([true, true]), patiently)
  })
})

describe('a header', () => {
  test('is opened by the identity of each recipient, and of nobody else', async () => {
    const hybrid = await generateHybridIdentity()
    const recipients = await Promise.all([mine, hybrid].map(identityToRecipient))
    const wrapped = await wrapKey({ fileKey, recipients, place })
    expect(wrapped).toMatch(/^[\x20-\x7e\n]+\n$/)
    for (const identities of [[mine], [hybrid], [other, mine]])
      expect(await unwrapKey(wrapped, { identities, place })).toEqual(fileKey)
    expect(await unwrapKey(wrapped, { identities: [other], place })).toBeUndefined()
    expect(isKeyOf(fileKey, wrapped)).toBe(true)
    expect(isKeyOf(randomBytes(16), wrapped)).toBe(false)
  })

  test.each([
    ['another object', (text: string) => text, 'nightly/1795218000/shop/customers.sql.zst.age'],
    [
      'the place written over',
      (text: string) => text.replace('1795218000', '1795218001'),
      'nightly/1795218001/shop/or ders.sql.zst.age',
    ],
    ['another authentication', (text: string) => text.replace(/--- .{4}/, '--- AAAA'), place],
  ])('with %s is refused', async (_, change, at) => {
    const opening = unwrapKey(change(header), { identities: [mine], place: at })
    await expect(opening).rejects.toMatchObject({ kind: 'verification' })
  })

  test.each(['age1', 'age1qqqq', 'ssh-ed25519 AAAA', ''])('is not made for %j', (text) => {
    expect(() => recipientOf(text)).toThrow(expect.objectContaining({ kind: 'configuration' }))
  })
})

describe('a file of identities', () => {
  test('is read as age-keygen writes it', () => {
    expect(identitiesIn(`# created: now\n# public key: age1\n${mine}\r\n\n${other}\n`, 'here')).toEqual([mine, other])
  })

  test.each(['', '# nothing', 'age1recipient', 'AGE-SECRET-KEY-1WRONG', 'AGE-PLUGIN-YUBIKEY-1'])(
    'is refused as %j, and not said',
    (text) => {
      const reading = () => identitiesIn(text, 'storages.main.encryption.identities')
      expect(reading).toThrow(expect.objectContaining({ kind: 'configuration' }))
      expect(reading).not.toThrow(/WRONG|YUBIKEY/)
    },
  )
})

async function sealed(bytes: Buffer, random = seeded(1)): Promise<Buffer> {
  return buffer(seal(Readable.from(piecesOf(random, bytes), { objectMode: false }), { fileKey, header }))
}

function aside(source: Readable): Readable {
  return sealAside(source, { fileKey, header }).stream
}

function contentOf(bytes: Buffer) {
  return { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
}

function failsAfter(bytes: number): Readable {
  return Readable.from(
    (async function* () {
      yield Buffer.alloc(bytes)
      throw new Error('the dump broke off')
    })(),
    { objectMode: false },
  )
}

function open(file: Buffer): Readable {
  const source = Readable.from(piecesOf(seeded(2), file), { objectMode: false })
  return unseal(source, { fileKey, headerSize: header.length, where: 'orders' })
}

function swapped(file: Buffer, start: number, size: number): Buffer {
  const [one, two] = [file.subarray(start, start + size), file.subarray(start + size, start + 2 * size)]
  return Buffer.concat([file.subarray(0, start), two, one, file.subarray(start + 2 * size)])
}

function endless(): Readable {
  return new Readable({
    read() {
      this.push(Buffer.alloc(1000))
    },
  })
}
