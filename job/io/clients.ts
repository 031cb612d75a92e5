import { join } from 'node:path'
import { JobError } from '../errors.ts'
import { together } from './parallel.ts'
import { lastLines, run } from './process.ts'

/** A client program: in the folder that the values name, or on the PATH. */
export function client(name: string, folder: string | undefined): string {
  return folder ? join(folder, name) : name
}

interface Versions {
  folder: string | undefined
  signal: AbortSignal
  /** The version in what `--version` says; the last line of it where there is none. */
  versionIn(text: string): string | undefined
}

/** What the programs say of themselves. Throws `configuration` for one that is not there or does not run. */
export async function clientVersions(names: string[], { folder, signal, versionIn }: Versions) {
  const version = async (name: string) => {
    const { stdout, stderr, exitCode } = await run({ file: client(name, folder), args: ['--version'], signal })
    if (exitCode !== 0)
      throw new JobError('configuration', `${name} --version ended with ${exitCode}: ${lastLines(stderr)}`)
    return [name, versionIn(stdout) ?? lastLines(stdout, 1)]
  }
  return Object.fromEntries(await together(names.map(version))) as Record<string, string>
}
