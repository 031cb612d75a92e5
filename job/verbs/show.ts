import type { Argv } from 'yargs'
import { pick, plan, storages } from './flags.ts'
import { verb } from './verb.ts'

export interface Show {
  verb: 'show'
  plan: string
  pick: string
  storages: string[] | undefined
}

export const show = verb({
  command: 'show <plan> [pick]',
  says: 'show one backup',
  flags,
  request: ({ plan, pick, storage }): Show => ({ verb: 'show', plan, pick, storages: storage }),
})

function flags(y: Argv) {
  return storages(pick(plan(y), 'latest')).option('output', {
    // beside those of every verb
    choices: ['colonies'] as const,
    describe: 'format of the result; colonies: a backup of one part in S3 as the JSON of the Colonies backup executor',
  })
}
