import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, open, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { openWorkspace, succeeds, type Workspace } from './harness.ts'
import { attempt, contentsOf, expectRefusal, put, putBackup, type Said } from './wrong.ts'

/** The commands as processes, on real files and pipes; what they do to backups is in test/commands/offline.test.ts. */

const execute = promisify(execFile)
const top = join(import.meta.dirname, '../../..')
const id = '1700000000'
const MiB = 2 ** 20
let work: Workspace
let mounts = false

beforeAll(async () => {
  work = await openWorkspace()
  await mkdir(join(work.dir, 'vault'))
  work.values.storages.vault = { filesystem: { path: join(work.dir, 'vault') } }
  const rondb = {
    managementServers: ['127.0.0.1:1'],
    mysql: { host: '127.0.0.1', port: 1, credentials: { secret: 'db' } },
    files: { access: 'local', path: '/data/{node}/BACKUP' },
  }
  for (const plan of ['nightly', 'large', 'slow'])
    work.values.backups[plan] = { storages: ['local'], sources: [{ name: 'rondb', rondb }] }
  await putBackup(work.store, { plan: 'nightly', id })
  mounts = await canMount()
})
afterAll(() => work.remove())

let folders = 0
let folder: string
beforeEach(async () => {
  folder = join(work.dir, `case-${folders++}`)
  await mkdir(folder)
})

const exported = async () => {
  const file = join(folder, 'good.tar')
  await succeeds(work.holdfast('export', 'nightly', 'latest', file))
  return file
}

test('a backup goes over a file into another storage and comes out as files', async () => {
  const file = await exported()
  const { summary } = await succeeds(work.holdfast('import', file, '--storage', 'vault'))
  expect(summary).toMatchObject({ verb: 'import', outcome: 'done', backup: id, storage: 'vault', written: true })
  await succeeds(work.holdfast('verify', 'nightly', '--storage', 'vault'))
  await succeeds(work.holdfast('unpack', 'nightly', '--storage', 'vault', '--to', join(folder, 'files')))
  const stored = await contentsOf(join(work.store, 'nightly', id))
  const { 'manifest.json': manifest, ...files } = await contentsOf(join(folder, 'files'))
  expect(files).toEqual(stored)
  expect(manifest).toBe((await contentsOf(join(work.store, 'nightly')))[`${id}.json`])
})

test('tar reads an archive, and what it unpacks is a storage', async () => {
  const file = await exported()
  await mkdir(join(folder, 'untarred'))
  await execute('tar', ['-xf', file, '-C', join(folder, 'untarred')])
  work.values.storages.untarred = { filesystem: { path: join(folder, 'untarred') } }
  await succeeds(work.holdfast('verify', 'nightly', '--storage', 'untarred'))
  delete work.values.storages.untarred
})

test('an archive goes through a pipe, and nothing else is on standard output', async () => {
  const config = join(folder, 'values.yaml')
  await writeFile(config, stringify(work.values))
  const main = join(top, 'job/main.ts')
  const script = `set -o pipefail
    "$node" "$main" export nightly latest - -c "$config" | "$node" "$main" unpack --from - --to "$to" -o json`
  const env = { ...process.env, node: process.execPath, main, config, to: join(folder, 'files') }
  const { stdout } = await execute('bash', ['-c', script], { env })
  expect(JSON.parse(stdout)).toMatchObject({ backup: id, from: 'standard input', files: 4 })
  expect(Object.keys(await contentsOf(join(folder, 'files')))).toHaveLength(5)
})

test('a copy is unpacked where there is no config file', async () => {
  const args = [
    join(top, 'job/main.ts'),
    'unpack',
    '--from',
    join(work.store, 'nightly', id),
    '--to',
    join(folder, 'files'),
  ]
  await execute(process.execPath, args, { cwd: folder, env: { PATH: process.env.PATH } })
  expect(await readdir(join(folder, 'files'))).toEqual(['databases.sql', 'manifest.json', 'rondb', 'users.sql'])
})

interface Case {
  title: string
  /** `DIR` stands for the folder of the case. */
  run: string
  before?: (dir: string) => Promise<unknown>
  through?: (dir: string) => string[]
  /** What is in the folder afterwards. */
  leaves?: string[]
  expects: Said
}

