import { z } from 'zod'
import { parseFacts, type SourceFacts } from '../../manifest.ts'
import type { Target } from './values.ts'

/** Names only: a hash of a Secret could be guessed at. */
const Named = z.object({ resource: z.string(), kind: z.string(), name: z.string() })
export type Named = z.infer<typeof Named>

/** What the manifest says of the objects of a namespace. */
export const KubernetesFacts = z.object({
  /** Objects are read kind by kind. */
  consistency: z.literal('per-kind'),
  namespace: z.string(),
  objects: z.array(Named),
})
export type KubernetesFacts = z.infer<typeof KubernetesFacts>

/** The facts of a manifest. Throws `verification` when they are not those of objects. */
export function factsOf(source: Pick<SourceFacts, 'facts'> | undefined): KubernetesFacts {
  return parseFacts(KubernetesFacts, source, 'objects')
}

/** Those of the backup that a target wants. */
export function chosenOf(objects: readonly Named[], { objects: wanted }: Target): Named[] {
  return objects.filter(({ resource, name }) =>
    wanted.some((one) => one.resource === resource && (one.names === undefined || one.names.includes(name))),
  )
}

export function idOf({ resource, name }: Named): string {
  return `${resource}/${name}`
}
