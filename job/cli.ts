import yargs, { type Argv } from 'yargs'
import type { Settings } from './config.ts'
import type { Format } from './io/print.ts'

/** What the command line asks for. No logic here: flags in, a Request out. */
export type Request = { settings: Settings & { logLevel: string }; output: Format } & (
  | { verb: 'backup'; plan: string; resume: string | undefined; dryRun: boolean }
  | {
      verb: 'restore'
      restore: string | undefined
      backup: string | undefined
      pick: string | undefined
      overwrite: boolean | undefined
      token: string | undefined
      sources: string[] | undefined
      /** Not these sources. */
      exclude: string[] | undefined
      dryRun: boolean
    }
  | { verb: 'check'; plan: string }
  | {
      verb: 'list'
      plan: string | undefined
      storages: string[] | undefined
      runs: boolean
      why: boolean
      last: number | undefined
    }
  | { verb: 'show'; plan: string; pick: string; storages: string[] | undefined }
  | {
      verb: 'verify'
      plan: string
      pick: string | undefined
      all: boolean
      level: 'present' | 'content' | 'readable'
      /** Of the bytes, more than 0 to 1. */
      sample: number | undefined
      seed: number | undefined
      storages: string[] | undefined
    }
  | { verb: 'prune'; plan: string; dryRun: boolean; storages: string[] | undefined }
  | { verb: 'pin'; plan: string; id: string; note: string | undefined; storages: string[] | undefined }
  | { verb: 'unpin'; plan: string; id: string; storages: string[] | undefined }
  | { verb: 'rewrap'; plan: string; pick: string | undefined; dryRun: boolean; storages: string[] | undefined }
  | {
      verb: 'adopt'
      plan: string
      id: string
      storage: string
      decryptionSecret: string | undefined
      decryptionKey: string
      clients: string | undefined
      dryRun: boolean
    }
  | {
      verb: 'export'
      plan: string
      pick: string
      file: string
      overwrite: boolean
      storages: string[] | undefined
    }
  | { verb: 'import'; file: string; storage: string }
  | {
      verb: 'copy'
      name: string
      pick: string | undefined
      from: string[] | undefined
      to: string[] | undefined
      dryRun: boolean
    }
  | {
      verb: 'unpack'
      plan: string | undefined
      pick: string | undefined
      from: string | undefined
      /** A file of age identities, with `from`. */
      identity: string | undefined
      to: string
      sources: string[] | undefined
      only: string[] | undefined
      overwrite: boolean
      storages: string[] | undefined
    }
  | { verb: 'worker' }
)

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
  const asked =
    <T>(build: (flags: T & Common) => Record<string, unknown>) =>
    (flags: unknown) => {
      const { config, secretsDir, volumesDir, tmpDir, logLevel, output } = flags as Common
      request = {
        settings: { config, secretsDir, volumesDir, tmpDir, logLevel },
        output,
        ...build(flags as T & Common),
      } as Request
    }
  /** yargs gives an empty text for a lone dash. */
  const dashed = (file: string) => {
    if (file !== '') return file
    if (args.includes('-')) return '-'
    throw new UsageError('name a file, or -')
  }
  const parser = common(
    yargs()
      .scriptName('holdfast')
      .usage('$0 <verb>\n\nBacks up and restores RonDB (NDB) with everything needed to trust the result.'),
  )
    .command(
      'backup <plan>',
      'take a backup of a plan',
      (y) => backupFlags(y),
      asked<{ plan: string; resume?: string; dryRun: boolean }>(({ plan, resume, dryRun }) => ({
        verb: 'backup',
        plan,
        resume: resume === '' ? 'latest' : resume,
        dryRun,
      })),
    )
    .command(
      'restore [restore]',
      'restore a backup into a target',
      (y) => restoreFlags(y),
      asked<RestoreFlags>(({ restore, backup, pick, overwrite, token, source, exclude, dryRun }) => ({
        verb: 'restore',
        restore,
        backup,
        pick,
        overwrite,
        token,
        sources: source,
        exclude,
        dryRun,
      })),
    )
    .command(
      'check <plan>',
      'see whether a backup could be taken now; writes nothing',
      (y) => plan(y),
      asked<{ plan: string }>((flags) => ({ verb: 'check', plan: flags.plan })),
    )
    .command(
      'list [plan]',
      'list backups, newest first',
      (y) => listFlags(y),
      asked<{ plan?: string; storage?: string[]; runs: boolean; why: boolean; last?: number }>((flags) => ({
        verb: 'list',
        plan: flags.plan,
        storages: flags.storage,
        runs: flags.runs,
        why: flags.why,
        last: flags.last,
      })),
    )
    .command(
      'show <plan> [pick]',
      'show one backup',
      (y) => showFlags(y),
      asked<{ plan: string; pick: string; storage?: string[] }>((flags) => ({
        verb: 'show',
        plan: flags.plan,
        pick: flags.pick,
        storages: flags.storage,
      })),
    )
    .command(
      'verify <plan> [pick]',
      'check backups against their manifests',
      (y) => verifyFlags(y),
      asked<VerifyFlags>(({ plan, pick, all, level, sample, seed, storage }) => ({
        verb: 'verify',
        plan,
        pick,
        all,
        level,
        sample: sample === undefined ? undefined : fractionOf(sample),
        seed,
        storages: storage,
      })),
    )
    .command(
      'prune <plan>',
      "apply a plan's retention and sweep leftovers of failed runs",
      (y) => dryRun(storages(plan(y))),
      asked<{ plan: string; dryRun: boolean; storage?: string[] }>((flags) => ({
        verb: 'prune',
        plan: flags.plan,
        dryRun: flags.dryRun,
        storages: flags.storage,
      })),
    )
    .command(
      'pin <plan> <id>',
      'keep a backup whatever the retention says',
      (y) => pinFlags(y),
      asked<{ plan: string; id: string; note?: string; storage?: string[] }>((flags) => ({
        verb: 'pin',
        plan: flags.plan,
        id: flags.id,
        note: flags.note,
        storages: flags.storage,
      })),
    )
    .command(
      'unpin <plan> <id>',
      'leave a backup to the retention again',
      (y) => storages(id(plan(y))),
      asked<{ plan: string; id: string; storage?: string[] }>((flags) => ({
        verb: 'unpin',
        plan: flags.plan,
        id: flags.id,
        storages: flags.storage,
      })),
    )
    .command(
      'rewrap <plan> [pick]',
      'give encrypted backups to the recipients that the values name now',
      (y) => dryRun(storages(pick(plan(y), undefined))),
      asked<{ plan: string; pick?: string; dryRun: boolean; storage?: string[] }>((flags) => ({
        verb: 'rewrap',
        plan: flags.plan,
        pick: flags.pick,
        dryRun: flags.dryRun,
        storages: flags.storage,
      })),
    )
    .command(
      'adopt <plan> <id>',
      'give a folder that rondb-helm wrote a manifest',
      (y) => adoptFlags(y),
      asked<AdoptFlags>((flags) => ({
        verb: 'adopt',
        plan: flags.plan,
        id: flags.id,
        storage: flags.storage,
        decryptionSecret: flags.decryptionSecret,
        decryptionKey: flags.decryptionKey,
        clients: flags.clients,
        dryRun: flags.dryRun,
      })),
    )
    .command(
      'copy <name> [pick]',
      'bring backups to storages that do not have them',
      (y) => copyFlags(y),
      asked<CopyFlags>(({ name, pick, from, to, dryRun }) => ({ verb: 'copy', name, pick, from, to, dryRun })),
    )
    .command(
      'export <plan> <pick> <file>',
      'write one backup into a tar archive',
      (y) => exportFlags(y),
      asked<ExportFlags>(({ plan, pick, file, overwrite, storage }) => ({
        verb: 'export',
        plan,
        pick,
        file: dashed(file),
        overwrite,
        storages: storage,
      })),
    )
    .command(
      'import <file>',
      'bring an exported backup into a storage',
      (y) => importFlags(y),
      asked<{ file: string; storage: string }>(({ file, storage }) => ({
        verb: 'import',
        file: dashed(file),
        storage,
      })),
    )
    .command(
      'unpack [plan] [pick]',
      'write the files of a backup into a folder; needs no database',
      (y) => unpackFlags(y),
      asked<UnpackFlags>(({ plan, pick, from, identity, to, source, only, overwrite, storage }) => ({
        verb: 'unpack',
        plan,
        pick,
        from,
        identity,
        to,
        sources: source,
        only,
        overwrite,
        storages: storage,
      })),
    )
    .command(
      'worker',
      false,
      {},
      asked(() => ({ verb: 'worker' })),
    )
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

