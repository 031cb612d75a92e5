import { execFile, execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const execute = promisify(execFile)
const alive = new Set<string>()

/** A real server of the kit, on loopback with a port and a folder of its own. */
export interface Server {
  readonly dir: string
  readonly host: string
  readonly port: number
  /** Its superuser. */
  readonly user: string
  readonly password: string
  readonly socket: string
  readonly url: string
  /** PEM of the CA; only with `--tls`. */
  readonly caFile: string | undefined
  /** Folder of its own release's clients: what `clients` of the values names. */
  readonly clients: string
  /** Runs a client of its release, not logged in; resolves to what it printed. */
  client(program: string, args: string[], input?: string): Promise<string>
  restart(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** Again, as it was. */
  start(): Promise<void>
  destroy(): Promise<void>
}

/**
 * Starts a server by the kit's name (`mariadb-10.11`, `postgres-17`, `redis-8`, …); options as those of `servers start`.
 * Undefined, and a line why, where there is no kit; in CI that is an error.
 */
export async function startServer(name: string, ...options: string[]): Promise<Server | undefined> {
  const kit = kitProgram()
  if (!kit) return skipped(name)
  // a socket's path has at most 108 characters
  const dir = await mkdtemp(join(tmpdir(), 'hf-'))
  alive.add(dir)
  const servers = async (...args: string[]) => (await execute(kit, args, { maxBuffer: 64 * 1024 * 1024 })).stdout
  const destroy = async () => {
    await servers('destroy', dir)
    alive.delete(dir)
    await rm(dir, { recursive: true, force: true })
  }
  try {
    await servers('start', dir, name, ...options)
    const env = variables(await servers('env', dir, 'KIT_'))
    const needed = (key: string) => env.get(`KIT_${key}`) ?? ''
    return {
      dir,
      host: needed('HOST'),
      port: Number(needed('PORT')),
      user: needed('USER'),
      password: needed('PASSWORD'),
      socket: needed('SOCKET'),
      url: needed('URL'),
      caFile: env.get('KIT_CA_FILE'),
      clients: (await servers('path', name)).trim(),
      client: (program, args, input) => fed(kit, ['client', name, program, ...args], input),
      restart: async () => void (await servers('restart', dir)),
      kill: async () => void (await servers('kill', dir)),
      start: async () => void (await servers('start', dir, name)),
      destroy,
    }
  } catch (error) {
    await destroy().catch(() => {})
    throw error
  }
}

function kitProgram(): string | undefined {
  const top = fileURLToPath(new URL('../../../', import.meta.url))
  const program = join(process.env.HOLDFAST_TEST_KIT ?? join(top, '..', 'shared', 'kit'), 'servers', 'servers')
  return existsSync(program) ? program : undefined
}

function skipped(name: string): undefined {
  const reason = `no ${name}: put the kit of test servers beside the checkout, or name its folder in HOLDFAST_TEST_KIT`
  if (process.env.CI) throw new Error(reason)
  console.log(`skipped, ${reason}`)
}

/** `export A='b' C=d` and lines of it, as shells read them. */
function variables(text: string): Map<string, string> {
  const found = text.matchAll(/\b([A-Z_]+)=(?:'([^']*)'|"([^"]*)"|(\S*))/g)
  return new Map([...found].map(([, name = '', single, double, bare]) => [name, single ?? double ?? bare ?? '']))
}

function fed(file: string, args: string[], input: string | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(file, args, { maxBuffer: 256 * 1024 * 1024 }, (error, stdout, stderr) =>
      error ? reject(new Error(`${args.slice(2).join(' ')}: ${stderr || error.message}`)) : resolve(stdout),
    )
    child.stdin?.end(input ?? '')
  })
}

/** Servers of a test file that ended early. */
process.once('exit', () => {
  const kit = kitProgram()
  if (kit) for (const dir of alive) execFileSync(kit, ['destroy', dir], { stdio: 'ignore' })
})
