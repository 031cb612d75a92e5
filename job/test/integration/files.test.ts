import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFile, chmod, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { patiently } from '../patience.ts'
import { bytesIn, openWorkspace, succeeds, type Workspace } from './harness.ts'
import { remembersRequests } from './memory.ts'

const run = promisify(execFile)

let space: Workspace
let source: string
let target: string

/** Every kind of thing that a folder has; python because Node knows neither fifos, nor extended attributes, nor names of bytes. */
const seed = `
import os, sys
os.chdir(sys.argv[1])
def write(name, data=b'x'):
    with open(name, 'wb') as file: file.write(data)
write('a.txt', b'hello\\n'); os.chmod('a.txt', 0o640); os.utime('a.txt', ns=(1, 1700000000123456789))
os.makedirs('empty/inside'); os.chmod('empty', 0o1777)
os.link('a.txt', 'hard.txt'); os.symlink('a.txt', 'near'); os.symlink('/etc/passwd', 'far'); os.symlink('../../gone', 'dangling')
os.mkfifo('pipe', 0o600)
with open('sparse', 'wb') as file: file.seek(8 << 20); file.write(b'end'); file.truncate(12 << 20)
os.truncate(os.open('all-hole', os.O_CREAT | os.O_WRONLY), 5 << 20)
write(b'not-utf8-\\xff\\xfe'); write('line\\nend'); write('\\u00fc\\u00e4 \\u65e5\\u672c'); write('-dash'); write('back\\\\slash')
deep = '/'.join(['deep' * 20] * 6); os.makedirs(deep); write(deep + '/' + 'n' * 200)
write('large', os.urandom(5 << 20)); write('zero', b'')
os.makedirs('themes/one'); os.makedirs('themes/two'); os.makedirs('cache')
write('themes/one/logo.png', b'1'); write('themes/two/logo.png', b'2'); write('themes/two/other', b'3')
write('cache/x.tmp'); write('themes/y.tmp'); write('.hidden')
os.chmod('large', 0o4755)
if os.getuid() == 0: os.chown('zero', 12345, 2300000); os.chown('near', 7, 7, follow_symlinks=False)
os.setxattr('a.txt', 'user.note', b'\\x00\\xffbytes')
os.utime('themes', ns=(1, 1600000000000000000))
`

/** All that lstat and listxattr know of a tree, and the content: a digest by path. */
const describeTree = `
import hashlib, json, os, stat, sys
top = sys.argv[1].encode(); tree = {}
def look(path):
    s = os.lstat(path); name = os.path.relpath(path, top).decode('latin1')
    if name in ('.holdfast-restore', 'lost+found'): return
    said = [stat.filemode(s.st_mode), s.st_uid, s.st_gid, s.st_nlink if stat.S_ISREG(s.st_mode) else 0]
    if name != '.': said.append(s.st_mtime_ns)
    if stat.S_ISREG(s.st_mode): said += [s.st_size, hashlib.sha256(open(path, 'rb').read()).hexdigest()]
    if stat.S_ISLNK(s.st_mode): said.append(os.readlink(path).decode('latin1'))
    else: said.append([[key, os.getxattr(path, key).hex()] for key in sorted(os.listxattr(path))])
    tree[name] = said
    if stat.S_ISDIR(s.st_mode):
        for one in os.listdir(path): look(os.path.join(path, one))
look(top); print(json.dumps(tree))
`

beforeEach(async () => {
  space = await openWorkspace()
  source = join(space.dir, 'source')
  target = join(space.dir, 'target')
  await mkdir(source)
  await mkdir(target)
  plan({})
})

afterEach(() => space.remove())

