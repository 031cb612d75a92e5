import { dryRun, pick, plan, storages } from './flags.ts'
import { verb } from './verb.ts'

export interface Rewrap {
  verb: 'rewrap'
  plan: string
  pick: string | undefined
  dryRun: boolean
  storages: string[] | undefined
}

export const rewrap = verb({
  command: 'rewrap <plan> [pick]',
  says: 'give encrypted backups to the recipients that the values name now',
  flags: (y) => dryRun(storages(pick(plan(y), undefined))),
  request: ({ plan, pick, dryRun, storage }): Rewrap => ({ verb: 'rewrap', plan, pick, dryRun, storages: storage }),
})