function plan<T>(y: Argv<T>) {
  return y.positional('plan', {
    type: 'string',
    demandOption: true,
    describe: 'a plan: a name under `backups` in the values',
  })
}

function pick<T>(y: Argv<T>, fallback: string | undefined) {
  return y.positional('pick', {
    type: 'string',
    default: fallback,
    describe: '`latest`, a backup id, or a time (2026-11-21T03:00, which is UTC): the newest backup not after it',
  })
}

function id<T>(y: Argv<T>) {
  return y.positional('id', { type: 'string', demandOption: true, describe: 'a backup id, as `list` shows it' })
}

function storages<T>(y: Argv<T>) {
  return y.option('storage', {
    type: 'string',
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: 'only this storage; can be given several times',
  })
}

function dryRun<T>(y: Argv<T>) {
  return y.option('dry-run', { type: 'boolean', default: false, describe: 'say what would be done; change nothing' })
}

function backupFlags<T>(y: Argv<T>) {
  return dryRun(plan(y))
    .option('resume', {
      type: 'string',
      describe:
        'take up a failed run of RonDB: its id, or nothing for the newest; what is stored intact is not sent again',
    })
    .example('holdfast backup nightly', 'take a backup now')
    .example('holdfast backup nightly --resume', 'finish the upload of the last failed run')
}

