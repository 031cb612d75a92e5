import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { JobError, textOf } from '../errors.ts'
import { client, clientVersions } from '../io/clients.ts'
import { type Daemon, startDaemon } from '../io/daemon.ts'
import { RcloneError, redactor, type Server } from './rclone-errors.ts'
import { type Answer, NoAnswer, type RcloneHttp, rcloneHttp } from './rclone-http.ts'
import type { RcloneOptions } from './rclone-values.ts'

export interface Asking {
  /** `put nightly/1795218000.json`, for errors. */
  operation: string
  signal?: AbortSignal | undefined
  /** For the answer; ten times the timeout of a server's silence unless told. */
  limitMs?: number
}

/** rclone as a program that serves us. Every failure is a JobError. */
export interface Rclone {
  call(method: string, parameters: object, asking: Asking): Promise<Record<string, unknown>>
  upload(place: { folder: string; file: string }, chunks: AsyncIterable<Buffer>, asking: Asking): Promise<void>
  open(key: string, headers: OutgoingHttpHeaders, asking: Asking): Promise<IncomingMessage>
  /** A folder of ours alone, for small files that rclone is to copy. */
  readonly spool: string
  /** `remote:path` */
  readonly root: string
  /** Removes the config file, which has a name and which rclone has read at the first call: what is killed leaves no secrets behind. */
  hideConfig(): Promise<void>
  /** Resolves when it has ended, whyever. */
  readonly ended: Promise<unknown>
  stop(): Promise<void>
}

export interface RcloneTexts {
  config: string
  configPassword?: string
  /** Authorities, PEM */
  trusted: string[]
}

const oldest = [1, 60]
const startMs = 60_000

/** Starts rclone with a copy of its config that it may write to: it refreshes tokens. Needs about 150 ms. */
export async function startRclone(options: RcloneOptions, texts: RcloneTexts, server: Server): Promise<Rclone> {
  await requireVersion(options, server)
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-rclone-'))
  const discard = () => rm(folder, { recursive: true, force: true })
  const login = { user: 'holdfast', password: randomBytes(24).toString('base64url') }
  const shown = redactor(texts.config)
  try {
    const spool = join(folder, 'spool')
    await mkdir(spool)
    const config = join(folder, 'rclone.conf')
    await writeFile(config, texts.config, { mode: 0o600 })
    await writeFile(join(folder, 'ca.pem'), texts.trusted.join('\n'))
    const daemon = await startDaemon(
      {
        file: client('rclone', options.clients),
        args: ['rcd', '--config', config, '--rc-addr', '127.0.0.1:0', '--rc-serve'],
        env: { ...settings(options, folder, texts), RCLONE_RC_USER: login.user, RCLONE_RC_PASS: login.password },
        graceMs: 5000,
      },
      { ready: /Serving remote control on (http:\S+)/, limitMs: startMs },
    )
    const ended = daemon.ended.then((how) => discard().then(() => how))
    return running({
      config,
      daemon: { ...daemon, ended },
      http: rcloneHttp({ url: daemon.found[1] as string, ...login }),
      spool,
      shown,
      options,
      server,
    })
  } catch (error) {
    await discard()
    if (error instanceof JobError) throw error
    throw new RcloneError(shown(textOf(error)), { ...server, operation: 'start rclone' })
  }
}

/**
 * As variables of rclone's: in argv everybody could read them. RCLONE_CONFIG_PASS, and RCLONE_RC_PASS beside these, are secret: rclone takes
 * no nameless file for them (docs/security.md). What the pod sets applies too.
 */
function settings(
  { timeoutSeconds, tls }: RcloneOptions,
  folder: string,
  { configPassword }: RcloneTexts,
): Record<string, string> {
  return {
    RCLONE_ASK_PASSWORD: 'false',
    ...(configPassword === undefined ? {} : { RCLONE_CONFIG_PASS: configPassword }),
    RCLONE_CA_CERT: join(folder, 'ca.pem'),
    RCLONE_NO_CHECK_CERTIFICATE: `${tls.insecureSkipVerify}`,
    RCLONE_CACHE_DIR: join(folder, 'cache'),
    RCLONE_RC_NO_AUTH: 'false',
    // of a whole request; an hour unless told
    RCLONE_RC_SERVER_READ_TIMEOUT: '8760h',
    RCLONE_RC_SERVER_WRITE_TIMEOUT: '8760h',
    RCLONE_TIMEOUT: `${timeoutSeconds}s`,
    RCLONE_CONTIMEOUT: `${Math.min(timeoutSeconds, 10)}s`,
    RCLONE_LOW_LEVEL_RETRIES: '5',
    // a body that breaks off within the cutoff would be stored as if it were whole
    RCLONE_STREAMING_UPLOAD_CUTOFF: '0',
    // what is put replaces what is there, however equal they look
    RCLONE_IGNORE_TIMES: 'true',
    // its own time of change costs a request for each object in a list
    RCLONE_USE_SERVER_MODTIME: 'true',
    RCLONE_BUFFER_SIZE: '1M',
    // its S3 client fails where a bundle is named; `tls.ca` is for that
    AWS_CA_BUNDLE: '',
    // a bucket is not made by a typing error
    RCLONE_S3_NO_CHECK_BUCKET: 'true',
    RCLONE_GCS_NO_CHECK_BUCKET: 'true',
    RCLONE_AZUREBLOB_NO_CHECK_CONTAINER: 'true',
  }
}