const inputs: Case[] = [
  {
    title: 'export into a folder that is not there',
    run: 'export nightly latest DIR/missing/x.tar',
    leaves: [],
    expects: { code: 2, message: /^there is no folder .*\/missing$/, hint: 'mount or create it first' },
  },
  {
    title: 'export onto a file that is there',
    run: 'export nightly latest DIR/x.tar',
    before: (dir) => writeFile(join(dir, 'x.tar'), 'precious'),
    leaves: ['x.tar'],
    expects: { code: 21, message: /x.tar is there already$/, hint: '--overwrite replaces it' },
  },
  {
    title: 'export onto a link',
    run: 'export nightly latest DIR/x.tar --overwrite',
    before: (dir) => symlink('/dev/null', join(dir, 'x.tar')),
    leaves: ['x.tar'],
    expects: { code: 2, message: /x.tar is no file$/, hint: 'name a new file' },
  },
  {
    title: 'export of a plan that nobody knows',
    run: 'export weekly latest DIR/x.tar',
    leaves: [],
    expects: { code: 2, message: 'no plan named "weekly"', hint: '--storage' },
  },
  {
    title: 'export of a backup that is not there',
    run: 'export nightly 1700000001 DIR/x.tar',
    leaves: [],
    expects: { code: 20, message: 'has id 1700000001', hint: 'there are 1' },
  },
  {
    title: 'import of a file that is not there',
    run: 'import DIR/x.tar --storage vault',
    expects: { code: 2, message: /x.tar does not exist$/ },
  },
  {
    title: 'import of a folder',
    run: 'import DIR --storage vault',
    expects: { code: 2, message: / is a folder$/ },
  },
  {
    title: 'import into a storage that nobody knows',
    run: 'import DIR/good.tar --storage offsite',
    expects: { code: 2, message: 'storages: no storage named "offsite"' },
  },
  {
    title: 'import of nothing',
    run: 'import - --storage vault',
    expects: { code: 24, message: 'standard input is empty', hint: 'holdfast export' },
  },
  {
    title: 'import of text',
    run: 'import DIR/x.sql --storage vault',
    before: (dir) => writeFile(join(dir, 'x.sql'), 'CREATE TABLE a (b INT);\n'.repeat(100)),
    expects: { code: 24, message: /x.sql is no tar archive/, hint: 'decompress' },
  },
  {
    title: 'import of an archive that gzip made smaller',
    run: 'import DIR/good.tar.gz --storage vault',
    before: (dir) => execute('gzip', ['-k', join(dir, 'good.tar')]),
    expects: { code: 24, message: /good.tar.gz is no tar archive/, hint: 'decompress' },
  },
  {
    title: 'import of an archive that was cut off',
    run: 'import DIR/good.tar --storage vault',
    before: (dir) => truncate(join(dir, 'good.tar'), 4000),
    expects: { code: 24, message: /good.tar was cut off/, hint: 'bring the file over again' },
  },
  {
    title: 'import of what tar made of a folder',
    run: 'import DIR/x.tar --storage vault',
    before: (dir) => execute('tar', ['-cf', join(dir, 'x.tar'), '-C', work.store, 'nightly']),
    expects: { code: 24, message: /x.tar has "nightly\/?", a directory/, hint: 'unpack --from its folder' },
  },
  {
    title: 'import of a link',
    run: 'import DIR/x.tar --storage vault',
    before: async (dir) => {
      await symlink('/etc/passwd', join(dir, 'holdfast-backup.json'))
      await execute('tar', ['-cf', join(dir, 'x.tar'), '-C', dir, 'holdfast-backup.json'])
    },
    expects: { code: 24, message: /x.tar has "holdfast-backup.json", a symlink/ },
  },
  {
    title: 'import of an archive that leads out of the storage',
    run: 'import DIR/x.tar --storage vault',
    before: async (dir) => {
      await mkdir(join(dir, 'in'))
      await writeFile(join(dir, 'in/holdfast-backup.json'), await readFile(join(work.store, `nightly/${id}.json`)))
      await writeFile(join(dir, 'escaped'), 'x')
      const names = ['holdfast-backup.json', '../escaped']
      await execute('tar', ['-cPf', join(dir, 'x.tar'), '-C', join(dir, 'in'), ...names])
    },
    expects: { code: 24, message: 'has "../escaped", which the manifest does not know' },
  },
  {
    title: 'unpack into a folder that is not empty',
    run: 'unpack nightly --to DIR',
    leaves: ['good.tar'],
    expects: { code: 21, message: /is not empty: it has good.tar$/, hint: '--overwrite' },
  },
  {
    title: 'unpack into a file',
    run: 'unpack nightly --to DIR/good.tar',
    leaves: ['good.tar'],
    expects: { code: 2, message: / is no folder/ },
  },
  {
    title: 'unpack of a folder without its manifest',
    run: 'unpack --from DIR/copy/nightly/1700000000 --to DIR/files',
    before: async (dir) => {
      await execute('cp', ['-r', work.store, join(dir, 'copy')])
      await rm(join(dir, `copy/nightly/${id}.json`))
    },
    leaves: ['copy', 'good.tar'],
    expects: { code: 20, message: /has no backup$/, hint: 'with its manifest beside it' },
  },
  {
    title: 'unpack of a folder that is not there',
    run: 'unpack --from DIR/missing --to DIR/files',
    leaves: ['good.tar'],
    expects: { code: 2, message: /missing does not exist$/ },
  },
  {
    title: 'unpack of a folder whose manifest is of something else',
    run: 'unpack --from DIR/copy --to DIR/files',
    before: async (dir) => {
      await mkdir(join(dir, 'copy'))
      await writeFile(join(dir, 'copy.json'), '{"format": 1}')
    },
    leaves: ['copy', 'copy.json', 'good.tar'],
    expects: { code: 24, message: /copy.json is no manifest/ },
  },
  {
    title: 'unpack of a folder that lacks a part',
    run: 'unpack --from DIR/copy/nightly/1700000000 --to DIR/files',
    before: async (dir) => {
      await execute('cp', ['-r', work.store, join(dir, 'copy')])
      await rm(join(dir, `copy/nightly/${id}/users.sql`))
    },
    leaves: ['copy', 'files', 'good.tar'],
    expects: { code: 24, message: 'has no users.sql' },
  },
  {
    title: 'unpack of a part that leads out of the copy',
    run: 'unpack --from DIR/copy/nightly/1700000000 --to DIR/files',
    before: async (dir) => {
      await execute('cp', ['-r', work.store, join(dir, 'copy')])
      await rm(join(dir, `copy/nightly/${id}/users.sql`))
      await symlink('/etc/hostname', join(dir, `copy/nightly/${id}/users.sql`))
    },
    leaves: ['copy', 'files', 'good.tar'],
    expects: { code: 23, message: 'is a symbolic link' },
  },
]

