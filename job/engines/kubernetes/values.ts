import { z } from 'zod'

const objectName = z.string().regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, 'a name of Kubernetes: a-z, 0-9, - and .')

const resource = z
  .string()
  .regex(
    /^[a-z0-9]+(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
    'a resource is a plural, with its group when it has one, such as secrets or routes.route.openshift.io',
  )
  .describe('the kind of objects, as kubectl has it: `secrets`, `configmaps`, `routes.route.openshift.io`')

const names = z.array(objectName).min(1).optional().describe('only these; all when absent')

const Chosen = z
  .strictObject({
    resource,
    names,
    selector: z.string().min(1).optional().describe('only those with these labels, instead of names'),
  })
  .refine((chosen) => chosen.names === undefined || chosen.selector === undefined, {
    message: 'name one of names and selector',
  })

export const Source = z
  .strictObject({
    objects: z.array(Chosen).min(1).describe('which objects of the namespace'),
    plaintext: z
      .boolean()
      .default(false)
      .describe('needed for Secrets: they lie in the storages as whoever may read them there sees them'),
  })
  .superRefine(({ objects, plaintext }, issues) => {
    if (plaintext || !objects.some((chosen) => chosen.resource === 'secrets')) return
    const message =
      'Secrets would lie in the storages unencrypted: plaintext: true says that this is meant; encryption comes with the codecs of the storages'
    issues.addIssue({ code: 'custom', path: ['plaintext'], message })
  })
export type Source = z.infer<typeof Source>

export const Target = z.strictObject({
  objects: z.array(z.strictObject({ resource, names })).min(1).describe('which objects of the backup'),
})
export type Target = z.infer<typeof Target>

export function targetOf(source: unknown): Target {
  const { objects } = source as Source
  return { objects: objects.map(({ resource, names }) => ({ resource, ...(names ? { names } : {}) })) }
}

export function requestOf(target: unknown): unknown {
  return target
}