interface RestoreFlags {
  restore?: string
  backup?: string
  pick?: string
  overwrite?: boolean
  token?: string
  source?: string[]
  exclude?: string[]
  dryRun: boolean
}

function restoreFlags<T>(y: Argv<T>) {
  return dryRun(y)
    .positional('restore', { type: 'string', describe: 'a name under `restores` in the values' })
    .option('backup', { type: 'string', requiresArg: true, describe: 'instead: a plan, restored into its own sources' })
    .option('pick', {
      type: 'string',
      requiresArg: true,
      describe: '`latest`, a backup id, or a time, in UTC unless it names a zone: the newest backup not after it',
    })
    .option('overwrite', {
      type: 'boolean',
      describe: 'replace what the target has of the chosen databases and tables',
    })
    .option('token', {
      type: 'string',
      requiresArg: true,
      describe: 'any text; another text carries a finished request out again',
    })
    .option('source', {
      type: 'string',
      array: true,
      requiresArg: true,
      describe: 'only this source of the backup; can be given several times',
    })
    .option('exclude', {
      type: 'string',
      array: true,
      requiresArg: true,
      describe: 'not this source of the backup; can be given several times',
    })
    .conflicts('restore', 'backup')
    .conflicts('source', 'exclude')
    .check(
      (flags) => flags.restore !== undefined || flags.backup !== undefined || 'name a restore, or a plan with --backup',
    )
    .example('holdfast restore once --dry-run', 'what would be done, and what stands in the way')
    .example('holdfast restore --backup nightly --pick latest', 'back into the cluster that the plan backs up')
}