async function requireVersion({ clients }: RcloneOptions, { name, at }: Server): Promise<void> {
  const signal = AbortSignal.timeout(startMs)
  const versionIn = (text: string) => /rclone v(\d+\.\d+\.\d+)/.exec(text)?.[1]
  const { rclone = '' } = await clientVersions(['rclone'], { folder: clients, signal, versionIn })
  const [major = 0, minor = 0] = rclone.split('.').map(Number)
  if (major > 1 || (major === oldest[0] && minor >= (oldest[1] as number))) return
  throw new JobError('configuration', `storage ${name}: rclone ${rclone} is too old`, {
    hint: `${oldest.join('.')} is the first that will do; name the folder of another in ${at}.clients`,
  })
}

interface Running {
  config: string
  daemon: Daemon
  http: RcloneHttp
  spool: string
  shown: (text: string) => string
  options: RcloneOptions
  server: Server
}

function running({ config, daemon, http, spool, shown, options, server }: Running): Rclone {
  const root = `${options.remote}:${options.path}`
  const limitMs = 10_000 * options.timeoutSeconds

  async function explained<T>({ operation, signal }: Asking, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof NoAnswer) throw await goneWith(error, operation)
      throw error
    }
  }

  /** The connection breaks a moment before the end of rclone is known. */
  async function goneWith({ message }: NoAnswer, operation: string): Promise<JobError> {
    const how = await Promise.race([daemon.ended, setTimeout(1000, undefined, { ref: false })])
    if (how === undefined) return new RcloneError(shown(lastError(daemon) ?? message), { ...server, operation })
    const said = shown(daemon.said().slice(-3).join(' · '))
    // by itself it ends only for what it cannot do without, such as its config
    if (/^\d+$/.test(how)) return new RcloneError(said, { ...server, operation })
    const text = `storage ${server.name} (${root}): ${operation}: rclone ended with ${how}`
    const hint = how === 'SIGKILL' ? 'has the pod too little memory?' : undefined
    return new JobError('storage', text, { cause: new Error(said), hint, retryable: true })
  }

  function refuse({ status, body }: Answer, operation: string): void {
    if (status === 200) return
    const missing = status === 404
    throw new RcloneError(shown(errorIn(body)), { ...server, operation, missing })
  }

  return {
    spool,
    root,
    hideConfig: () => rm(config, { force: true }),
    ended: daemon.ended,
    call: (method, parameters, asking) =>
      explained(asking, async () => {
        const answer = await http.call(method, parameters, { limitMs, ...asking })
        refuse(answer, asking.operation)
        return JSON.parse(answer.body)
      }),
    upload: (place, chunks, asking) =>
      explained(asking, async () => {
        const answer = await http.upload({ fs: root, ...place }, chunks, { limitMs, ...asking })
        refuse(answer, asking.operation)
      }),
    open: (key, headers, asking) =>
      explained(asking, async () => {
        const path = `%5B${encodeURIComponent(root)}%5D/${key.split('/').map(encodeURIComponent).join('/')}`
        const answer = await http.open(path, headers, { limitMs, ...asking })
        const status = answer.statusCode ?? 0
        if (status === 200 || status === 206) return answer
        const body = (await answer.toArray().catch(() => [])).join('')
        throw new RcloneError(shown(errorIn(body)), { ...server, operation: asking.operation, missing: status === 404 })
      }),
    async stop() {
      http.close()
      await daemon.stop()
      await daemon.ended
    },
  }
}

/** The answer of a failed call is JSON, that of a failed read may be plain. */
function errorIn(body: string): string {
  try {
    const { error } = JSON.parse(body) as { error?: unknown }
    return String(error ?? body)
  } catch {
    return body
  }
}

/** rclone closes the connection of an upload that it gives up: then only its log says why. */
function lastError(daemon: Daemon): string | undefined {
  const line = daemon.said().findLast((said) => / ERROR : /.test(said))
  return line?.replace(/^.* ERROR : /, '')
}
