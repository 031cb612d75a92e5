import { z } from 'zod'
import { parseFacts, type SourceFacts } from '../../manifest.ts'

/** What the manifest says of a folder. */
export const FilesFacts = z.object({
  /** Files are read one after the other while others may write: there is no common point in time. */
  consistency: z.literal('per-file'),
  /** Where it was, for people. */
  place: z.string(),
  /** What the values left out: not missing, and not to be deleted by a restore. */
  include: z.array(z.string()).optional(),
  exclude: z.array(z.string()),
  files: z.int(),
  folders: z.int(),
  links: z.int(),
  others: z.int(),
  /** Of all files, holes included. */
  bytes: z.int(),
})
export type FilesFacts = z.infer<typeof FilesFacts>

/** The facts of a manifest. Throws `verification` when they are not those of files. */
export function factsOf(source: Pick<SourceFacts, 'facts'> | undefined): FilesFacts {
  return parseFacts(FilesFacts, source, 'a folder')
}