describe('files', () => {
  test('come back as they were: every kind, owner, mode, time, name, hole, link and attribute', async () => {
    await seeded()
    const backup = await backedUp()
    restoring({})
    const ran = await succeeds(space.holdfast('restore', 'back'))
    const bytes = await bytesIn(space, { plan: 'nightly', id: backup, path: /tree/ })
    expect(ran.summary.steps).toMatchObject({ data: { unpack: { bytes }, prove: { files: 17 } } })
    expect(await treeOf(target)).toEqual(await treeOf(source))
    const { stdout } = await run('du', ['-k', join(target, 'sparse'), join(target, 'all-hole')])
    for (const line of stdout.trim().split('\n')) expect(Number(line.split('\t')[0])).toBeLessThan(1024)
    const { parts, sources } = await space.manifest('nightly', backup)
    expect(parts.map(({ path }) => path)).toEqual(['data/files/list.jsonl.zst', 'data/files/tree.tar.zst'])
    expect(sources[0]?.facts).toMatchObject({ consistency: 'per-file', links: 4, others: 1 })
    await succeeds(space.holdfast('verify', 'nightly', '--level', 'readable'))
  })

  test('have a list with the hash of every file, as sha256sum has it', async () => {
    await seeded()
    const backup = await backedUp()
    const list = await run('zstd', ['-dc', join(space.store, 'nightly', backup, 'data/files/list.jsonl.zst')])
    const lines = list.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const sparse = lines.find((line) => line.path === 'sparse')
    const sha256 = createHash('sha256')
      .update(await readFile(join(source, 'sparse')))
      .digest('hex')
    expect(sparse).toMatchObject({ type: 'file', mode: '0644', size: 12 * 2 ** 20, sha256 })
    expect(lines.find((line) => line.pathBase64)).toMatchObject({ type: 'file', size: 1 })
  })

  test('of a backup can be had by tar and zstd alone', async () => {
    await seeded()
    const backup = await backedUp()
    const archive = join(space.store, 'nightly', backup, 'data/files/tree.tar.zst')
    await run('sh', [
      '-c',
      `zstd -dc "$1" | tar -x -C "$2" -p --numeric-owner --xattrs --xattrs-include='*'`,
      'sh',
      archive,
      target,
    ])
    expect(await treeOf(target)).toEqual(await treeOf(source))
  })

  test('are not written over others: the target stays as it is', async () => {
    await seeded()
    await backedUp()
    await writeFile(join(target, 'theirs'), 'keep')
    const before = await treeOf(target)
    const ran = await space.holdfast('restore', 'back')
    expect(ran.code).toBe(21)
    expect(ran.summary.error).toContain('theirs')
    expect(await treeOf(target)).toEqual(before)
  })

  test('count as none when they are lost+found or our marker', async () => {
    await seeded()
    await backedUp()
    await mkdir(join(target, 'lost+found'))
    await restored({})
    const again = await succeeds(space.holdfast('restore', 'back'))
    expect(again.stdout).toContain('already restored')
  })

  test('replace what is there with overwrite, whatever its kind, and leave the rest', async () => {
    await seeded()
    await backedUp()
    const outside = join(space.dir, 'outside')
    await mkdir(outside)
    await mkdir(join(target, 'a.txt/full/of'), { recursive: true })
    await symlink(outside, join(target, 'themes'))
    await symlink(join(outside, 'passwd'), join(target, 'large'))
    await writeFile(join(target, 'empty'), 'a file where a folder was')
    await writeFile(join(target, 'theirs'), 'keep')
    await restored({ overwrite: true })
    expect(await readdir(outside)).toEqual([])
    const tree = await treeOf(target)
    expect(tree.theirs).toBeDefined()
    delete tree.theirs
    expect(tree).toEqual(await treeOf(source))
  })

  test('that the backup does not have go with delete, but for what it left out', async () => {
    await seeded()
    plan({ exclude: ['cache', '**/*.tmp'] })
    await backedUp()
    await mkdir(join(target, 'cache/deep'), { recursive: true })
    await mkdir(join(target, 'gone/\n deep'), { recursive: true })
    await writeFile(join(target, 'themes.tmp'), 'left out')
    await writeFile(join(target, '-rf'), 'odd')
    await writeFile(join(target, 'not é\\n'), 'odd')
    await restored({ overwrite: true, values: { delete: true } })
    expect((await readdir(target)).sort()).toEqual(
      [...(await readdir(source)), 'themes.tmp', '.holdfast-restore'].sort(),
    )
    expect(await readdir(join(target, 'cache'))).toEqual(['deep'])
    expect(await readdir(join(target, 'themes'))).toEqual(['one', 'two'])
  })

  test.each([
    [
      { include: ['themes/*/logo.png', 'a.txt'] },
      ['a.txt', 'themes', 'themes/one', 'themes/one/logo.png', 'themes/two', 'themes/two/logo.png'],
    ],
    [{ include: ['themes'], exclude: ['themes/two', '**/*.tmp'] }, ['themes', 'themes/one', 'themes/one/logo.png']],
  ])('are chosen by %j, in a backup and in a restore alike', async (choice, paths) => {
    await seeded()
    plan(choice)
    await backedUp()
    await restored({})
    expect(Object.keys(await treeOf(target)).sort()).toEqual(['.', ...paths])
    await rm(target, { recursive: true })
    plan({})
    await backedUp()
    await restored({ values: choice })
    expect(Object.keys(await treeOf(target)).sort()).toEqual(['.', ...paths])
  })

  test.each([
    ['nothing that is there', { include: ['nowhere'] }, 20, /matches include/],
    ['one name of a file with two', { include: ['hard.txt'] }, 20, /are one file/],
    ['delete without overwrite', { delete: true }, 2, /needs overwrite/],
  ])('are not restored when the values choose %s: nothing is changed', async (_, values, code, error) => {
    await seeded()
    await backedUp()
    restoring({ values })
    const ran = await space.holdfast('restore', 'back')
    expect(ran.code).toBe(code)
    expect(ran.summary.error).toMatch(error)
    expect(await readdir(target)).toEqual([])
  })

  test('that change while they are read are named in a warning', async () => {
    await seeded()
    const growing = join(source, 'large')
    const tar = await fakeTar(`tar=$(command -v tar); "$tar" "$@"; code=$?; case "$*" in *--create*)
      echo "tar: ./large: file changed as we read it" >&2; [ $code = 0 ] && exit 1;; esac; exit $code`)
    plan({ clients: tar })
    await appendFile(growing, 'more')
    const ran = await succeeds(space.holdfast('backup', 'nightly'))
    expect(ran.summary.warnings).toEqual([expect.stringContaining('./large: file changed as we read it')])
  })

  test.each([
    ['fails at once', 'exit 2', 22],
    ['fails halfway', '"$real" "$@" | head -c 3000000; exit 2', 22],
    ['fails at its end', '"$real" "$@"; echo "tar: ./a: Cannot open: Permission denied" >&2; exit 2', 22],
    ['is silently short', '"$real" "$@" | head -c 3000000; exit 0', 24],
    ['says nothing', 'exit 0', 24],
    ['forgets the files', '"$real" --create --file=- --files-from=/dev/null', 22],
  ])('make no backup when tar %s', async (_, body, code) => {
    await seeded()
    const tar = await fakeTar(`real=$(command -v tar); case "$*" in *--create*) ${body};; *) exec "$real" "$@";; esac`)
    plan({ clients: tar })
    const ran = await space.holdfast('backup', 'nightly')
    expect(ran.code, ran.stderr).toBe(code)
    expect((await readdir(join(space.store, 'nightly'))).filter((name) => name.endsWith('.json'))).toEqual([])
  })

  test('are restored once by a request, and once for each backup by one with a schedule', async () => {
    await seeded()
    restoring({})
    space.values.restores.once = space.values.restores.back as Record<string, unknown>
    const change = (round: number) => writeFile(join(source, 'round'), `${round}`)
    await remembersRequests(space, { change, reach: () => treeOf(target) })
  })

  test('are written again from the start when a restore was killed in the middle', async () => {
    await seeded()
    await backedUp()
    const held = join(space.dir, 'held')
    const tar = await fakeTar(`real=$(command -v tar); case "$*" in *--extract*)
      head -c 2000000 | "$real" "$@"; touch ${held}; sleep 60;; *) exec "$real" "$@";; esac`)
    restoring({ values: { clients: tar } })
    const started = space.start('restore', 'back')
    await until(held)
    started.kill('SIGKILL')
    await started.done
    space.values.backups.halfway = {
      storages: ['local'],
      sources: [{ name: 'data', files: { access: 'local', path: target } }],
    }
    const half = await space.holdfast('backup', 'halfway')
    expect([half.code, half.summary.error]).toEqual([25, expect.stringContaining('at work or did not end')])
    restoring({})
    const ran = await succeeds(space.holdfast('restore', 'back'))
    expect(ran.stdout).toContain('restored')
    expect(await treeOf(target)).toEqual(await treeOf(source))
  })

  test('that were damaged after they were written fail the proof', async () => {
    await seeded()
    await backedUp()
    const tar = await fakeTar(`real=$(command -v tar); "$real" "$@"; code=$?; case "$*" in *--extract*)
      printf y > ${target}/themes/one/logo.png;; esac; exit $code`)
    restoring({ values: { clients: tar } })
    const ran = await space.holdfast('restore', 'back')
    expect(ran.code).toBe(24)
    expect(ran.summary.error).toContain('themes/one/logo.png has other content')
  })

  test.each([
    ['leads up', "t.addfile(member('./../escaped'))"],
    ['goes through a link of the target', "t.addfile(member('./there/escaped'))"],
  ])('are not written when a member of the archive %s', async (_, body) => {
    await seeded()
    const backup = await backedUp()
    await symlink('..', join(target, 'there'))
    await forged(backup, body)
    restoring({ overwrite: true })
    const ran = await space.holdfast('restore', 'back')
    expect(ran.code, ran.stderr).toBe(24)
    expect(await readdir(space.dir)).not.toContain('escaped')
    expect(ran.summary.error).toMatch(/not made by holdfast|not what GNU tar writes/)
  })

  test.each([
    ['a folder that is not there', { path: '/nowhere/at/all' }, 22, /no folder/],
    ['a tar that is none of GNU', { clients: 'fake' }, 2, /not GNU tar/],
    ['an include that matches nothing', { include: ['nowhere*'] }, 20, /matches include/],
  ])('are not backed up with %s', async (_, values, code, error) => {
    await seeded()
    const tar = await fakeTar('echo "bsdtar 3.6.2"')
    plan({ ...values, ...('clients' in values ? { clients: tar } : {}) })
    const ran = await space.holdfast('backup', 'nightly')
    expect(ran.code).toBe(code)
    expect(ran.summary.error).toMatch(error)
  })
})

