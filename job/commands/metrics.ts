import type { Request } from '../cli.ts'
import { type Config, secretReader } from '../config.ts'
import { JobError, textOf } from '../errors.ts'
import { push } from '../io/pushgateway.ts'
import type { Summary } from '../io/report.ts'
import { type Figures, gaugesOf } from '../metrics.ts'

/** How long a gateway may take; a run that was told to stop waits less. */
const patienceMs = { usual: 5000, stopped: 2000 }

export interface Sending {
  request: Request
  config: Config
  summary: Summary
  figures: Figures
  /** When the run ended. */
  now: Date
  stop: AbortSignal
  warn(message: string): void
}

/** Sends what the run came to, where the values say so. Never rejects: what becomes of it is not what became of the run. */
export async function sendMetrics({ request, config, summary, figures, now, stop, warn }: Sending): Promise<void> {
  const { pushgateway } = config.metrics
  const name = entryOf(request, config)
  if (!pushgateway || name === undefined) return
  const ms = stop.aborted ? patienceMs.stopped : patienceMs.usual
  const limit = new AbortController()
  const timer = setTimeout(() => limit.abort(), ms)
  try {
    await push(pushgateway, {
      labels: { job: 'holdfast', verb: request.verb, name, ...pushgateway.labels },
      gauges: gaugesOf(summary, figures, now),
      secret: secretReader(config.secretsDir),
      signal: stop.aborted ? limit.signal : AbortSignal.any([limit.signal, stop]),
    })
  } catch (error) {
    const why = limit.signal.aborted ? `there was no answer within ${ms / 1000} s` : textOf(error)
    const hint = error instanceof JobError && error.hint ? ` (${error.hint})` : ''
    warn(`metrics were not sent to ${pushgateway.url}: ${why}${hint}`)
  } finally {
    clearTimeout(timer)
  }
}

/**
 * The entry of the values that the run is of. Undefined for runs that change nothing and for those that no schedule has; and for names that the
 * values do not have, as nobody would ever take the failure of a mistyped one back.
 */
export function entryOf(request: Request, { backups, restores, copies }: Config): string | undefined {
  if ('dryRun' in request && request.dryRun) return undefined
  switch (request.verb) {
    case 'backup':
    case 'prune':
    case 'verify':
      return known(request.plan, backups)
    case 'restore':
      return known(request.restore, restores)
    case 'copy':
      return known(request.name, { ...backups, ...copies })
    default:
      return undefined
  }
}

function known(name: string | undefined, entries: Record<string, unknown>): string | undefined {
  return name !== undefined && Object.hasOwn(entries, name) ? name : undefined
}
