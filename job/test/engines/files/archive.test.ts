import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Member, throughArchive } from '../../../engines/files/archive.ts'
import { guarded } from '../../../engines/files/guard.ts'
import { formatLine, readList } from '../../../engines/files/list.ts'
import { hashing } from '../../../engines/files/pack.ts'
import { selected } from '../../../engines/files/selection.ts'

let dir: string
let archive: Buffer

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'hf-tar-'))
  mkdirSync(join(dir, 'tree/folder'), { recursive: true })
  writeFileSync(join(dir, 'tree/folder/file'), 'content')
  writeFileSync(join(dir, 'tree/large'), Buffer.alloc(100_000, 7))
  const sparse = `dd if=/dev/zero of=tree/sparse bs=1 count=3 seek=3000000 status=none; truncate -s 4000000 tree/sparse`
  execFileSync('sh', ['-c', `${sparse}; ln tree/large tree/twin; ln -s folder tree/link`], { cwd: dir })
  archive = execFileSync('tar', ['-C', join(dir, 'tree'), '-c', '--format=posix', '--sparse', '--sort=name', '.'])
})

afterAll(() => rmSync(dir, { recursive: true }))

async function through(bytes: Buffer, keep: (member: Member) => boolean = () => true, chunk = 65_536) {
  const chunks = Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, i) =>
    bytes.subarray(i * chunk, (i + 1) * chunk),
  )
  const listed: { path: string; size: number; sha256?: string }[] = []
  const visitor = hashing((one) => void listed.push(one), keep)
  const out: Buffer[] = []
  for await (const piece of throughArchive(Readable.from(chunks), visitor)) out.push(piece)
  return { listed, out: Buffer.concat(out) }
}

/** Made by Python: what GNU tar would not write. */
function forged(body: string): Buffer {
  const code = `
import io, sys, tarfile
out = io.BytesIO()
def member(name, kind=tarfile.REGTYPE, to='', size=0):
    m = tarfile.TarInfo(name); m.type = kind; m.linkname = to; m.size = size; t.addfile(m, io.BytesIO(b'x' * size))
with tarfile.open(fileobj=out, mode='w', format=tarfile.PAX_FORMAT) as t:
    member('./', tarfile.DIRTYPE)
    ${body}
sys.stdout.buffer.write(out.getvalue())`
  return execFileSync('python3', ['-c', code])
}

const root = { uid: 0, owner: 0 }
const all = { exclude: [] }