function listFlags<T>(y: Argv<T>) {
  return storages(y)
    .positional('plan', { type: 'string', describe: 'only this plan' })
    .option('runs', { type: 'boolean', default: false, describe: 'running and failed runs too, and the next one' })
    .option('why', { type: 'boolean', default: false, describe: 'why each stays, or that the next prune removes it' })
    .option('last', { type: 'number', requiresArg: true, describe: 'how many rows; 0 for all' })
    .check(({ last }) => last === undefined || (Number.isInteger(last) && last >= 0) || '--last is a number of rows')
}

function pinFlags<T>(y: Argv<T>) {
  return storages(id(plan(y)))
    .option('note', { type: 'string', requiresArg: true, describe: 'why, for those who look at it later' })
    .example(
      'holdfast pin nightly 1795218000 --note "before the upgrade"',
      'it stays until: holdfast unpin nightly 1795218000',
    )
}

function showFlags<T>(y: Argv<T>) {
  return storages(pick(plan(y), 'latest')).option('output', {
    // beside those of every verb
    choices: ['colonies'] as const,
    describe: 'format of the result; colonies: a backup of one part in S3 as the JSON of the Colonies backup executor',
  })
}

interface VerifyFlags {
  plan: string
  pick?: string
  all: boolean
  level: 'content'
  sample?: string
  seed?: number
  storage?: string[]
}

function verifyFlags<T>(y: Argv<T>) {
  return storages(pick(plan(y), undefined))
    .option('all', { type: 'boolean', default: false, describe: 'every backup of the plan' })
    .option('level', {
      choices: ['present', 'content', 'readable'] as const,
      default: 'content' as const,
      describe: "there with the right size · read again, same sha256 · readable by the engine's tools too",
    })
    .option('sample', {
      type: 'string',
      requiresArg: true,
      describe:
        'read only so much of the content, such as 5%: whole parts by chance, at least one of every source; presence and size are checked of all',
    })
    .option('seed', { type: 'number', requiresArg: true, describe: 'read the same sample as a run that printed this' })
    .check(({ sample, level, seed }) => {
      if (sample !== undefined && fractionOf(sample) === undefined)
        return '--sample is more than 0% and at most 100%, such as 5%'
      if (sample !== undefined && level !== 'content') return `--sample does not go with --level ${level}`
      if (seed !== undefined && sample === undefined) return '--seed goes with --sample'
      return seed === undefined || Number.isSafeInteger(seed) || '--seed is a whole number'
    })
    .example('holdfast verify nightly --all --level present', 'look for missing and cut parts of every backup')
    .example('holdfast verify nightly --sample 5%', 'read a twentieth of the newest one: another one each time')
}

/** Undefined when it is none. */
function fractionOf(percent: string): number | undefined {
  const [, digits] = /^(\d+(?:\.\d+)?)%$/.exec(percent) ?? []
  const fraction = Number(digits) / 100
  return fraction > 0 && fraction <= 1 ? fraction : undefined
}

interface CopyFlags {
  name: string
  pick?: string
  from?: string[]
  to?: string[]
  dryRun: boolean
}

function copyFlags<T>(y: Argv<T>) {
  const list = { type: 'string', array: true, nargs: 1, requiresArg: true } as const
  return dryRun(y)
    .positional('name', {
      type: 'string',
      demandOption: true,
      describe: 'a name under `copies` in the values, or a plan',
    })
    .positional('pick', {
      type: 'string',
      describe:
        '`latest`, a backup id, or a time; all that are missing when left out, but those that the retention would remove again',
    })
    .option('from', {
      ...list,
      describe: "read from this storage instead of the copy's or the plan's; can be given several times",
    })
    .option('to', {
      ...list,
      describe: "write to this storage instead of the copy's or the plan's; can be given several times",
    })
    .example('holdfast copy nightly', 'every storage of the plan gets what it lacks')
    .example('holdfast copy nightly 1795218000 --from main --to offsite', 'this backup, to this storage')
}

