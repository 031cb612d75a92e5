import { z } from 'zod'
import { clientsFolder } from '../../io/connection.ts'
import { patternTrouble } from './patterns.ts'

const objectName = z.string().regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, 'a name of Kubernetes: a-z, 0-9, - and .')

function pattern(kind: 'include' | 'exclude') {
  return z.string().superRefine((text, issues) => {
    const message = patternTrouble(text, kind)
    if (message) issues.addIssue({ code: 'custom', message })
  })
}

const include = z
  .array(pattern('include'))
  .min(1)
  .optional()
  .describe(
    'only these files and folders, paths below the folder; `*` and `?` stand for anything in one name. All when absent',
  )
const exclude = z
  .array(pattern('exclude'))
  .default([])
  .describe('not these files and folders; `**/` in front means at any depth, as in `**/*.tmp`')

const Pods = z
  .strictObject({
    names: z.array(objectName).min(1).optional().describe('names of the pods; the first one that runs is taken'),
    selector: z.string().min(1).optional().describe('labels of the pods, instead of their names'),
  })
  .refine((pods) => (pods.names === undefined) !== (pods.selector === undefined), {
    message: 'name one of names and selector',
  })

const place = {
  access: z
    .enum(['local', 'volume', 'exec'])
    .describe('local: a folder of this machine; volume: a worker pod mounts the claim; exec: GNU tar in a container'),
  path: z
    .string()
    .min(1)
    .optional()
    .describe('the folder. local, exec: an absolute path; volume: a path in the volume, all of it when absent'),
  claim: objectName.optional().describe('name of the PersistentVolumeClaim (volume)'),
  pods: Pods.optional().describe('which pod has the folder (exec)'),
  container: z.string().min(1).optional().describe('container of the pod (exec)'),
  clients: clientsFolder,
}

interface Issues {
  addIssue(issue: { code: 'custom'; path: string[]; message: string }): void
}

function checkPlace({ access, path, claim, pods, container }: Where, issues: Issues): void {
  const wrong = (key: string, message: string) => issues.addIssue({ code: 'custom', path: [key], message })
  if (path?.split('/').includes('..')) wrong('path', 'the path has no ..')
  if (access === 'volume' && path?.startsWith('/'))
    wrong('path', 'with access volume the path is one in the volume: no / in front')
  if (access !== 'volume' && !path?.startsWith('/')) wrong('path', `with access ${access} an absolute path is needed`)
  if ((access === 'volume') !== (claim !== undefined)) wrong('claim', 'access volume names a claim, and it alone')
  const exec = access === 'exec'
  if (exec !== (pods !== undefined)) wrong('pods', 'access exec says which pods, and it alone')
  if (exec !== (container !== undefined)) wrong('container', 'access exec names a container, and it alone')
}

interface Where {
  access: 'local' | 'volume' | 'exec'
  path?: string | undefined
  claim?: string | undefined
  pods?: { names?: string[] | undefined; selector?: string | undefined } | undefined
  container?: string | undefined
}

export const Source = z
  .strictObject({
    ...place,
    include,
    exclude,
    oneFileSystem: z.boolean().default(true).describe('leave out what is mounted below the folder'),
  })
  .superRefine(checkPlace)
export type Source = z.infer<typeof Source>

export const Target = z
  .strictObject({
    ...place,
    include,
    exclude,
    delete: z
      .boolean()
      .default(false)
      .describe('with overwrite: also remove what the backup does not have; what it left out by its values stays'),
    owner: z
      .enum(['keep', 'runner'])
      .default('keep')
      .describe('keep: the owners of the backup, which only root can set; runner: whoever restores owns the files'),
  })
  .superRefine(checkPlace)
export type Target = z.infer<typeof Target>

export function targetOf(source: unknown): Target {
  const { access, path, claim, pods, container, clients } = source as Source
  return { access, path, claim, pods, container, clients, exclude: [], delete: false, owner: 'keep' }
}

export function requestOf(target: unknown): unknown {
  const { include, exclude, delete: all, owner } = target as Target
  return { include, exclude, delete: all, owner }
}
