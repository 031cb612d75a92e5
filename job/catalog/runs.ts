import { z } from 'zod'
import { byAge } from './layout.ts'

/** The first object of a run, put only if absent. `run` is unique, so that a run knows its own claim again. */
export const Started = z.object({
  run: z.string(),
  plan: z.string(),
  cluster: z.string().optional(),
  started: z.iso.datetime(),
  /** Names, in the order of the plan. */
  sources: z.array(z.string()),
})
export type Started = z.infer<typeof Started>

/** What a run that failed in an orderly way left behind. Kind: one of the error kinds. */
export const Failed = z.object({
  reason: z.string(),
  kind: z.string(),
  finished: z.iso.datetime(),
})
export type Failed = z.infer<typeof Failed>

/** In the storages that have the backup: which others the run ended without, and why. */
export const Missed = z.object({ finished: z.iso.datetime(), without: z.record(z.string(), z.string()) })
export type Missed = z.infer<typeof Missed>

/** One execution of a plan as the storage shows it. A run that said nothing within the plan's deadline has failed. */
export interface Run {
  id: string
  state: 'committed' | 'running' | 'failed'
  started?: Started
  failed?: Failed
}

/** Surest first: a storage that went down in the middle of a run does not know that it failed. */
const surest = [
  ({ state }: Run) => state === 'committed',
  ({ failed }: Run) => failed !== undefined,
  ({ state }: Run) => state === 'running',
]

/** Pure: the runs that several storages show, as one list, oldest first. */
export function mergeRuns(lists: readonly Run[][]): Run[] {
  const seen = Map.groupBy(lists.flat(), ({ id }) => id)
  return [...seen.values()]
    .map((same) => surest.map((isSure) => same.find(isSure)).find((run) => run !== undefined) ?? (same[0] as Run))
    .sort((a, b) => byAge(a.id, b.id))
}

/** A small file of a run; undefined when it is missing or unreadable: such files only inform. */
export function parseRunFile<T>(schema: z.ZodType<T>, bytes: Buffer): T | undefined {
  try {
    return schema.safeParse(JSON.parse(bytes.toString('utf8'))).data
  } catch {
    return undefined
  }
}

export function formatRunFile(content: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(content, null, 1)}\n`)
}
