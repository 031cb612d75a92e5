import type { Argv } from 'yargs'
import { plan, storages } from './flags.ts'
import { verb } from './verb.ts'

export interface Export {
  verb: 'export'
  plan: string
  pick: string
  /** `-` for standard output. */
  file: string
  overwrite: boolean
  storages: string[] | undefined
}

export const exported = verb({
  command: 'export <plan> <pick> <file>',
  says: 'write one backup into a tar archive',
  flags,
  request: ({ plan, pick, file, overwrite, storage }): Export => ({
    verb: 'export',
    plan,
    pick,
    file,
    overwrite,
    storages: storage,
  }),
})

function flags(y: Argv) {
  return storages(plan(y))
    .positional('pick', { type: 'string', demandOption: true, describe: '`latest`, a backup id, or a time' })
    .positional('file', {
      type: 'string',
      demandOption: true,
      describe: 'the archive, which must not exist; - for standard output',
    })
    .option('overwrite', { type: 'boolean', default: false, describe: 'replace a file that is there' })
    .example('holdfast export nightly latest /media/usb/nightly.tar', 'onto a disk that is carried away')
    .example('holdfast export nightly latest - | ssh vault "cat > nightly.tar"', 'or through a pipe')
}
