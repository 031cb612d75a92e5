import { z } from 'zod'

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

/** One execution of a plan as the storage shows it. A run that said nothing within the plan's deadline has failed. */
export interface Run {
  id: string
  state: 'committed' | 'running' | 'failed'
  started?: Started
  failed?: Failed
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
