import { z } from 'zod'
import { parseFacts, type SourceFacts } from '../../manifest.ts'

const Choice = z.object({ databases: z.array(z.int()), keys: z.array(z.string()) })

/** What the manifest says of a Redis source: enough to restore it and to prove it. */
export const RedisFacts = z.object({
  /** One of each master; each is one point in time of its own. */
  snapshots: z
    .array(
      z.object({
        part: z.string(),
        /** host:port that it came from. */
        server: z.string(),
        role: z.enum(['master', 'replica']),
        /** Of the slots of a cluster. */
        slots: z.string().nullable(),
        replicationId: z.string(),
        offset: z.number(),
        rdbVersion: z.int(),
        keys: z.int(),
      }),
    )
    .min(1),
  /** Of all snapshots together, by the number of the database; those without keys are not here. */
  databases: z.record(z.string(), z.object({ keys: z.int(), expires: z.int() })),
  /** Keys by what TYPE says. */
  types: z.record(z.string(), z.int()),
  /** Bytes of the largest serialised value: a restore holds it in memory. */
  largestValue: z.int(),
  functions: z.array(z.string()),
  /** ACL users; null when they were not taken. */
  accounts: z.array(z.string()).nullable(),
  /** Modules of the source, when values or data of modules are in the backup. */
  modules: z.array(z.string()),
  moduleData: z.boolean(),
  /** What the source's values chose. */
  include: Choice.optional(),
  exclude: Choice.optional(),
})
export type RedisFacts = z.infer<typeof RedisFacts>

export const accountsPart = 'users.acl'

/** The facts of a manifest. Throws `verification` when they are not Redis'. */
export function factsOf(source: Pick<SourceFacts, 'facts'> | undefined): RedisFacts {
  return parseFacts(RedisFacts, source, 'a Redis backup')
}

/** Parts that the facts promise and the manifest does not list. */
export function missingParts(facts: RedisFacts, parts: readonly { path: string }[]): string[] {
  const promised = [...facts.snapshots.map(({ part }) => part), ...(facts.accounts ? [accountsPart] : [])]
  return promised.filter((path) => !parts.some((part) => part.path === path))
}