interface AdoptFlags {
  plan: string
  id: string
  storage: string
  decryptionSecret?: string
  decryptionKey: string
  clients?: string
  dryRun: boolean
}

function adoptFlags<T>(y: Argv<T>) {
  return dryRun(plan(y))
    .positional('id', { type: 'string', demandOption: true, describe: "the folder's name: the backup id" })
    .option('storage', {
      type: 'string',
      demandOption: true,
      requiresArg: true,
      describe: 'the storage that has the folder <plan>/<id>/',
    })
    .option('decryption-secret', {
      type: 'string',
      requiresArg: true,
      describe: 'Secret with the password of an encrypted backup',
    })
    .option('clients', {
      type: 'string',
      requiresArg: true,
      describe: 'folder with ndb_restore and ndb_print_backup_file; the PATH when left out',
    })
    .option('decryption-key', { type: 'string', requiresArg: true, default: 'password' })
}

interface ExportFlags {
  plan: string
  pick: string
  file: string
  overwrite: boolean
  storage?: string[]
}

function exportFlags<T>(y: Argv<T>) {
  return storages(plan(y))
    .positional('pick', { type: 'string', demandOption: true, describe: '`latest`, a backup id, or a time' })
    .positional('file', {
      type: 'string',
      demandOption: true,
      describe: 'the archive, which must not exist; - for standard output',
    })
    .option('overwrite', { type: 'boolean', default: false, describe: 'replace a file that is there' })
    .example('holdfast export nightly latest /media/usb/nightly.tar', 'onto a disk that is carried away')
    .example('holdfast export nightly latest - | ssh vault "cat > nightly.tar"', 'or through a pipe')
}

function importFlags<T>(y: Argv<T>) {
  return y
    .positional('file', {
      type: 'string',
      demandOption: true,
      describe: 'what `holdfast export` wrote; - for standard input',
    })
    .option('storage', {
      type: 'string',
      demandOption: true,
      requiresArg: true,
      describe: 'the storage that gets the backup, under the plan and id that it has',
    })
    .check(({ storage }) => !Array.isArray(storage) || '--storage is there twice')
    .example('holdfast import /media/usb/nightly.tar --storage vault', 'list, verify and restore then know it')
}

interface UnpackFlags {
  plan?: string
  pick?: string
  from?: string
  identity?: string
  to: string
  source?: string[]
  only?: string[]
  overwrite: boolean
  storage?: string[]
}

function unpackFlags<T>(y: Argv<T>) {
  return storages(pick(y, undefined))
    .positional('plan', { type: 'string', describe: 'a plan: a name under `backups` in the values' })
    .option('to', {
      type: 'string',
      demandOption: true,
      requiresArg: true,
      describe: 'folder for the files; it must be empty, or not there',
    })
    .option('from', {
      type: 'string',
      requiresArg: true,
      describe:
        'instead of a plan, and without a config file: the folder of a backup with its manifest beside it, an exported archive, or - for standard input',
    })
    .option('identity', {
      type: 'string',
      requiresArg: true,
      describe: 'with --from: file with an identity of age, when the copy is encrypted',
    })
    .option('source', {
      type: 'string',
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: 'only this source of the backup; can be given several times',
    })
    .option('only', {
      type: 'string',
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: 'only files with such a path, such as "shop/**/*.sql"; can be given several times',
    })
    .option('overwrite', {
      type: 'boolean',
      default: false,
      describe: 'into a folder that is not empty: replace files of the same name, leave the others',
    })
    .conflicts('from', ['plan', 'storage'])
    .check(({ plan, from }) => plan !== undefined || from !== undefined || 'name a plan, or a copy with --from')
    .example('holdfast unpack nightly latest --to /tmp/nightly', 'from a storage of the plan')
    .example('holdfast unpack --from ./nightly/1795218000 --to ./files', 'from a folder that aws s3 sync fetched')
}
