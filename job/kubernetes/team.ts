import { randomUUID } from 'node:crypto'
import { environment } from '../config.ts'
import type { Workers } from '../io/workers.ts'
import { connect } from './client.ts'
import { podWorkers } from './workers.ts'

type Options = Omit<Parameters<typeof podWorkers>[0], 'cluster' | 'run'>

/** Worker pods in the cluster that we run in. */
export function podTeam(options: Options): Workers {
  return podWorkers({
    ...options,
    cluster: connect(environment.kubernetes),
    run: randomUUID(),
  })
}
