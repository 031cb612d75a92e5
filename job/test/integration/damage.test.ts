import { createHash } from 'node:crypto'
import { cp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Manifest } from '../../manifest.ts'
import { type NdbCluster, startNdb } from '../servers/ndb.ts'
import {
  emptyCluster,
  openWorkspace,
  prepareAccount,
  type Ran,
  sourceOf,
  succeeds,
  targetOf,
  type Workspace,
} from './harness.ts'

const cluster = await startNdb({ dataNodes: 2, ldm: 2 })

describe.skipIf(!cluster)('a stored backup', () => {
  const ndb = cluster as NdbCluster
  let work: Workspace
  let id: string
  let pristine: string
  let paths: string[]

  beforeAll(async () => {
    work = await openWorkspace()
    await prepareAccount(ndb)
    await emptyCluster(ndb)
    await ndb.sql(
      "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, note VARCHAR(200)) ENGINE=NDB; CREATE USER shopper@'%' IDENTIFIED BY 'x'",
    )
    await ndb.sql(
      "SET cte_max_recursion_depth = 10000; INSERT INTO shop.orders (note) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT REPEAT('x', i % 150) FROM n",
    )
    work.values.backups.nightly = { storages: ['local'], sources: [sourceOf(ndb)] }
    work.values.restores.once = { from: { plan: 'nightly', storages: ['local'] }, targets: [targetOf(ndb)] }
    id = `${(await succeeds(work.holdfast('backup', 'nightly'))).summary.backup}`
    paths = (await work.manifest('nightly', id)).parts.map((part) => part.path)
    pristine = join(work.dir, 'pristine')
    await rename(work.store, pristine)
    await emptyCluster(ndb)
  })

  beforeEach(async () => {
    await rm(work.store, { recursive: true, force: true })
    await cp(pristine, work.store, { recursive: true })
  })

  afterAll(async () => {
    await ndb.destroy()
    await work.remove()
  })

  const file = (path: string) => join(work.store, 'nightly', id, path)
  const verify = (...more: string[]) => work.holdfast('verify', 'nightly', ...more)

  /** The file of a kind with the most in it, of a data node. */
  async function native(kind: string, node = 1): Promise<string> {
    const { parts } = await work.manifest('nightly', id)
    const own = parts.filter(({ path }) => path.startsWith(`rondb/${node}/`) && path.endsWith(kind))
    return own.toSorted((a, b) => b.size - a.size)[0]?.path ?? ''
  }

  /** A native kind, or a path as it is. */
  const pathOf = async (kind: string, node = 1) => (kind.startsWith('.') ? native(kind, node) : kind)

  async function change(edit: (manifest: Manifest) => void): Promise<void> {
    const manifest = await work.manifest('nightly', id)
    edit(manifest)
    await writeFile(join(work.store, 'nightly', `${id}.json`), JSON.stringify(manifest))
  }

  /** Makes the manifest agree with what a file holds now: a mistake that was hashed, or somebody who can write manifests. */
  async function rehash(path: string): Promise<void> {
    const bytes = await readFile(file(path))
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    await change(({ parts }) =>
      Object.assign(parts.find((part) => part.path === path) ?? {}, { size: bytes.length, sha256 }),
    )
  }

  async function expectUntouched(): Promise<void> {
    const rows = await ndb.sql<{ name: string }>(
      "SELECT schema_name AS name FROM information_schema.schemata UNION SELECT user FROM mysql.user UNION SELECT SUBSTRING_INDEX(fq_name, '/', 1) FROM ndbinfo.dict_obj_info WHERE type = 2",
    )
    const names = rows.map(({ name }) => name)
    expect(names).toContain('mysql')
    for (const name of ['shop', 'holdfast', 'shopper']) expect(names).not.toContain(name)
  }

  async function expectFound(run: Promise<Ran>, path: string | RegExp): Promise<void> {
    const { code, summary, stderr } = await run
    expect(`${summary.error}`).toMatch(path instanceof RegExp ? path : new RegExp(RegExp.escape(path)))
    expect(code).toBe(24)
    expect(summary.hint).toMatch(/another|damaged/)
    expect(stderr).not.toMatch(/"stack"|^\s+at /m)
  }

  /** By verify, and by a restore before it writes anything. */
  async function expectFoundByBoth(path: string | RegExp): Promise<void> {
    await expectFound(verify(), path)
    await expectFound(work.holdfast('restore', 'once'), path)
    await expectUntouched()
  }

  const kinds = ['.Data', '.ctl', '.log', 'users.sql', 'databases.sql']

  test.each(kinds)('with one flipped bit in %s is found out', async (kind) => {
    const path = await pathOf(kind)
    const bytes = await readFile(file(path))
    const middle = bytes.length >> 1
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 0x10, middle)
    await writeFile(file(path), bytes)
    await expectFoundByBoth(path)
  })

  test.each(kinds)('with %s cut by one byte is found out', async (kind) => {
    const path = await pathOf(kind)
    await truncate(file(path), (await readFile(file(path))).length - 1)
    await expectFoundByBoth(path)
  })

  test.each(kinds)('without %s is found out', async (kind) => {
    const path = await pathOf(kind)
    await rm(file(path))
    await expectFoundByBoth(path)
  })

  test.each([
    ['.Data', '.Data'],
    ['.ctl', '.ctl'],
    ['users.sql', 'databases.sql'],
  ])('with %s and %s exchanged is found out', async (one, other) => {
    const [here, there] = [await pathOf(one, 1), await pathOf(other, 2)]
    const bytes = await readFile(file(here))
    expect(bytes.equals(await readFile(file(there)))).toBe(false)
    await rename(file(there), file(here))
    await writeFile(file(there), bytes)
    await expectFoundByBoth(new RegExp(`${RegExp.escape(here)}|${RegExp.escape(there)}`))
    const { error } = (await verify()).summary
    for (const path of [here, there]) expect(error).toContain(path)
  })

  test('whose manifest lists a part that was never there is found out', async () => {
    await change(({ parts }) => parts.push({ path: 'rondb/1/extra.Data', size: 1, sha256: '0'.repeat(64) }))
    await expectFoundByBoth('rondb/1/extra.Data')
  })

  test('whose manifest has another hash is found out', async () => {
    const path = await pathOf('.Data')
    await change(({ parts }) =>
      Object.assign(parts.find((part) => part.path === path) ?? {}, { sha256: '0'.repeat(64) }),
    )
    await expectFoundByBoth(path)
  })

  test.each(['.Data', 'users.sql', 'databases.sql'])(
    'whose manifest leaves out %s is found out when it is read',
    async (kind) => {
      const path = await pathOf(kind)
      await change((manifest) => (manifest.parts = manifest.parts.filter((part) => part.path !== path)))
      const name = path.split('/').at(-1) ?? path
      await expectFound(verify('--level', 'readable'), name)
      await expectFound(work.holdfast('restore', 'once'), name)
      await expectUntouched()
    },
  )

  test('with a file too many is as good as before: the file is only noted', async () => {
    await writeFile(file('rondb/1/notes.txt'), 'not ours')
    const { stdout } = await succeeds(verify())
    expect(stdout).toContain('rondb/1/notes.txt')
    await succeeds(work.holdfast('restore', 'once', '--dry-run'))
  })

  test('is looked at, read, or understood: each level finds more', async () => {
    const path = await pathOf('.Data')
    const flipped = await readFile(file(path))
    flipped.writeUInt8(flipped.readUInt8(200) ^ 1, 200)
    await writeFile(file(path), flipped)
    await succeeds(verify('--level', 'present'))
    await expectFound(verify('--level', 'content'), path)
    await truncate(file(path), 100)
    await expectFound(verify('--level', 'present'), path)
  })

  test.each(['.Data', '.ctl', '.log'])(
    'whose cut %s was hashed as it is is found out when it is read',
    async (kind) => {
      const path = await pathOf(kind)
      const bytes = await readFile(file(path))
      await truncate(file(path), bytes.length >> 1)
      await rehash(path)
      await succeeds(verify('--level', 'content'))
      await expectFound(verify('--level', 'readable'), kind === '.ctl' ? 'rondb/1' : path.replace('rondb/1/', ''))
    },
  )

  test('whose cut .ctl was hashed as it is is found out by a restore, too', async () => {
    const path = await pathOf('.ctl')
    await truncate(file(path), 100)
    await rehash(path)
    await expectFound(work.holdfast('restore', 'once'), 'rondb/1')
    await expectUntouched()
  })

  test('whose cut .Data was hashed as it is never makes a restore that is done', async () => {
    const path = await pathOf('.Data')
    await truncate(file(path), (await readFile(file(path))).length >> 1)
    await rehash(path)
    const { code, summary } = await work.holdfast('restore', 'once')
    expect(code).toBe(22)
    expect(summary).toMatchObject({
      error: expect.stringContaining('for node 1'),
      hint: expect.stringContaining('unfinished'),
    })
    await emptyCluster(ndb)
  })

  test('that is sound passes all levels, and comes back', async () => {
    expect(paths.length).toBeGreaterThan(2 * 2 * 3)
    for (const level of ['present', 'content', 'readable']) await succeeds(verify('--level', level))
    await succeeds(work.holdfast('restore', 'once'))
    expect(await ndb.sql('SELECT COUNT(*) AS n FROM shop.orders')).toEqual([{ n: 5000 }])
  })
})
