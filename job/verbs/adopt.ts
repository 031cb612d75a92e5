import type { Argv } from 'yargs'
import { dryRun, plan } from './flags.ts'
import { verb } from './verb.ts'

export interface Adopt {
  verb: 'adopt'
  plan: string
  id: string
  storage: string
  decryptionSecret: string | undefined
  decryptionKey: string
  clients: string | undefined
  dryRun: boolean
}

export const adopt = verb({
  command: 'adopt <plan> <id>',
  says: 'give a folder that rondb-helm wrote a manifest',
  flags,
  request: ({ plan, id, storage, decryptionSecret, decryptionKey, clients, dryRun }): Adopt => ({
    verb: 'adopt',
    plan,
    id,
    storage,
    decryptionSecret,
    decryptionKey,
    clients,
    dryRun,
  }),
})

function flags(y: Argv) {
  return dryRun(plan(y))
    .positional('id', { type: 'string', demandOption: true, describe: "the folder's name: the backup id" })
    .option('storage', {
      type: 'string',
      demandOption: true,
      requiresArg: true,
      describe: 'the storage that has the folder <plan>/<id>/',
    })
    .option('decryption-secret', {
      type: 'string',
      requiresArg: true,
      describe: 'Secret with the password of an encrypted backup',
    })
    .option('clients', {
      type: 'string',
      requiresArg: true,
      describe: 'folder with ndb_restore and ndb_print_backup_file; the PATH when left out',
    })
    .option('decryption-key', { type: 'string', requiresArg: true, default: 'password' })
}
