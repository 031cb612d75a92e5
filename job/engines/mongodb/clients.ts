import type { RunContext } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { clientVersions } from '../../io/clients.ts'

export type Tool = 'mongodump' | 'mongorestore'

/** `mongodump version: 100.9.5`, `7.0.14`. */
export function versionIn(text: string): string | undefined {
  return /version: r?(\d+\.\d+\.\d+)/.exec(text)?.[1] ?? /^(\d+\.\d+\.\d+)/.exec(text)?.[1]
}

/** The database tools have versions of their own: what each major of the server needs at least. */
const needs = [
  { server: 8, tool: [100, 10, 0] },
  // 100.5.1 gathers a thousand documents before it writes, however large
  { server: 0, tool: [100, 5, 2] },
]

/**
 * The tools are written in Go, whose collector lets as much garbage lie as is in use, and they have batches of many MiB. A third of that is no
 * slower, and takes less memory by a fifth to a third. Not GOMEMLIMIT: with larger documents the collector would run all the time.
 */
export const toolEnv = { GOGC: '30' }

/** The tool's version. Throws `configuration` when it is missing or too old for the server. */
export async function toolVersion(
  tool: Tool,
  { clients, server, signal }: { clients: string | undefined; server: string } & Pick<RunContext, 'signal'>,
): Promise<Record<string, string>> {
  const versions = await clientVersions([tool], { folder: clients, signal, versionIn })
  const version = versions[tool] ?? ''
  const least = needs.find((need) => Number.parseInt(server, 10) >= need.server)?.tool ?? []
  if (!isBelow(version.split('.').map(Number), least)) return versions
  throw new JobError('configuration', `${tool} ${version} is too old for MongoDB ${server}`, {
    hint: `install the MongoDB database tools ${least.join('.')} or newer, or name their folder with \`clients\``,
  })
}

/** Pure: also true for what is no version. */
function isBelow(version: number[], least: number[]): boolean {
  for (const [i, wanted] of least.entries()) {
    const have = version[i] ?? Number.NaN
    if (have > wanted) return false
    if (!(have === wanted)) return true
  }
  return false
}
