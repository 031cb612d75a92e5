import type { ArgumentsCamelCase, Argv } from 'yargs'

/** One verb of the command line: how it is asked for, and the request that comes of it. */
export interface Verb<Asked> {
  addTo(y: Argv, took: (asked: Asked, flags: Flags) => void): Argv
}

/** All that was given, with the flags that every verb has. */
export type Flags = Record<string, unknown>

interface Describing<Given, Asked> {
  /** As yargs has it: `backup <plan>`. */
  command: string
  /** False for one that is not shown. */
  says: string | false
  flags(y: Argv): Argv<Given>
  request(flags: ArgumentsCamelCase<Given>): Asked
}

export function verb<Given, Asked>({ command, says, flags, request }: Describing<Given, Asked>): Verb<Asked> {
  return {
    addTo: (y, took) =>
      // yargs has a type for each
      says === false
        ? y.command(command, says, flags, (given) => took(request(given), given))
        : y.command(command, says, flags, (given) => took(request(given), given)),
  }
}
