import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { findClients } from '../../../engines/postgres/clients.ts'

const programs = ['pg_dump', 'pg_dumpall']

describe('of several majors in one folder', () => {
  let folder: string

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hf-clients-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  /** Programs that say their version; `versions` by folder below, the empty one is the folder itself. */
  async function install(versions: Record<string, string>, names = [...programs, 'pg_restore']): Promise<void> {
    for (const [below, version] of Object.entries(versions)) {
      const bin = join(folder, below)
      await mkdir(bin, { recursive: true })
      for (const name of names) {
        await writeFile(join(bin, name), `#!/bin/sh\necho "${name} (PostgreSQL) ${version} (Debian ${version}-1)"\n`)
        await chmod(join(bin, name), 0o755)
      }
    }
  }

  const find = (major: number) =>
    findClients({
      ...{ programs, folder, major, because: `the server is PostgreSQL ${major}.1` },
      ...{ at: 'backups.nightly.sources.0.postgres', signal: AbortSignal.timeout(20_000) },
    })

  test.each<[string, Record<string, string>, number, string]>([
    ['the very major of the server', { '15/bin': '15.20', '17/bin': '17.12', '18/bin': '18.6' }, 17, '17/bin'],
    ['the oldest that is not older than the server', { '15/bin': '15.20', '18/bin': '18.6' }, 16, '18/bin'],
    ['numbers and not letters decide', { '9/bin': '9.6.24', '13/bin': '13.1', '100/bin': '100.0' }, 14, '100/bin'],
    ['the programs of the folder itself', { '': '17.12' }, 15, ''],
    ['those before others of their major', { '': '17.12', '17/bin': '17.11' }, 17, ''],
    ['older ones that fit before them', { '': '18.6', '15/bin': '15.20' }, 15, '15/bin'],
  ])('are taken: %s', async (_, versions, major, expected) => {
    await install(versions)
    const clients = await find(major)
    expect(clients.path('pg_dump')).toBe(join(folder, expected, 'pg_dump'))
    expect(clients).toMatchObject({ major: Number.parseInt(versions[expected] ?? '', 10) })
    expect(clients.versions).toEqual({ pg_dump: versions[expected], pg_dumpall: versions[expected] })
  })

  test('none that are older than the server are taken, and the ones that are there are named', async () => {
    await install({ '13/bin': '13.1', '15/bin': '15.20' })
    await expect(find(17)).rejects.toMatchObject({
      kind: 'configuration',
      message: expect.stringMatching(/are of PostgreSQL 13, 15, but the server is PostgreSQL 17.1/),
      hint: expect.stringContaining('postgresql-client-17'),
    })
  })

  test('an empty folder has none', async () => {
    await expect(find(17)).rejects.toThrow(`the clients in ${folder} are not there`)
  })

  test.each<[string, () => Promise<void>, string]>([
    ['lacks a program', () => rm(join(folder, '17/bin/pg_dumpall')), 'pg_dumpall does not run'],
    [
      'has one of another major',
      () => install({ '17/bin': '15.20' }, ['pg_dumpall']),
      'pg_dumpall is of version 15.20',
    ],
  ])('a release that %s is refused', async (_, spoil, text) => {
    await install({ '17/bin': '17.12' })
    await spoil()
    await expect(find(17)).rejects.toThrow(text)
  })
})
