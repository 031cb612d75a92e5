import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { JobError } from '../../errors.ts'
import { lastLines, run } from '../../io/process.ts'

/** Where Debian, and the images made of it, keep the programs of each release. */
const debian = '/usr/lib/postgresql'

export interface Clients {
  major: number
  /** Of each program. */
  versions: Record<string, string>
  /** How the program is called. */
  path(program: string): string
}

interface Wanted {
  programs: string[]
  /** `clients` of the values. */
  folder: string | undefined
  /** The oldest that will do. */
  major: number
  /** What asks for it, for the error. */
  because: string
  at: string
  signal: AbortSignal
}

/** The oldest clients that are not older than what they are for. Throws `configuration` when there are none. */
export async function findClients({ programs, folder, major, because, at, signal }: Wanted): Promise<Clients> {
  const found: { major: number; place: string | undefined }[] = majorsIn(folder ?? debian)
  const plain = await versionOf(join(folder ?? '', programs[0] as string), signal)
  // in front of others of its major: it was put on the PATH on purpose
  if (plain !== undefined) found.unshift({ major: majorIn(plain), place: folder })
  const chosen = found.filter((one) => one.major >= major).sort((a, b) => a.major - b.major)[0]
  if (!chosen) throw tooOld(found, { programs, folder, major, because, at })
  const path = (program: string) => (chosen.place ? join(chosen.place, program) : program)
  const versions: Record<string, string> = {}
  for (const program of programs) {
    const version = await versionOf(path(program), signal)
    if (version === undefined || majorIn(version) !== chosen.major)
      throw new JobError(
        'configuration',
        `${path(program)} ${version === undefined ? 'does not run' : `is of version ${version}`}`,
        {
          hint: `install the PostgreSQL ${chosen.major} clients as a whole: ${programs.join(', ')}`,
        },
      )
    versions[program] = version
  }
  return { major: chosen.major, versions, path }
}

function tooOld(
  found: { major: number }[],
  { programs, folder, major, because, at }: Omit<Wanted, 'signal'>,
): JobError {
  const where = folder ?? `on the PATH and in ${debian}`
  const there = [...new Set(found.map((one) => one.major))]
  const says = there.length > 0 ? `are of PostgreSQL ${there.join(', ')}` : 'are not there'
  return new JobError('configuration', `the clients ${folder ? `in ${where}` : where} ${says}, but ${because}`, {
    hint: `install ${programs.join(', ')} of PostgreSQL ${major} or newer (Debian: postgresql-client-${major}), or name their folder with ${at}.clients`,
  })
}

function majorsIn(folder: string): { major: number; place: string }[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((name) => /^\d+$/.test(name) && existsSync(join(folder, name, 'bin', 'pg_restore')))
    .map((name) => ({ major: Number(name), place: join(folder, name, 'bin') }))
}

/** Undefined when there is no such program. One that is there but does not run is an error. */
async function versionOf(program: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    const { stdout, stderr, exitCode } = await run({ file: program, args: ['--version'], signal })
    const version = /\) (\d+(?:\.\d+)*)/.exec(stdout)?.[1]
    if (exitCode === 0 && version) return version
    throw new JobError('configuration', `${program} --version ended with ${exitCode}: ${lastLines(stderr || stdout)}`)
  } catch (error) {
    if (error instanceof JobError && /\((ENOENT|EACCES)\)$/.test(error.message)) return undefined
    throw error
  }
}

export function majorIn(version: string): number {
  return Number.parseInt(version, 10)
}