describe('a wrong input is told, and leaves nothing behind:', () => {
  test.each(inputs)('$title', async ({ run, before, leaves, expects }) => {
    if (leaves?.length !== 0) await exported()
    await before?.(folder)
    if (leaves && !leaves.includes('good.tar')) await rm(join(folder, 'good.tar'), { force: true })
    const vault = join(work.dir, 'vault')
    await rm(vault, { recursive: true })
    await mkdir(vault)
    expectRefusal(await attempt(work, { title: '', run: run.replaceAll('DIR', folder), expects }), expects)
    if (leaves) expect((await readdir(folder)).sort()).toEqual(leaves)
    expect(Object.keys(await contentsOf(vault)).filter((path) => path.endsWith(`${id}.json`))).toEqual([])
  })
})

describe('a disk that does not take it', () => {
  const disks: [string, string, string, Said][] = [
    [
      'export',
      'size=8k',
      'export large latest DIR/disk/x.tar',
      { code: 23, message: /no space left/, hint: 'make the volume larger' },
    ],
    ['export', 'ro', 'export nightly latest DIR/disk/x.tar', { code: 23, message: /the file system is read-only/ }],
    [
      'unpack',
      'size=8k',
      'unpack large --to DIR/disk',
      { code: 23, message: /has .* free, the files need/, hint: 'larger disk' },
    ],
    ['unpack', 'ro', 'unpack nightly --to DIR/disk', { code: 23, message: /disk: / }],
  ]

  beforeAll(() => putLarge('large', MiB))

  test.each(disks)('%s onto tmpfs with %s', async (_, options, run, expects) => {
    if (!mounts) return expect(process.env.CI, 'these tests need to mount (CAP_SYS_ADMIN)').toBeUndefined()
    const disk = join(folder, 'disk')
    await mkdir(disk)
    // what is left there is looked at before the namespace, and the disk with it, is gone
    const script = `mount -t tmpfs -o ${options} tmpfs '${disk}' && "$@"; code=$?; find '${disk}' -mindepth 1 > '${folder}/left'; exit $code`
    const through = ['unshare', '--mount', 'sh', '-c', script, 'sh']
    expectRefusal(await attempt(work, { title: '', run: run.replaceAll('DIR', folder), through, expects }), expects)
    expect(await readFile(join(folder, 'left'), 'utf8')).toBe('')
  })

  test('a folder that may not be written to', async () => {
    if (process.getuid?.() === 0)
      return expect((await attemptAsNobody('export nightly latest DIR/shut/x.tar')).code).toBe(23)
    await mkdir(join(folder, 'shut'), { mode: 0o500 })
    const { code } = await attempt(work, {
      title: '',
      run: `export nightly latest ${folder}/shut/x.tar`,
      expects: { code: 23, message: '' },
    })
    expect(code).toBe(23)
  })

  async function attemptAsNobody(run: string) {
    await mkdir(join(folder, 'shut'), { mode: 0o500 })
    await chmod(work.dir, 0o755)
    const through = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
    return attempt(work, { title: '', run: run.replaceAll('DIR', folder), through, expects: { code: 23, message: '' } })
  }
})

