import type { Argv } from 'yargs'
import { dryRun, plan } from './flags.ts'
import { verb } from './verb.ts'

export interface Backup {
  verb: 'backup'
  plan: string
  resume: string | undefined
  dryRun: boolean
}

export const backup = verb({
  command: 'backup <plan>',
  says: 'take a backup of a plan',
  flags,
  request: ({ plan, resume, dryRun }): Backup => ({
    verb: 'backup',
    plan,
    resume: resume === '' ? 'latest' : resume,
    dryRun,
  }),
})

function flags(y: Argv) {
  return dryRun(plan(y))
    .option('resume', {
      type: 'string',
      describe:
        'take up a failed run of RonDB: its id, or nothing for the newest; what is stored intact is not sent again',
    })
    .example('holdfast backup nightly', 'take a backup now')
    .example('holdfast backup nightly --resume', 'finish the upload of the last failed run')
}
