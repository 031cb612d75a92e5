import { spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { bytesOf } from '../../catalog/layout.ts'
import { contentOf } from '../../io/parts.ts'
import type { Manifest } from '../../manifest.ts'
import type { NdbCluster } from '../servers/ndb.ts'

const top = join(import.meta.dirname, '../../..')

/** Passwords that must be found nowhere but in the files of the secrets folder. */
export const secrets = {
  database: 'pw-Rk4Qz9-database',
  app: 'pw-Tn7Wx2-app',
  native: 'pw-Lm5Vb8-native',
  s3: 'testtesttest',
}

/** What one run of the command said. */
export interface Ran {
  code: number
  stdout: string
  stderr: string
  /** The last log line of a run. */
  summary: Record<string, unknown> & { error?: string; hint?: string; warnings?: string[]; backup?: string }
}

export interface Workspace {
  readonly dir: string
  /** The folder of the file system storage `local`. */
  readonly store: string
  /** Runs the command with the values that are set now. Fails the test when a secret shows in what it printed. */
  holdfast(...args: string[]): Promise<Ran>
  /** The same, but the process is handed out: for runs that are held and killed. */
  start(...args: string[]): Started
  values: Values
  /** More of the environment of the runs. */
  env: Record<string, string>
  secret(name: string, keys: Record<string, string>): Promise<void>
  manifest(plan: string, id: string): Promise<Manifest>
  remove(): Promise<void>
}

export interface Values {
  storages: Record<string, unknown>
  backups: Record<string, Record<string, unknown>>
  restores: Record<string, Record<string, unknown>>
}

export interface Started {
  pid: number
  done: Promise<Ran>
  /** Resolves when the log has such a text. */
  says(text: string): Promise<void>
  kill(signal: NodeJS.Signals): void
}

/** A folder with a config file, secrets and a file system storage. */
export async function openWorkspace(): Promise<Workspace> {
  const dir = await mkdtemp(join(tmpdir(), 'hf-work-'))
  const store = join(dir, 'store')
  const tmp = join(dir, 'tmp')
  await mkdir(store)
  await mkdir(tmp)
  const workspace: Workspace = {
    dir,
    store,
    values: { storages: { local: { filesystem: { path: store } } }, backups: {}, restores: {} },
    env: {},
    holdfast: async (...args) => workspace.start(...args).done,
    start: (...args) => startJob({ dir, tmp, values: workspace.values, env: workspace.env, args }),
    secret: async (name, keys) => {
      await mkdir(join(dir, 'secrets', name), { recursive: true })
      for (const [key, value] of Object.entries(keys))
        await writeFile(join(dir, 'secrets', name, key), value, { mode: 0o600 })
    },
    manifest: async (plan, id) => JSON.parse(await readFile(join(store, plan, `${id}.json`), 'utf8')),
    remove: () => rm(dir, { recursive: true, force: true }),
  }
  await workspace.secret('db', { username: 'hf', password: secrets.database })
  await workspace.secret('native', { password: secrets.native })
  await workspace.secret('app', { shopper: secrets.app })
  await workspace.secret('s3', { 'access-key-id': 'test', 'secret-access-key': secrets.s3 })
  return workspace
}

/** The run must end with 0; its own error is the test's message otherwise. */
export async function succeeds(run: Promise<Ran>): Promise<Ran> {
  const ran = await run
  if (ran.code !== 0) throw new Error(`exit ${ran.code}: ${ran.summary.error ?? ran.stderr}`)
  return ran
}

/** Bytes that those of a backup's parts were made of whose path matches: what a restore says to have read. */
export async function bytesIn(workspace: Workspace, { plan, id, path }: { plan: string; id: unknown; path: RegExp }) {
  const { parts } = await workspace.manifest(plan, String(id))
  return bytesOf(parts.filter((part) => path.test(part.path)).map(contentOf))
}

let configs = 0

interface Start {
  dir: string
  tmp: string
  values: Values
  env: Record<string, string>
  args: string[]
}

function startJob({ dir, tmp, values, env, args }: Start): Started {
  const config = join(dir, `values-${configs++}.yaml`)
  const written = writeFile(config, stringify(values))
  let child: ReturnType<typeof spawn> | undefined
  const said = { stdout: '', stderr: '' }
  const heard = new EventEmitter()
  const done = written.then(async () => {
    const flags = ['--config', config, '--secrets-dir', join(dir, 'secrets'), '--tmp-dir', tmp]
    child = spawn(process.execPath, [join(top, 'job/main.ts'), ...args, ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    })
    child.stdout?.on('data', (chunk) => (said.stdout += chunk))
    child.stderr?.on('data', (chunk) => {
      said.stderr += chunk
      heard.emit('more')
    })
    const [code] = (await once(child, 'close')) as [number | null]
    refuseSecrets(said)
    return { code: code ?? -1, ...said, summary: lastLog(said.stderr) }
  })
  return {
    get pid() {
      return child?.pid ?? 0
    },
    done,
    says: async (text) => {
      while (!said.stderr.includes(text)) await once(heard, 'more')
    },
    kill: (signal) => child?.kill(signal),
  }
}

function lastLog(stderr: string): Ran['summary'] {
  const last = stderr
    .trim()
    .split('\n')
    .findLast((line) => line.startsWith('{'))
  return last ? JSON.parse(last) : {}
}

/** No run of any test may show a password. */
export function refuseSecrets(said: Record<string, string>): void {
  for (const [where, text] of Object.entries(said)) {
    for (const [name, secret] of Object.entries(secrets)) {
      if (text.includes(secret)) throw new Error(`${where} shows the password of ${name}`)
    }
  }
}

/** A plan's source for a cluster; more values go on top. */
export function sourceOf(cluster: NdbCluster, more: Record<string, unknown> = {}) {
  return {
    name: 'rondb',
    rondb: {
      ...connectionOf(cluster),
      files: { access: 'local', path: cluster.backupFolder(0).replace('/0/', '/{node}/') },
      ...more,
    },
  }
}

/** A restore's target for a cluster. */
export function targetOf(cluster: NdbCluster, more: Record<string, unknown> = {}) {
  return { name: 'rondb', rondb: { ...connectionOf(cluster), ...more } }
}

function connectionOf(cluster: NdbCluster) {
  return {
    managementServers: [cluster.connectString],
    clients: cluster.binDir,
    mysql: {
      servers: cluster.mysql.map(({ host, port }) => `${host}:${port}`),
      credentials: { secret: 'db' },
      tls: { mode: 'disabled' },
    },
  }
}

/** The account that the job uses; its password is one of the secrets. */
export async function prepareAccount(cluster: NdbCluster): Promise<void> {
  for (const server of cluster.mysql.keys()) {
    await cluster.sql(
      `CREATE USER IF NOT EXISTS hf@'%' IDENTIFIED BY '${secrets.database}'; GRANT ALL ON *.* TO hf@'%' WITH GRANT OPTION`,
      server,
    )
  }
}

/** Drops everything that a user or a restore made, so that a cluster is an empty target again. */
export async function emptyCluster(cluster: NdbCluster): Promise<void> {
  for (const server of cluster.mysql.keys()) {
    const databases = await cluster.sql<{ name: string }>(
      "SELECT schema_name AS name FROM information_schema.schemata WHERE schema_name NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys', 'ndbinfo')",
      server,
    )
    for (const { name } of databases)
      await cluster.sql(`SET foreign_key_checks = 0; DROP DATABASE IF EXISTS \`${name}\``, server)
    const accounts = await cluster.sql<{ name: string }>(
      "SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) AS name FROM mysql.user WHERE user NOT IN ('root', 'hf', 'backup', 'mysql.sys', 'mysql.session', 'mysql.infoschema')",
      server,
    )
    for (const { name } of accounts) await cluster.sql(`DROP USER IF EXISTS ${name}`, server)
  }
}

/** Compares what a server holds with what was saved; the differences as text, empty when there are none. */
export async function compare(...args: string[]): Promise<string> {
  const child = spawn(process.execPath, [
    join(top, 'test_scripts/compare.ts'),
    ...args,
    '--except-account',
    'hf@%',
    '--except-account',
    'backup@%',
  ])
  let said = ''
  child.stdout.on('data', (chunk) => (said += chunk))
  child.stderr.on('data', (chunk) => (said += chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  return code === 0 ? '' : said || `compare ended with ${code}`
}