describe('memory is bounded', () => {
  const size = 512 * MiB
  const most = 256

  beforeAll(() => putLarge('large', size))

  async function peakOf(script: string): Promise<number[]> {
    const config = join(folder, 'values.yaml')
    await writeFile(config, stringify(work.values))
    const env = {
      ...process.env,
      run: `${process.execPath} --import ${join(top, 'job/test/bin/peak.ts')} ${join(top, 'job/main.ts')}`,
      config,
      dir: folder,
    }
    await execute('bash', ['-c', `set -o pipefail; ${script}`], { env, maxBuffer: 10 * MiB })
    const files = (await readdir(folder)).filter((name) => name.startsWith('peak')).sort()
    return Promise.all(files.map(async (name) => Number(await readFile(join(folder, name), 'utf8'))))
  }

  test('of an export and of an import', async () => {
    const peaks = await peakOf(
      'PEAK=$dir/peak-1 $run export large latest - -c $config | PEAK=$dir/peak-2 $run import - --storage vault -c $config',
    )
    expect(peaks).toHaveLength(2)
    for (const peak of peaks) expect(peak).toBeLessThan(most)
  })

  test('of unpacking', async () => {
    const peaks = await peakOf('PEAK=$dir/peak-1 $run unpack large --to $dir/files -c $config')
    expect(peaks).toHaveLength(1)
    expect(peaks[0]).toBeLessThan(most)
    expect(await hashOf(join(folder, 'files/users.sql'))).toBe(await hashOf(join(work.store, 'large', id, 'users.sql')))
  })
})

describe('a run with limits', () => {
  beforeAll(() => putLarge('slow', 2 * MiB))

  test('is as slow as they say, and no faster', async () => {
    work.values.backups.slow = { ...work.values.backups.slow, limits: { bytesPerSecond: '1Mi' } }
    const { summary } = await succeeds(work.holdfast('verify', 'slow'))
    expect(Number(summary.seconds)).toBeGreaterThan(1.5)
  })

  test('ends at once when it is told to, though it waits', async () => {
    await putLarge('slow', 64 * MiB)
    work.values.backups.slow = { ...work.values.backups.slow, limits: { bytesPerSecond: '64Ki' } }
    const run = work.start('export', 'slow', 'latest', join(folder, 'x.tar'))
    await expect.poll(() => readdir(join(folder, '.tmp')).catch(() => [])).toHaveLength(1)
    run.kill('SIGTERM')
    const { code, summary } = await run.done
    expect(code).toBe(143)
    expect(summary.error).toBe('stopped by SIGTERM')
    expect(await readdir(folder)).toEqual([])
  })
})

/** A backup with a part of this size that takes no room on the disk. */
async function putLarge(plan: string, size: number): Promise<void> {
  const path = join(work.store, plan, id, 'users.sql')
  await put(work.store, `${plan}/${id}/users.sql`, '')
  const file = await open(path, 'w')
  await file.truncate(size)
  await file.close()
  const sha256 = await hashOf(path)
  await putBackup(work.store, {
    plan,
    id,
    change: (manifest) => {
      for (const part of manifest.parts) if (part.path === 'users.sql') Object.assign(part, { size, sha256 })
    },
  })
  await truncate(path, 0)
  await truncate(path, size)
}

async function hashOf(path: string): Promise<string> {
  const child = spawn('sha256sum', [path], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (chunk) => (said += chunk))
  await once(child, 'close')
  return said.slice(0, 64)
}

async function canMount(): Promise<boolean> {
  const [file = '', ...args] = ['unshare', '--mount', 'sh', '-c', `mount -t tmpfs tmpfs '${work.store}'`]
  return execute(file, args).then(
    () => true,
    () => false,
  )
}
