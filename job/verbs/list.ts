import type { Argv } from 'yargs'
import { storages } from './flags.ts'
import { verb } from './verb.ts'

export interface List {
  verb: 'list'
  plan: string | undefined
  storages: string[] | undefined
  runs: boolean
  why: boolean
  last: number | undefined
}

export const list = verb({
  command: 'list [plan]',
  says: 'list backups, newest first',
  flags,
  request: ({ plan, storage, runs, why, last }): List => ({ verb: 'list', plan, storages: storage, runs, why, last }),
})

function flags(y: Argv) {
  return storages(y)
    .positional('plan', { type: 'string', describe: 'only this plan' })
    .option('runs', { type: 'boolean', default: false, describe: 'running and failed runs too, and the next one' })
    .option('why', { type: 'boolean', default: false, describe: 'why each stays, or that the next prune removes it' })
    .option('last', { type: 'number', requiresArg: true, describe: 'how many rows; 0 for all' })
    .check(({ last }) => last === undefined || (Number.isInteger(last) && last >= 0) || '--last is a number of rows')
}
