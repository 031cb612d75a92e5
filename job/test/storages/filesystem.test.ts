import { link, mkdir, mkdtemp, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isMissing, readAll, type Storage } from '../../storage.ts'
import { filesystem, filesystemStorage } from '../../storages/filesystem.ts'
import { listed, storageContract } from '../contracts/storage.ts'

async function makeFolder() {
  const root = await mkdtemp(join(tmpdir(), 'holdfast-files-'))
  return { root, dispose: () => rm(root, { recursive: true, force: true }) }
}

const temps = (root: string) => readdir(join(root, '.tmp')).catch(() => [])

async function noLinks(): Promise<never> {
  throw Object.assign(new Error('EPERM: operation not permitted, link'), { code: 'EPERM', syscall: 'link' })
}

storageContract('filesystem', async () => {
  const { root, dispose } = await makeFolder()
  return { storage: filesystemStorage({ name: 'local', root }), dispose, leftovers: () => temps(root) }
})

describe('filesystem', () => {
  let root: string
  let dispose: () => Promise<void>
  let storage: Storage
  beforeEach(async () => {
    ;({ root, dispose } = await makeFolder())
    storage = filesystemStorage({ name: 'local', root })
  })
  afterEach(() => dispose())

  test.each(['../outside', 'a/../../outside', '/absolute', 'a//b', 'a/./b', '', 'a/', '.tmp/x', 'nul\0'])(
    'refuses the key %j',
    async (key) => {
      const what = /cannot be the path of a file/
      await expect(storage.put(key, Buffer.from('x'), {})).rejects.toThrow(what)
      await expect(storage.get(key)).rejects.toThrow(what)
      await expect(storage.head(key)).rejects.toThrow(what)
      await expect(storage.delete([key])).rejects.toThrow(what)
    },
  )

  test('does not list out of its root', async () => {
    await expect(listed(storage, '../')).rejects.toThrow(/cannot be the path/)
    await expect(listed(storage, 'a/../../')).rejects.toThrow(/cannot be the path/)
  })

  describe('says without writing whether it could be written', () => {
    const room = { blocks: 100, bavail: 1, files: 100, ffree: 1 }
    const failing = (code: string) => Object.assign(new Error(`${code}: access`), { code, syscall: 'access' })
    const looking = (allowed: (path: string) => boolean, free: Partial<typeof room> = {}, code = 'EROFS') =>
      filesystemStorage({
        name: 'local',
        root: join(root, 'backups'),
        look: {
          access: async (path) => {
            if (!allowed(path)) throw failing(code)
          },
          statfs: async () => ({ ...room, ...free }),
        },
      })

    test('yes, where the folder is still to be made as well', async () => {
      await storage.writable?.('nightly/')
      await looking(() => true).writable?.('nightly/')
      await looking(() => true, { blocks: 0, bavail: 0, files: 0, ffree: 0 }).writable?.('nightly/')
      expect(await readdir(root)).toEqual([])
    })

    test.each<[string, () => Storage, string, string]>([
      [
        'in a read-only folder',
        () => looking(() => false),
        'the file system is read-only',
        'mount the volume writable',
      ],
      [
        'in a folder of the plan that is not ours',
        () => looking((path) => !path.endsWith('nightly'), {}, 'EACCES'),
        'backups/nightly: permission denied',
        'own the folder',
      ],
      ['in a full folder', () => looking(() => true, { bavail: 0 }), 'no space left', 'make the volume larger'],
      ['without room for a file', () => looking(() => true, { ffree: 0 }), 'no space left', 'make the volume larger'],
    ])('no, %s', async (_, made, message, hint) => {
      await mkdir(join(root, 'backups/nightly'), { recursive: true })
      await expect(made().writable?.('nightly/')).rejects.toMatchObject({
        kind: 'storage',
        message: expect.stringContaining(message),
        hint: expect.stringContaining(hint),
      })
    })
  })

  test('neither lists nor opens symbolic links', async () => {
    await writeFile(join(root, 'real'), 'x')
    await symlink('/etc/hostname', join(root, 'linked'))
    expect(await listed(storage, '')).toEqual(['real'])
    expect(await storage.head('linked')).toBeUndefined()
    await expect(storage.get('linked')).rejects.toThrow(/symbolic link/)
  })

  test('refuses a key where there is a folder, or a file above it', async () => {
    await storage.put('a/b', Buffer.from('x'), {})
    for (const ifAbsent of [true, false]) {
      await expect(storage.put('a', Buffer.from('x'), { ifAbsent })).rejects.toThrow(
        /local: a: is a folder|a is a folder/,
      )
      await expect(storage.put('a/b/c', Buffer.from('x'), { ifAbsent })).rejects.toMatchObject({ kind: 'storage' })
    }
    expect(isMissing(await storage.get('a').catch((error) => error))).toBe(true)
    await storage.delete(['a'])
    expect((await readAll(storage, 'a/b')).toString()).toBe('x')
    expect(await temps(root)).toEqual([])
  })

  test('one of eight writers wins where there are no hard links', async () => {
    const linkless = filesystemStorage({ name: 'local', root, linkFile: noLinks })
    const puts = Array.from({ length: 8 }, (_, writer) =>
      linkless.put('race', Buffer.from(`${writer}`), { ifAbsent: true }),
    )
    const results = await Promise.allSettled(puts)
    const winners = results.flatMap((result, writer) => (result.status === 'fulfilled' ? [`${writer}`] : []))
    expect(winners).toEqual([(await readAll(linkless, 'race')).toString()])
    expect(await temps(root)).toEqual([])
  })

  test('takes a link whose answer was lost for made', async () => {
    const losing: typeof link = async (from, to) => {
      await link(from, to)
      throw Object.assign(new Error('EEXIST'), { code: 'EEXIST', syscall: 'link' })
    }
    const nfs = filesystemStorage({ name: 'local', root, linkFile: losing })
    await nfs.put('once', Buffer.from('x'), { ifAbsent: true })
    expect((await readAll(nfs, 'once')).toString()).toBe('x')
  })

  test('puts into folders that deletes at the same time remove', async () => {
    const rounds = Array.from({ length: 60 }, (_, round) => `deep/er/${round % 3}/${round}`)
    await Promise.all(
      rounds.map(async (key) => {
        await storage.put(key, Buffer.from('x'), {})
        await storage.delete([key])
      }),
    )
    expect(await listed(storage, '')).toEqual([])
    expect(await readdir(root)).toEqual(['.tmp'])
  })

  test('removes the temporary files of a day ago, not those of now', async () => {
    await mkdir(join(root, '.tmp'))
    for (const name of ['old', 'new']) await writeFile(join(root, '.tmp', name), 'x')
    const old = new Date(Date.now() - 25 * 3600 * 1000)
    await utimes(join(root, '.tmp', 'old'), old, old)
    await storage.put('a', Buffer.from('x'), {})
    expect(await temps(root)).toEqual(['new'])
  })

  test('a file that shrinks while it is read is an error', async () => {
    await storage.put('shrinking', Buffer.alloc(4_000_000, 1), {})
    const stream = await storage.get('shrinking')
    await writeFile(join(root, 'shrinking'), 'short')
    await expect(readAll({ get: async () => stream }, 'shrinking')).rejects.toThrow(/ended after .* of 4000000 bytes/)
  })

  test('a failed put of a function leaves no folder that a list would show', async () => {
    const failing = () =>
      Readable.from(
        (function* () {
          yield Buffer.from('x')
          throw new Error('producer')
        })(),
      )
    await expect(storage.put('never/there', failing, {})).rejects.toThrow('producer')
    expect(await Array.fromAsync(storage.list('', { delimiter: '/' }))).toEqual([])
  })

  test.each([
    ['ENOSPC', /no space left/, false],
    ['EROFS', /read-only/, false],
    ['EACCES', /permission denied/, false],
    ['ESTALE', /link failed/, true],
    ['EIO', /link failed/, true],
  ])('says what %s means', async (code, message, retryable) => {
    const failing = async () => {
      throw Object.assign(new Error(code), { code, syscall: 'link' })
    }
    const broken = filesystemStorage({ name: 'local', root, linkFile: failing })
    const put = broken.put('a/b', Buffer.from('x'), { ifAbsent: true })
    await expect(put).rejects.toMatchObject({ kind: 'storage', retryable, message: expect.stringMatching(message) })
    expect(await temps(root)).toEqual([])
  })

  test('lists only by slashes', async () => {
    await expect(Array.fromAsync(storage.list('', { delimiter: '-' }))).rejects.toThrow(/only by \//)
  })
})

describe('filesystem, opened', () => {
  let root: string
  let dispose: () => Promise<void>
  beforeEach(async () => {
    ;({ root, dispose } = await makeFolder())
  })
  afterEach(() => dispose())
  const open = async (options: object) =>
    filesystem.open(filesystem.schema.parse(options), {
      name: 'local',
      at: 'storages.local',
      secret: () => '',
      secretPath: () => '',
      volumesDir: root,
    })

  test.each(['/', '.', 'sub/folder', '/sub/folder/'])('the path %s lies in the claim', async (path) => {
    await mkdir(join(root, 'backups'))
    const storage = await open({ claim: 'backups', path })
    expect(await listed(storage, '')).toEqual([])
    await storage.put('a/b', Buffer.from('x'), {})
    expect(await listed(storage, '')).toEqual(['a/b'])
    expect(await readdir(join(root, 'backups', path, 'a'))).toEqual(['b'])
  })

  test('without a claim the path is as it is', async () => {
    await (await open({ path: root })).put('a', Buffer.from('x'), {})
    expect((await readdir(root)).sort()).toEqual(['.tmp', 'a'])
  })

  test.each([
    [{ path: 'relative' }, 'configuration', /storages\.local\.filesystem\.path: relative is not absolute/],
    [{ path: '../up', claim: 'backups' }, 'configuration', /leads out/],
    [{ path: '/', claim: 'a/b' }, 'configuration', /not the name of a claim/],
    [{ path: '/', claim: 'unmounted' }, 'storage', /unmounted: does not exist/],
    [{ path: '/nowhere/at/all' }, 'storage', /\/nowhere\/at\/all: does not exist/],
    [{ path: '/etc/hostname' }, 'storage', /hostname is not a folder/],
  ])('refuses %o', async (options, kind, message) => {
    await expect(open(options)).rejects.toMatchObject({ kind, message: expect.stringMatching(message) })
  })
})
