import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect } from 'vitest'
import { stringify } from 'yaml'
import { formatManifest, type Manifest } from '../../manifest.ts'
import { version } from '../../version.ts'
import type { Values, Workspace } from './harness.ts'

const main = join(import.meta.dirname, '../../main.ts')

/** A user's mistake, and what the job has to say about it. */
export interface Wrong {
  title: string
  /** The command line, cut at blanks. The flags of the workspace are added, unless it says `--config` itself. */
  run: string
  /** What the user got wrong in values that are right otherwise. */
  // biome-ignore lint/suspicious/noExplicitAny: values of a user can have any shape
  values?: ((values: any) => void) | undefined
  /** A program and its arguments that runs the job: in a namespace with other mounts. */
  through?: string[]
  /** More of the environment. */
  env?: Record<string, string | undefined>
  expects: Said
}

/** A part of the message and one of the hint; no hint where the message says all. */
export interface Said {
  code: number
  message: string | RegExp
  hint?: string | RegExp
}

export interface Refused {
  code: number
  message: string
  hint: string
  stdout: string
  stderr: string
}

let configs = 0

/** Runs the job with values that a change has spoilt. `dir`: of a workspace. */
export async function attempt({ dir, values }: Pick<Workspace, 'dir' | 'values'>, wrong: Wrong): Promise<Refused> {
  const config = join(dir, `wrong-${configs++}.yaml`)
  await writeFile(config, stringify(spoilt(values, wrong.values)))
  const args = wrong.run.split(' ').filter((word) => word !== '')
  const flags = /--config|^$/.test(wrong.run) ? [] : ['--config', config]
  for (const [flag, folder] of Object.entries({ secrets: 'secrets', tmp: 'tmp', volumes: 'volumes' }))
    if (args.length > 0 && !args.includes(`--${flag}-dir`)) flags.push(`--${flag}-dir`, join(dir, folder))
  const [file = '', ...before] = [...(wrong.through ?? []), process.execPath]
  const child = spawn(file, [...before, main, ...args, ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: dir,
    env: { ...process.env, ...wrong.env },
  })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk) => (stdout += chunk))
  child.stderr.on('data', (chunk) => (stderr += chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code: code ?? -1, ...sayings(stderr), stdout, stderr }
}

function spoilt(values: Values, change: Wrong['values']): Values {
  const copy = structuredClone(values)
  change?.(copy)
  return copy
}

/** The error and its hint: of the summary, of the last log line of a verb without one, or of a usage error. */
function sayings(stderr: string): { message: string; hint: string } {
  const lines = stderr.trim().split('\n')
  const last = lines.findLast((line) => line.startsWith('{'))
  if (last === undefined) return { message: lines[0] ?? '', hint: lines.slice(1).join('\n') }
  const { error, msg = '', hint = '' } = JSON.parse(last)
  return { message: error ?? msg, hint }
}

/** What every refusal has in common, whatever was wrong. */
export function expectRefusal(refused: Refused, { code, message, hint }: Said): void {
  expect(refused.stderr, 'a stack trace').not.toMatch(/^\s+at |"stack"|\.[tj]s:\d+:\d+|this is a bug/m)
  expect(refused.message).toMatch(message instanceof RegExp ? message : literally(message))
  expect(refused.hint).toMatch(hint === undefined ? /^/ : hint instanceof RegExp ? hint : literally(hint))
  expect(refused.code).toBe(code)
  expect(refused.message).not.toMatch(/(?<!received )undefined|\[object|NaN/)
}

function literally(text: string): RegExp {
  return new RegExp(text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
}

/** Paths and hashes of everything below a folder: equal when nothing was written. */
export async function contentsOf(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const hashes = files.sort().map(async (file) => {
    const hash = createHash('sha256').update(await readFile(file))
    return [file.slice(folder.length + 1), hash.digest('hex')] as const
  })
  return Object.fromEntries(await Promise.all(hashes))
}

/** Writes a file of a store, with the folders above it. */
export async function put(store: string, key: string, bytes: string | Buffer): Promise<void> {
  await mkdir(dirname(join(store, key)), { recursive: true })
  await writeFile(join(store, key), bytes)
}

/** Stores a backup of two data nodes as no cluster ever made it: only what a restore looks at before it asks servers is right. */
export async function putBackup(
  store: string,
  { plan, id, change = () => {} }: { plan: string; id: string; change?: (manifest: Manifest) => void },
): Promise<void> {
  const sql = '-- nothing\n'
  const nodes = [1, 2]
  const paths = ['databases.sql', 'users.sql', ...nodes.map((node) => `rondb/${node}/BACKUP-${id}.${node}.ctl`)]
  const sha256 = createHash('sha256').update(sql).digest('hex')
  const manifest: Manifest = {
    format: 1,
    id,
    plan,
    started: new Date(Number(id) * 1000).toISOString(),
    finished: new Date(Number(id) * 1000 + 60_000).toISOString(),
    jobVersion: version,
    conditionalPut: true,
    sources: [{ name: 'rondb', engine: 'rondb', server: { product: 'NDB', version: '9.7.2' }, tools: {}, facts: {} }],
    parts: paths.map((path) => ({ path, size: sql.length, sha256 })),
    warnings: [],
  }
  const table = { database: 'shop', name: 'orders', rows: [1, 1], records: [1, 1] }
  Object.assign(manifest.sources[0]?.facts ?? {}, {
    consistency: { snapshot: 'end', startGcp: 1, stopGcp: 2, epoch: '12884901887' },
    topology: { nodes: nodes.map((node) => ({ id: node, group: 0, parts: 1 })) },
    records: 1,
    logRecords: 0,
    bytes: 100,
    systemRecords: [0, 0],
    encrypted: false,
    databases: ['shop'],
    tables: [table],
    localTables: { names: [], dumped: false },
  })
  change(manifest)
  for (const path of paths) await put(store, `${plan}/${id}/${path}`, sql)
  await put(store, `${plan}/${id}.json`, formatManifest(manifest))
}