function plan(values: Record<string, unknown>): void {
  space.values.backups.nightly = {
    storages: ['local'],
    sources: [{ name: 'data', files: { access: 'local', path: source, ...values } }],
  }
  restoring({})
}

function restoring({
  overwrite = false,
  values = {},
}: {
  overwrite?: boolean
  values?: Record<string, unknown>
}): void {
  space.values.restores.back = {
    from: { plan: 'nightly', storages: ['local'] },
    overwrite,
    targets: [{ name: 'data', files: { access: 'local', path: target, ...values } }],
  }
}

async function seeded(): Promise<void> {
  await run('python3', ['-c', seed, source])
}

async function treeOf(folder: string): Promise<Record<string, unknown>> {
  return JSON.parse((await run('python3', ['-c', describeTree, folder], { maxBuffer: 2 ** 24 })).stdout)
}

async function backedUp(): Promise<string> {
  const ran = await succeeds(space.holdfast('backup', 'nightly'))
  return ran.summary.backup as string
}

async function restored(options: Parameters<typeof restoring>[0]): Promise<string> {
  restoring(options)
  return (await succeeds(space.holdfast('restore', 'back'))).stdout
}

async function fakeTar(body: string): Promise<string> {
  const bin = join(space.dir, 'bin')
  await mkdir(bin, { recursive: true })
  await writeFile(join(bin, 'tar'), `#!/bin/bash\n${body}\n`)
  await chmod(join(bin, 'tar'), 0o755)
  return bin
}

