import { z } from 'zod'
import { secretName } from './io/connection.ts'
import { httpUrl } from './urls.ts'

/**
 * CONTRACT. What is done around a plan, a restore, or one of their sources: a database is told to hold still, a workload is scaled
 * down, an application told to synchronise. Whatever was scaled is scaled back, also after a failure, a signal or a kill.
 */

const podName = z.string().regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'a name of Kubernetes: a-z, 0-9, - and .')

const Exec = z
  .strictObject({
    pod: podName.optional().describe('name of the pod'),
    selector: z.string().min(1).optional().describe('labels of the pod instead: the first one of them that is ready'),
    container: z.string().min(1).optional().describe("the pod's first container when absent"),
    command: z.array(z.string()).min(1).describe('program and arguments; no shell but the one that is named'),
  })
  .refine(({ pod, selector }) => (pod === undefined) !== (selector === undefined), {
    message: 'name one of pod and selector',
  })
  .describe('runs a command in a container; it must end with 0')

const Http = z
  .strictObject({
    url: httpUrl.describe('http:// or https://; a certificate is verified'),
    method: z.enum(['GET', 'POST', 'PUT', 'PATCH', 'DELETE']).default('POST'),
    headers: z.record(z.string(), z.string()).default({}),
    secretHeaders: z
      .record(z.string(), z.strictObject({ secret: secretName, key: z.string().min(1) }))
      .default({})
      .describe('headers whose text is in a Secret, such as Authorization'),
    body: z.string().optional(),
  })
  .describe('calls a URL; the answer must be 2xx')

const Scale = z
  .strictObject({
    kind: z.enum(['Deployment', 'StatefulSet']).default('Deployment'),
    name: podName,
    replicas: z.int().min(0).default(0),
  })
  .describe('scales a workload, and back when what the hook is around has ended, however it ended')

const kinds = { exec: Exec.optional(), http: Http.optional(), scale: Scale.optional() }
const duration = z.string().regex(/^[1-9]\d*[smhd]$/, 'a duration is a number with s, m, h or d, such as 5m')
const timeout = duration.default('5m').describe('how long it may take')

function onlyOne(hook: Record<string, unknown>): boolean {
  return Object.keys(kinds).filter((kind) => hook[kind] !== undefined).length === 1
}

const Before = z.strictObject({ ...kinds, timeout }).refine(onlyOne, { message: 'name one of exec, http, scale' })

const After = z
  .strictObject({
    exec: kinds.exec,
    http: kinds.http,
    timeout,
    when: z
      .enum(['always', 'success', 'failure'])
      .default('always')
      .describe('always: also after a failure, such as to let a database go on'),
  })
  .refine(onlyOne, { message: 'name one of exec, http' })

export const Hooks = z
  .strictObject({
    before: z.array(Before).default([]).describe('in this order; when one fails, nothing more is begun'),
    after: z
      .array(After)
      .default([])
      .describe(
        'in this order, when everything that was scaled is back and ready; when one fails, the run fails at its end',
      ),
  })
  .describe('what is done before and after')
export type Hooks = z.infer<typeof Hooks>
export type Hook = z.infer<typeof Before> | z.infer<typeof After>
export type ExecHook = z.infer<typeof Exec>
export type HttpHook = z.infer<typeof Http>
export type ScaleHook = z.infer<typeof Scale>

/** Carries hooks out: Kubernetes does, outside of it only what needs none of it. Errors are `server`. */
export interface HookActions {
  exec(hook: ExecHook, signal: AbortSignal): Promise<void>
  /** Resolves when it has so many replicas. The number before is kept at the workload, for `scaleBack` of any later run. */
  scale(hook: ScaleHook, signal: AbortSignal): Promise<void>
  /** Resolves when it is ready again, and whether there was anything to do. */
  scaleBack(hook: ScaleHook, signal: AbortSignal): Promise<boolean>
}

/** For people and errors. */
export function textOfHook({ exec, http, ...hook }: Hook): string {
  if (exec) return `exec ${exec.command.slice(0, 3).join(' ')} in ${exec.pod ?? exec.selector}`
  if (http) return `${http.method} ${new URL(http.url).origin}${new URL(http.url).pathname}`
  const { scale } = hook as { scale: ScaleHook }
  return `scale ${scale.kind} ${scale.name} to ${scale.replicas}`
}
