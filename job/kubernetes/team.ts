import { randomUUID } from 'node:crypto'
import { environment } from '../config.ts'
import type { Workers } from '../io/workers.ts'
import { connect } from './client.ts'
import { readTemplate } from './template.ts'
import { podWorkers } from './workers.ts'

type Options = Omit<Parameters<typeof podWorkers>[0], 'cluster' | 'template' | 'run'> & { template: string }

/** Worker pods as the chart's template file says, in the cluster that we run in. */
export function podTeam({ template, ...options }: Options): Workers {
  return podWorkers({
    ...options,
    cluster: connect(environment.kubernetes),
    template: readTemplate(template),
    run: randomUUID(),
  })
}
