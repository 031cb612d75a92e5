import type { Logger } from 'pino'
import type { Request } from '../cli.ts'
import type { Surroundings } from '../config.ts'
import { JobError } from '../errors.ts'
import type { Summary } from '../io/report.ts'
import type { Template } from './template.ts'

/** The run as Kubernetes knows it: its lease, the events and the annotations of its Job. */
export interface Coordination {
  /** Takes the lease, before anything is done. `stop` is aborted, with the reason, when the lease is lost. */
  begin(stop: AbortController): Promise<void>
  /** Template of worker pods. Their names are the plan's: only who holds its lease may make them. */
  readonly workers: Template | undefined
  /** Which backup is made or restored, as soon as it is known. Returns at once. */
  about(backup: { plan: string; id: string }): void
  /** Tells how it ended and gives the lease back, when everything has stopped. Takes a few seconds at most; never rejects. */
  end(summary: Summary): Promise<void>
}

export const uncoordinated: Coordination = {
  begin: async () => {},
  workers: undefined,
  about: () => {},
  end: async () => {},
}

/** Only a run that changes something, in surroundings that name a lease, has one: the client is loaded for it alone. */
export async function coordinate({
  request,
  surroundings: { lease, ...surroundings },
  log,
}: {
  request: Request
  surroundings: Surroundings
  log: Logger
}): Promise<Coordination> {
  if ((request.verb !== 'backup' && request.verb !== 'restore' && request.verb !== 'copy') || request.dryRun)
    return uncoordinated
  if (lease === undefined) {
    if (surroundings.workers === undefined) return uncoordinated
    throw new JobError(
      'configuration',
      'HOLDFAST_WORKERS without HOLDFAST_LEASE: two runs would delete the worker pods of each other',
      {
        hint: 'set both, as the chart does with coordination: lease',
      },
    )
  }
  const name = nameOf(request) ?? ''
  const { coordinateBy } = await import('./coordination.ts')
  return coordinateBy({ verb: request.verb, name, lease, surroundings, log })
}

function nameOf(request: Extract<Request, { verb: 'backup' | 'restore' | 'copy' }>): string | undefined {
  if (request.verb === 'backup') return request.plan
  return request.verb === 'copy' ? request.name : (request.restore ?? request.backup)
}
