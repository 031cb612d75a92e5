import type { Argv } from 'yargs'
import { id, plan, storages } from './flags.ts'
import { verb } from './verb.ts'

export interface Pin {
  verb: 'pin'
  plan: string
  id: string
  note: string | undefined
  storages: string[] | undefined
}

export interface Unpin {
  verb: 'unpin'
  plan: string
  id: string
  storages: string[] | undefined
}

export const pin = verb({
  command: 'pin <plan> <id>',
  says: 'keep a backup whatever the retention says',
  flags,
  request: ({ plan, id, note, storage }): Pin => ({ verb: 'pin', plan, id, note, storages: storage }),
})

export const unpin = verb({
  command: 'unpin <plan> <id>',
  says: 'leave a backup to the retention again',
  flags: (y) => storages(id(plan(y))),
  request: ({ plan, id, storage }): Unpin => ({ verb: 'unpin', plan, id, storages: storage }),
})

function flags(y: Argv) {
  return storages(id(plan(y)))
    .option('note', { type: 'string', requiresArg: true, describe: 'why, for those who look at it later' })
    .example(
      'holdfast pin nightly 1795218000 --note "before the upgrade"',
      'it stays until: holdfast unpin nightly 1795218000',
    )
}
