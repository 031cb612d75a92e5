import type { Argv } from 'yargs'
import { dryRun } from './flags.ts'
import { verb } from './verb.ts'

export interface Copy {
  verb: 'copy'
  name: string
  pick: string | undefined
  from: string[] | undefined
  to: string[] | undefined
  dryRun: boolean
}

export const copy = verb({
  command: 'copy <name> [pick]',
  says: 'bring backups to storages that do not have them',
  flags,
  request: ({ name, pick, from, to, dryRun }): Copy => ({ verb: 'copy', name, pick, from, to, dryRun }),
})

function flags(y: Argv) {
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