/** An archive that somebody put in the place of ours, with a manifest that fits. */
async function forged(backup: string, body: string): Promise<void> {
  const folder = join(space.store, 'nightly', backup, 'data/files')
  const code = `
import sys, tarfile
def member(name): m = tarfile.TarInfo(name); return m
def link(name, to, kind=tarfile.SYMTYPE): m = tarfile.TarInfo(name); m.type = kind; m.linkname = to; return m
with tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT) as t:
    top = tarfile.TarInfo('./'); top.type = tarfile.DIRTYPE; top.mode = 0o755; t.addfile(top)
    ${body}
`
  const tar = join(space.dir, 'forged.tar')
  await run('python3', ['-c', code, tar])
  await run('zstd', ['-q', '-f', tar, '-o', join(folder, 'tree.tar.zst')])
  const [plain, stored] = await Promise.all([readFile(tar), readFile(join(folder, 'tree.tar.zst'))])
  const manifest = await space.manifest('nightly', backup)
  const part = manifest.parts.find(({ path }) => path.endsWith('tree.tar.zst'))
  Object.assign(part as object, measured(stored), { plain: measured(plain) })
  await writeFile(join(space.store, 'nightly', `${backup}.json`), JSON.stringify(manifest))
}

function measured(bytes: Buffer) {
  return { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
}

async function until(path: string): Promise<void> {
  const [folder, name] = [join(path, '..'), path.split('/').at(-1) as string]
  await vi.waitUntil(async () => (await readdir(folder)).includes(name), patiently)
}
