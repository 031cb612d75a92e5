import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

const top = join(import.meta.dirname, '../..')
const run = promisify(execFile)

let dir: string

/** A copy of the job with the engine of docs/adding-an-engine.md in it, taken from the page. */
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'hf-engine-'))
  await cp(join(top, 'job'), join(dir, 'job'), { recursive: true, filter: (path) => path !== join(top, 'job/test') })
  for (const name of ['package.json', 'holdfast', 'tsconfig.json']) await cp(join(top, name), join(dir, name))
  await symlink(join(top, 'node_modules'), join(dir, 'node_modules'))
  const page = await readFile(join(top, 'docs/adding-an-engine.md'), 'utf8')
  for (const [, path = '', code = ''] of page.matchAll(/^```ts (\S+)\n([\s\S]*?)^```$/gm)) {
    await mkdir(dirname(join(dir, path)), { recursive: true })
    await writeFile(join(dir, path), code)
  }
  const [, path = '', changes = ''] = /^```diff (\S+)\n([\s\S]*?)^```$/m.exec(page) ?? []
  const [added, before, after] = changes.split('\n').map((line) => line.slice(1)) as [string, string, string]
  const registry = await readFile(join(dir, path), 'utf8')
  expect(registry).toContain(before)
  await writeFile(join(dir, path), `${added}\n${registry.replace(before, after)}`)
  const values = /^```yaml\n([\s\S]*?)^```$/m.exec(page)?.[1] ?? ''
  await writeFile(join(dir, 'values.yaml'), values.replaceAll(/path: \/(backups|data)/g, `path: ${dir}/$1`))
  await mkdir(join(dir, 'backups'))
  await mkdir(join(dir, 'data'))
})

afterAll(() => rm(dir, { recursive: true, force: true }))

async function holdfast(...args: string[]) {
  const child = run(join(dir, 'holdfast'), [...args, '--config', join(dir, 'values.yaml'), '--secrets-dir', dir])
  const { stdout, stderr, code } = await child.then((said) => ({ ...said, code: 0 })).catch((error) => error)
  return { stdout, stderr, code: code as number }
}

function rows(file: string) {
  const database = new DatabaseSync(join(dir, 'data', file), { readOnly: true })
  const found = database.prepare('SELECT id, text FROM notes ORDER BY id').all()
  database.close()
  return found
}

test('the engine that the page shows has no type errors', async () => {
  const { stdout } = await run(join(top, 'node_modules/.bin/tsc'), ['--noEmit', '-p', dir]).catch((error) => error)
  expect(stdout).toBe('')
}, 120_000)

test('the engine that the page shows backs up, restores once, and refuses what is not its own', async () => {
  const database = new DatabaseSync(join(dir, 'data/notes.sqlite'))
  database.exec(
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO notes VALUES (1, 'ein'), (2, NULL)",
  )
  database.close()
  expect(await holdfast('backup', 'nightly')).toMatchObject({ code: 0 })
  expect((await readdir(join(dir, 'backups/nightly'))).some((name) => name.endsWith('.json'))).toBe(true)
  const restored = await holdfast('restore', 'once')
  expect(restored).toMatchObject({ code: 0, stdout: expect.stringContaining('tables 1, rows 2') })
  expect(rows('restored.sqlite')).toEqual(rows('notes.sqlite'))
  expect((await holdfast('restore', 'once')).stdout).toContain('already restored')
  expect(await holdfast('restore', 'once', '--token', 'other')).toMatchObject({ code: 21 })
  expect(await holdfast('restore', 'once', '--token', 'other', '--overwrite')).toMatchObject({ code: 0 })
  const marker = { request: 'r', backupId: '1', plan: 'nightly', state: 'begun', creates: ['x'] }
  await writeFile(join(dir, 'data/notes.sqlite.holdfast'), JSON.stringify([marker]))
  expect(await holdfast('backup', 'nightly')).toMatchObject({ code: 25 })
  await rm(join(dir, 'data/notes.sqlite.holdfast'))
  await writeFile(join(dir, 'data/notes.sqlite'), 'no database, but long enough to be taken for one')
  expect(await holdfast('backup', 'nightly')).toMatchObject({ code: 22 })
}, 60_000)