describe('an archive', () => {
  test.each([512, 700, 65_536, 10_000_000])(
    'is the same behind it, and known, in chunks of %d bytes',
    async (chunk) => {
      const { listed, out } = await through(archive, undefined, chunk)
      expect(listed.map(({ path, size }) => [path, size])).toEqual([
        ['.', 0],
        ['folder', 0],
        ['folder/file', 7],
        ['large', 100_000],
        ['link', 0],
        ['sparse', 4_000_000],
        ['twin', 0],
      ])
      for (const name of ['folder/file', 'large', 'sparse']) {
        const sum = execFileSync('sha256sum', [join(dir, 'tree', name)], { encoding: 'utf8' }).split(' ')[0]
        expect(listed.find(({ path }) => path === name)?.sha256).toBe(sum)
      }
      expect(out.equals(archive.subarray(0, out.length))).toBe(true)
      expect(archive.subarray(out.length).every((byte) => byte === 0)).toBe(true)
    },
  )

  test('without some members is one that tar can read', async () => {
    const { out } = await through(archive, ({ path }) => path === '.' || path.startsWith('folder'))
    const names = execFileSync('tar', ['-t'], { input: out, encoding: 'utf8' })
    expect(names.trim().split('\n')).toEqual(['./', './folder/', './folder/file'])
  })

  test.each([
    ['in a header', 600],
    ['in a file', 30_000],
    ['before its end', endOfMembers],
  ])('that is cut off %s is not complete', async (_, at) => {
    const length = typeof at === 'number' ? at : at()
    await expect(through(archive.subarray(0, length))).rejects.toMatchObject({ kind: 'verification' })
  })

  test('with a flipped bit in a header is damaged', async () => {
    const damaged = Buffer.from(archive)
    damaged.writeUInt8(damaged.readUInt8(520) ^ 1, 520)
    await expect(through(damaged)).rejects.toMatchObject({ kind: 'verification' })
  })

  test.each([
    ['with .. in a path', "member('./../out')"],
    ['with an absolute path', "member('/out')"],
    ['with a path through a link', "member('./l', tarfile.SYMTYPE, '..'); member('./l/out')"],
    ['with a path through what is not there', "member('./nowhere/out')"],
    ['with a file in a file', "member('./f'); member('./f/out')"],
    ['with a member twice', "member('./f'); member('./f')"],
    ['with members out of order', "member('./g'); member('./f')"],
    ['with a hard link to outside', "member('./f', tarfile.LNKTYPE, '../out')"],
    ['with an absolute hard link', "member('./f', tarfile.LNKTYPE, '/etc/passwd')"],
    [
      'with a hard link through a link',
      "member('./a', tarfile.SYMTYPE, '/etc'); member('./b', tarfile.LNKTYPE, 'a/passwd')",
    ],
    ['with a hard link to what comes later', "member('./a', tarfile.LNKTYPE, 'b')"],
    ['with our marker', "member('./.holdfast-restore')"],
    ['with a member of another kind', "member('./f', b'M')"],
    [
      'with a link that has content',
      "m = tarfile.TarInfo('./f'); m.type = b'2'; m.size = 512; t.addfile(m); t.fileobj.write(b'x' * 512)",
    ],
    ['with a file named like a folder', "m = tarfile.TarInfo('./f'); m.pax_headers = {'path': './f/'}; t.addfile(m)"],
    [
      'with headers that we do not know',
      "m = tarfile.TarInfo('./f'); m.pax_headers = {'GNU.sparse.map': '0,1'}; t.addfile(m)",
    ],
    ['with a zero byte in a name', "m = tarfile.TarInfo('./f'); m.pax_headers = {'path': './f\\0x'}; t.addfile(m)"],
  ])('%s does not get to tar', async (_, body) => {
    const keep = guarded(selected(all, root))
    await expect(through(forged(body), keep)).rejects.toMatchObject({ kind: 'verification' })
  })

  test('of ours gets to tar as it is', async () => {
    const { listed } = await through(archive, guarded(selected(all, root)))
    expect(listed).toHaveLength(7)
  })

  test('is unpacked without its folder and without devices by whoever is not root', () => {
    const keep = selected(all, { uid: 1000, owner: 0 })
    const member = { mode: 0o755, uid: 0, gid: 0, size: 0, mtime: '0' }
    expect(keep({ ...member, path: '.', type: 'folder' })).toBe(false)
    expect(keep({ ...member, path: 'null', type: 'device' })).toBe(false)
    expect(keep({ ...member, path: 'file', type: 'file' })).toBe(true)
    expect(selected(all, { uid: 1000, owner: 1000 })({ ...member, path: '.', type: 'folder' })).toBe(true)
  })
})

function endOfMembers(): number {
  let end = archive.length
  while (archive[end - 1] === 0) end--
  return Math.ceil(end / 512) * 512
}

describe('a list', () => {
  test('keeps names of any bytes', async () => {
    const member = { type: 'symlink' as const, mode: 0o777, uid: 1, gid: 2, size: 0, mtime: '1.000000001' }
    const listed = [
      { ...member, path: 'plain', link: 'there' },
      { ...member, path: Buffer.from('ü日\n').toString('latin1'), link: '\xff\xfe' },
      { ...member, path: 'not\xffutf8', link: '' },
    ]
    const found = []
    for await (const one of readList(Readable.from([Buffer.from(listed.map(formatLine).join(''))]))) found.push(one)
    expect(found).toEqual(listed)
  })

  test.each(['{"path":"a"}', 'no json', '{"path":"a","type":"door","mode":"0644"}'])('has no line %s', async (line) => {
    const reading = async () => {
      for await (const _ of readList(Readable.from([Buffer.from(`${line}\n`)])));
    }
    await expect(reading()).rejects.toMatchObject({ kind: 'verification' })
  })
})
