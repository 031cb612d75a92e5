import { JobError, type JobErrorOptions } from '../errors.ts'

/** What a failure was about, for its text. */
export interface Server {
  /** Of the storage. */
  name: string
  /** Values path of its options. */
  at: string
  remote: string
  path: string
}

interface Trouble extends JobErrorOptions {
  text: string
  kind?: 'configuration'
}

/** A failure that rclone told, in the words of the remote or in its own. */
export class RcloneError extends JobError {
  /** There is no such object, folder or bucket. */
  readonly missing: boolean

  constructor(
    said: string,
    { operation, missing = false, ...server }: Server & { operation: string; missing?: boolean },
  ) {
    const { text, kind = 'storage', ...options } = troubleOf(said, server)
    super(kind, `storage ${server.name} (${server.remote}:${server.path}): ${operation}: ${text}`, {
      cause: new Error(said),
      ...options,
    })
    this.missing = missing || /not a directory$|is a directory not a file|object not found/.test(said)
  }
}

function troubleOf(said: string, server: Server): Trouble {
  const [, trouble] = troubles.find(([pattern]) => pattern.test(said)) ?? []
  // rclone has tried again by itself what its remotes know to pass
  return trouble?.(server) ?? { text: 'failed' }
}

/** The first that fits. rclone hands on what some seventy kinds of servers say: these are the words that they share. */
const troubles: [RegExp, (server: Server) => Trouble][] = [
  [
    /find section in config file/i,
    ({ at, remote }) => ({
      kind: 'configuration',
      text: `the config file has no remote ${remote}`,
      hint: `correct ${at}.remote, or add the section [${remote}] to the file`,
    }),
  ],
  [
    /find backend called|unknown backend/i,
    () => ({
      kind: 'configuration',
      text: 'this rclone does not know the type of the remote',
      hint: 'correct `type` in the config file, or use a newer rclone',
    }),
  ],
  [
    /decrypt|ask for password/i,
    ({ at }) => ({
      kind: 'configuration',
      text: 'the config file is encrypted, and cannot be read',
      hint: `put its password into ${at}.configPassword`,
    }),
  ],
  [
    /load config file|could not parse line/i,
    ({ at }) => ({
      kind: 'configuration',
      text: 'the config file cannot be read',
      hint: `${at}.config names a file as \`rclone config\` writes it`,
    }),
  ],
  [
    /no space left|disk full|disk quota|insufficient.?(storage|space)|(quota|storage).?(limit.?)?exceeded|over.?quota|StorageFull|\b507\b|not enough space/i,
    () => ({ text: 'the storage is full', hint: 'make it larger, or keep fewer backups' }),
  ],
  [
    /NoSuchBucket|ContainerNotFound|(bucket|container)\b.*(not found|not exist)/i,
    ({ at, path, remote }) => ({
      text: `there is no bucket ${bucketOf(path)}`,
      hint: `create it, or correct ${at}.path; or the account of [${remote}] does not see it`,
    }),
  ],
  [
    /InvalidAccessKey|SignatureDoesNotMatch|AuthorizationHeaderMalformed|AuthenticationFailed|unable to authenticate|authentication failed|Login incorrect|invalid_(grant|client)|(fetch|empty|expired).{0,9}token|token.{0,9}expired|Unauthorized|NoCredentialProviders|\b(401|530)\b/i,
    ({ remote }) => ({
      text: 'the server refuses the credentials',
      hint: `correct them in the section [${remote}] of the config file; \`rclone config reconnect\` renews tokens`,
    }),
  ],
  [
    /AccessDenied|Forbidden|permission denied|insufficientPermission|access is denied|\b403\b/i,
    ({ remote }) => ({
      text: 'access denied',
      hint: `the account of the section [${remote}] needs to list, read, write and delete there; or its keys are wrong`,
    }),
  ],
  [/read-only file system/i, () => ({ text: 'the storage is read-only', hint: 'mount the volume writable' })],
  [
    /knownhosts|host key/i,
    () => ({
      text: 'the key of the host is not the one expected',
      hint: 'correct `known_hosts_file` in the config file',
    }),
  ],
  [
    /unknown authority|x509/i,
    ({ at }) => ({
      text: 'the certificate of the server is not trusted',
      hint: `name its authority in ${at}.tls.ca`,
    }),
  ],
  [
    /HTTP response to HTTPS client|first record does not look like a TLS handshake/i,
    () => ({
      kind: 'configuration',
      text: 'the server does not speak TLS',
      hint: 'write http:// in the endpoint of the config file',
    }),
  ],
  [
    /no such host/i,
    () => ({
      text: 'the name of the server is unknown',
      hint: 'correct it in the config file; does DNS work in the pod?',
    }),
  ],
  [
    /connection refused/i,
    () => ({
      text: 'nobody listens at the server',
      hint: 'is the server up? correct its address in the config file otherwise',
      retryable: true,
    }),
  ],
  [
    /no route to host|network is unreachable/i,
    () => ({ text: 'no way to the server', hint: 'does a network policy forbid it?', retryable: true }),
  ],
  [/timeout|timed out|deadline exceeded/i, () => ({ text: 'no answer in time', retryable: true })],
  [
    /connection reset|broken pipe|connection broke|use of closed|unexpected EOF|\bEOF$|socket hang up/i,
    () => ({ text: 'the connection broke', retryable: true }),
  ],
  [
    /SlowDown|rate.?limit|too many requests|InternalError|ServiceUnavailable|\b(429|500|502|503|504)\b/i,
    () => ({ text: 'the server asks to try again later', retryable: true }),
  ],
]

function bucketOf(path: string): string {
  return path.split('/').find((word) => word !== '') ?? path
}

/**
 * Makes texts fit to be shown: on one line, without what the config file keeps secret. Addresses lose their queries: there
 * signatures and tokens stand.
 */
export function redactor(config: string): (text: string) => string {
  const secrets = secretsIn(config)
  return (text) => {
    const bare = text
      .replaceAll(/([a-z]+:\/\/)[^\s/@"']+@/gi, '$1')
      .replaceAll(/([a-z]+:\/\/[^\s"'?]+)\?[^\s"']*/gi, '$1?…')
      .replaceAll(/(could not parse line).*/gi, '$1')
    return secrets
      .reduce((shown, secret) => shown.replaceAll(secret, '…'), bare)
      .replaceAll(/\s*[\n\t]+\s*/g, ' ')
      .trim()
  }
}

/** The values whose keys sound like it; of a token, which is JSON, every text in it. */
function secretsIn(config: string): string[] {
  const found = [...config.matchAll(/^\s*\S*(?:pass|secret|key|token|auth|sas|cred)\S*\s*=\s*(.+?)\s*$/gim)].map(
    ([, value = '']) => value,
  )
  const texts = found.flatMap((value) => [
    value,
    ...[...value.matchAll(/"([^"]{8,})"/g)].map(([, inner = '']) => inner),
  ])
  return texts.filter((value) => value.length >= 6).toSorted((a, b) => b.length - a.length)
}
