import { join } from 'node:path'
import { JobError } from '../../errors.ts'
import { together } from '../../io/parallel.ts'
import { lastLines, run } from '../../io/process.ts'

/** The programs of NDB and MySQL: in the folder that the values name, or on the PATH. */
export function client(name: string, folder: string | undefined): string {
  return folder ? join(folder, name) : name
}

/** Versions as the programs print them: `ndb-9.7.2`, `RonDB-24.10.1`, `9.7.2`. */
export async function clientVersions(names: string[], folder: string | undefined, signal: AbortSignal) {
  const version = async (name: string) => {
    const { stdout, stderr, exitCode } = await run({ file: client(name, folder), args: ['--version'], signal })
    if (exitCode !== 0)
      throw new JobError('configuration', `${name} --version ended with ${exitCode}: ${lastLines(stderr)}`)
    return [name, versionIn(stdout) ?? lastLines(stdout, 1)]
  }
  return Object.fromEntries(await together(names.map(version))) as Record<string, string>
}

/** The version in what a server or program says of itself; RonDB's own before MySQL's. */
export function versionIn(text: string): string | undefined {
  return /RonDB-([\d.]+)/i.exec(text)?.[1] ?? /ndb-([\d.]+)/.exec(text)?.[1] ?? /\b(\d+\.\d+\.\d+)/.exec(text)?.[1]
}

export function connectString(managementServers: string[]): string {
  return managementServers.join(',')
}
