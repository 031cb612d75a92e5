import yargs, { type Argv } from 'yargs'
import type { Settings } from './config.ts'
import type { Format } from './io/print.ts'
import { adopt } from './verbs/adopt.ts'
import { backup } from './verbs/backup.ts'
import { check } from './verbs/check.ts'
import { copy } from './verbs/copy.ts'
import { exported } from './verbs/export.ts'
import { imported } from './verbs/import.ts'
import { list } from './verbs/list.ts'
import { pin, unpin } from './verbs/pin.ts'
import { prune } from './verbs/prune.ts'
import { restore } from './verbs/restore.ts'
import { rewrap } from './verbs/rewrap.ts'
import { show } from './verbs/show.ts'
import { unpack } from './verbs/unpack.ts'
import type { Flags, Verb } from './verbs/verb.ts'
import { verify } from './verbs/verify.ts'
import { worker } from './verbs/worker.ts'

/** In the order of the help. */
const verbs = [
  backup,
  restore,
  check,
  list,
  show,
  verify,
  prune,
  pin,
  unpin,
  rewrap,
  adopt,
  copy,
  exported,
  imported,
  unpack,
  worker,
]

type AskedOf<V> = V extends Verb<infer Asked> ? Asked : never
type Asked = AskedOf<(typeof verbs)[number]>

/** What the command line asks for. No logic here: flags in, a Request out. */
export type Request = { settings: Settings & { logLevel: string }; output: Format } & Asked

/** Thrown for flags that cannot be right. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

interface Common {
  config: string | undefined
  secretsDir: string | undefined
  volumesDir: string | undefined
  tmpDir: string | undefined
  logLevel: string
  output: Format
}

/** Undefined when the command line was only asked for help, the version or completion, which has been printed then. */
export async function parse(args: string[], version: string): Promise<Request | undefined> {
  let request: Request | undefined
  const took = (asked: Asked, flags: Flags) => {
    const { config, secretsDir, volumesDir, tmpDir, logLevel, output } = flags as unknown as Common
    request = { settings: { config, secretsDir, volumesDir, tmpDir, logLevel }, output, ...dashed(asked, args) }
  }
  const parser = common(
    yargs()
      .scriptName('holdfast')
      .usage('$0 <verb>\n\nBacks up and restores RonDB (NDB) with everything needed to trust the result.'),
  )
  for (const verb of verbs) verb.addTo(parser, took)
  parser
    .completion('completion', 'print a script for shell completion: holdfast completion >> ~/.bashrc')
    .demandCommand(1, 'name a verb, such as: holdfast list')
    .strict()
    .version(version)
    .help()
    .exitProcess(false)
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .epilogue(
      'Exit codes: 0 done · 1 bug · 2 configuration · 20 nothing matches · 21 target not empty · 22 server · 23 storage · 24 verification failed · 25 busy · 130/143 interrupted.\nAll values: docs/values.md. Backup and restore by hand: docs/restore-by-hand.md.',
    )
    .check(givenOnce)
    .fail((message, error) => {
      // what yargs itself finds wrong comes as a message, as a text or as a YError
      if (error instanceof Error && error.name !== 'YError') throw error
      throw new UsageError(message || String(error))
    })
  await parser.parseAsync(args)
  return request
}

/** yargs gives an empty text for a lone dash. */
function dashed(asked: Asked, args: readonly string[]): Asked {
  if (!('file' in asked) || asked.file !== '') return asked
  if (!args.includes('-')) throw new UsageError('name a file, or -')
  return { ...asked, file: '-' }
}

/** Only a list can be given several times. */
function givenOnce(flags: Record<string, unknown>): true | string {
  const [verb] = flags._ as string[]
  const lists = ['_', ...(verb === 'copy' ? ['from', 'to'] : []), 'storage', 'source', 'exclude', 'only']
  const twice = Object.keys(flags).find(
    (flag) => flag.length > 1 && Array.isArray(flags[flag]) && !lists.includes(flag),
  )
  return twice === undefined || `--${twice} is there twice`
}

function common(y: Argv): Argv {
  return y
    .option('config', {
      alias: 'c',
      type: 'string',
      requiresArg: true,
      describe: 'file with storages, backups and restores; HOLDFAST_CONFIG, or holdfast.yaml',
    })
    .option('secrets-dir', {
      type: 'string',
      requiresArg: true,
      describe: 'folder with a folder for each Secret; HOLDFAST_SECRETS_DIR, or /secrets',
    })
    .option('volumes-dir', {
      type: 'string',
      requiresArg: true,
      describe: 'folder with a folder for each claim of a filesystem storage; HOLDFAST_VOLUMES_DIR, or /volumes',
    })
    .option('tmp-dir', {
      type: 'string',
      requiresArg: true,
      describe: "folder for temporary files; HOLDFAST_TMP_DIR, or the system's",
    })
    .option('output', {
      alias: 'o',
      choices: ['table', 'json', 'yaml'] as const,
      default: 'table' as const,
      describe: 'format of the result on standard output',
    })
    .option('log-level', {
      choices: ['debug', 'info', 'warn', 'error'] as const,
      default: 'info' as const,
      describe: 'least level of log lines on standard error',
    })
}
