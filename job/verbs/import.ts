import type { Argv } from 'yargs'
import { verb } from './verb.ts'

export interface Import {
  verb: 'import'
  /** `-` for standard input. */
  file: string
  storage: string
}

export const imported = verb({
  command: 'import <file>',
  says: 'bring an exported backup into a storage',
  flags,
  request: ({ file, storage }): Import => ({ verb: 'import', file, storage }),
})

function flags(y: Argv) {
  return y
    .positional('file', {
      type: 'string',
      demandOption: true,
      describe: 'what `holdfast export` wrote; - for standard input',
    })
    .option('storage', {
      type: 'string',
      demandOption: true,
      requiresArg: true,
      describe: 'the storage that gets the backup, under the plan and id that it has',
    })
    .check(({ storage }) => !Array.isArray(storage) || '--storage is there twice')
    .example('holdfast import /media/usb/nightly.tar --storage vault', 'list, verify and restore then know it')
}
