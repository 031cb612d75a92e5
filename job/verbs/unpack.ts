import type { Argv } from 'yargs'
import { pick, storages } from './flags.ts'
import { verb } from './verb.ts'

export interface Unpack {
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

export const unpack = verb({
  command: 'unpack [plan] [pick]',
  says: 'write the files of a backup into a folder; needs no database',
  flags,
  request: ({ plan, pick, from, identity, to, source, only, overwrite, storage }): Unpack => ({
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
  }),
})

function flags(y: Argv) {
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
