import { execFile } from 'node:child_process'
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type NdbCluster, startNdb } from '../servers/ndb.ts'
import {
  compare,
  emptyCluster,
  openWorkspace,
  prepareAccount,
  sourceOf,
  succeeds,
  targetOf,
  type Workspace,
} from './harness.ts'
import { diskObjects, programs } from './programs.ts'

const cluster = await startNdb({ dataNodes: 2, ldm: 2 })
const execute = promisify(execFile)

describe.skipIf(!cluster)('without holdfast', () => {
  const rondb = cluster as NdbCluster
  let work: Workspace
  let before: string
  let socket: string

  beforeAll(async () => {
    work = await openWorkspace()
    socket = rondb.mysql[0]?.socket ?? ''
    before = join(work.dir, 'before.json')
    await prepareAccount(rondb)
    await emptyCluster(rondb)
    for (const object of diskObjects) await rondb.sql(object).catch(() => {})
    await rondb.sql(await readFile(join(import.meta.dirname, 'seed.sql'), 'utf8'))
    for (const program of programs) await rondb.sql(program)
    // neither rondb-helm's commands nor a hand with ndb_restore bring back what is not NDB
    await rondb.sql('DROP TABLE shop.cache')
    await compare('save', before, socket)
    work.values.backups = { nightly: { storages: ['local'], sources: [sourceOf(rondb)] } }
    work.values.restores = { old: { from: { plan: 'rondb_backup', storages: ['local'] }, targets: [targetOf(rondb)] } }
  })

  beforeEach(async () => {
    for (const node of rondb.nodeIds) await rm(rondb.backupFolder(node), { recursive: true, force: true })
  })

  afterAll(async () => {
    await rondb.destroy()
    await work.remove()
  })

  test('a folder made by the commands of rondb-helm is adopted and restored', async () => {
    const id = '254730215'
    await helmBackup(id)
    const adopt = (...flags: string[]) =>
      work.holdfast('adopt', 'rondb_backup', id, '--storage', 'local', '--clients', rondb.binDir, ...flags)
    await succeeds(adopt('--dry-run'))
    expect((await work.holdfast('restore', 'old')).code).toBe(20)
    await succeeds(adopt())
    const manifest = await work.manifest('rondb_backup', id)
    expect(manifest).toMatchObject({ adopted: true, id })
    expect(manifest.sources[0]?.server).toMatchObject({ product: expect.stringMatching(/NDB|RonDB/) })

    await emptyCluster(rondb)
    await succeeds(work.holdfast('restore', 'old'))
    expect(await compare(before, socket)).toBe('')
    expect((await adopt()).code).toBe(20)
  })

  test('a folder of rondb-helm that lacks a file of a node is not adopted', async () => {
    const id = '254730216'
    await helmBackup(id)
    await rm(join(work.store, 'rondb_backup', id, 'rondb', '2', `BACKUP-${id}-PART-1-OF-2`, `BACKUP-${id}-0.2.Data`))
    const ran = await work.holdfast('adopt', 'rondb_backup', id, '--storage', 'local', '--clients', rondb.binDir)
    expect(ran).toMatchObject({ code: 24, summary: { error: expect.stringContaining('.Data') } })
    await expect(work.manifest('rondb_backup', id)).rejects.toThrow()
  })

  test('our own folder is restored with nothing but ndb_restore and mysql, as docs/restore-by-hand.md says', async () => {
    const { summary } = await succeeds(work.holdfast('backup', 'nightly'))
    await emptyCluster(rondb)
    const script = join(import.meta.dirname, '../../../test_scripts/restore-by-hand')
    const folder = join(work.store, 'nightly', `${summary.backup}`)
    // the cluster that the seed was made in has its tablespace still
    const env = {
      ...process.env,
      DISK_OBJECTS: '--no-restore-disk-objects',
      PATH: `${rondb.binDir}:${process.env.PATH}`,
    }
    await execute(script, [folder, rondb.connectString, socket], { env })
    expect(await compare(before, socket)).toBe('')
  })

  /** What rondb-helm's jobs run: SQL files of accounts and schemas, START BACKUP, every node's folder to `<prefix>/<id>/rondb/<node>`. */
  async function helmBackup(id: string): Promise<void> {
    const folder = join(work.store, 'rondb_backup', id)
    await mkdir(folder, { recursive: true })
    const dump = [
      '-uroot',
      `-S${socket}`,
      '--no-data',
      '--skip-add-drop-table',
      '--triggers',
      '--routines',
      '--events',
      '--databases',
      'shop',
      'latin',
      'größe',
    ]
    const { stdout } = await execute(join(rondb.binDir, 'mysqldump'), dump, { maxBuffer: 1e8, encoding: 'latin1' })
    await writeFile(join(folder, 'databases.sql'), stdout, 'latin1')
    await writeFile(join(folder, 'users.sql'), await pumpedUsers())
    const { stdout: said } = await execute(join(rondb.binDir, 'ndb_mgm'), [
      '-c',
      rondb.connectString,
      '-e',
      `START BACKUP ${id} SNAPSHOTEND WAIT COMPLETED`,
    ])
    expect(said).toContain('completed')
    for (const node of rondb.nodeIds) {
      await cp(join(rondb.backupFolder(node), `BACKUP-${id}`), join(folder, 'rondb', String(node)), { recursive: true })
    }
  }

  /** As mysqlpump --exclude-databases=% --users wrote it; the program itself is gone since 9.0. */
  async function pumpedUsers(): Promise<string> {
    const lines = [
      '-- Dump created by MySQL pump utility',
      'SET @OLD_SQL_MODE=@@SQL_MODE;',
      'SET SQL_MODE="NO_AUTO_VALUE_ON_ZERO";',
    ]
    const accounts = await rondb.sql<{ user: string; host: string }>(
      "SELECT user, host FROM mysql.user WHERE user NOT LIKE 'mysql.%' AND user <> 'root'",
    )
    const grants: string[] = []
    for (const { user, host } of accounts) {
      const name = `'${user.replaceAll("'", "''")}'@'${host}'`
      const [created] = await rondb.sql<Record<string, string>>(
        `SET SESSION print_identified_with_as_hex = ON; SHOW CREATE USER ${name}`,
      )
      lines.push(`${Object.values(created ?? {})[0]?.replace(/ DEFAULT ROLE \S+/, '')};`)
      for (const grant of await rondb.sql<Record<string, string>>(`SHOW GRANTS FOR ${name}`))
        grants.push(`${Object.values(grant)[0]};`)
    }
    return [
      ...lines,
      ...grants,
      'SET DEFAULT ROLE `reading`@`%` TO `shopper`@`%`;',
      '-- Dump end time: Sat Nov 21 02:15:00 2026',
      '',
    ].join('\n')
  }
})
