import { dryRun, plan, storages } from './flags.ts'
import { verb } from './verb.ts'

export interface Prune {
  verb: 'prune'
  plan: string
  dryRun: boolean
  storages: string[] | undefined
}

export const prune = verb({
  command: 'prune <plan>',
  says: "apply a plan's retention and sweep leftovers of failed runs",
  flags: (y) => dryRun(storages(plan(y))),
  request: ({ plan, dryRun, storage }): Prune => ({ verb: 'prune', plan, dryRun, storages: storage }),
})
