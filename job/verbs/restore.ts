import type { Argv } from 'yargs'
import { dryRun } from './flags.ts'
import { verb } from './verb.ts'

export interface Restore {
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

export const restore = verb({
  command: 'restore [restore]',
  says: 'restore a backup into a target',
  flags,
  request: ({ restore, backup, pick, overwrite, token, source, exclude, dryRun }): Restore => ({
    verb: 'restore',
    restore,
    backup,
    pick,
    overwrite,
    token,
    sources: source,
    exclude,
    dryRun,
  }),
})

function flags(y: Argv) {
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
