import type { Argv } from 'yargs'

/** Flags that several verbs have. */

export function plan<T>(y: Argv<T>) {
  return y.positional('plan', {
    type: 'string',
    demandOption: true,
    describe: 'a plan: a name under `backups` in the values',
  })
}

export function pick<T, Fallback extends string | undefined>(y: Argv<T>, fallback: Fallback) {
  return y.positional('pick', {
    type: 'string',
    default: fallback,
    describe: '`latest`, a backup id, or a time (2026-11-21T03:00, which is UTC): the newest backup not after it',
  })
}

export function id<T>(y: Argv<T>) {
  return y.positional('id', { type: 'string', demandOption: true, describe: 'a backup id, as `list` shows it' })
}

export function storages<T>(y: Argv<T>) {
  return y.option('storage', {
    type: 'string',
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: 'only this storage; can be given several times',
  })
}

export function dryRun<T>(y: Argv<T>) {
  return y.option('dry-run', { type: 'boolean', default: false, describe: 'say what would be done; change nothing' })
}
