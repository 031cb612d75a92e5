import { JobError } from '../errors.ts'
import { explain } from './ask.ts'

/** Why attach or exec was refused: such an answer has no body, and its status stands in the text of ws. */
export function refused(what: string, error: unknown): JobError {
  const text = error instanceof Error ? error.message : String((error as { message?: string }).message ?? error)
  const status = /Unexpected server response: (\d+)/.exec(text)?.[1]
  if (status === '403')
    return new JobError('server', `could not ${what}: the ServiceAccount may not`, {
      hint: "the chart's Role has this right for the pods that files.dataNodes.statefulSets names, and for workers: leave rbac.create on, or add it to the Role of your own",
    })
  if (status === '404') return new JobError('server', `could not ${what}: there is no such pod or container`)
  if (status !== undefined)
    return new JobError('server', `could not ${what}: the API server answered ${status}`, {
      retryable: Number(status) >= 429,
    })
  return explain(what, new Error(text))
}
