import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Logger } from 'pino'
import type { Surroundings } from '../config.ts'
import { textOf } from '../errors.ts'
import { sizeText } from '../io/print.ts'
import type { Summary } from '../io/report.ts'
import { annotateJob } from './annotations.ts'
import type { AskOptions } from './ask.ts'
import { connect } from './client.ts'
import { type RunEvent, sendEvent } from './events.ts'
import { type Held, hold } from './lease.ts'
import type { Coordination } from './run.ts'
import { readTemplate } from './template.ts'

/** How long the end of a run may take to tell what is still to be told, in milliseconds. */
const farewellMs = 5_000

export function coordinateBy({
  verb,
  name,
  lease,
  surroundings,
  log,
}: {
  verb: 'backup' | 'restore' | 'copy'
  /** Of the plan, the restore or the copy. */
  name: string
  lease: string
  surroundings: Surroundings
  log: Logger
}): Coordination {
  const cluster = connect(surroundings)
  const { workers: file, workerImage } = surroundings
  // now: an upgrade may change it under a run that goes on
  const workers = file === undefined ? undefined : readTemplate(file, workerImage)
  const { pod, job } = cluster.identity
  const farewell = new AbortController()
  let told: Promise<void> = Promise.resolve()
  let held: Held | undefined

  /** One after the other, beside the run: who may not, or cannot, only misses what people would have seen. */
  function tell(what: string, send: (options: AskOptions) => Promise<void>): void {
    told = told
      .then(() => send({ signal: farewell.signal }))
      .catch((error) => log.warn(`Kubernetes was not told ${what}: ${textOf(error)}`))
  }

  function event(type: RunEvent['type'], reason: string, note: string): void {
    const action = { backup: 'Backup', restore: 'Restore', copy: 'Copy' }[verb]
    tell(`"${reason}"`, (options) => sendEvent(cluster, { type, reason, action, note }, options))
  }

  return {
    begin: async (stop) => {
      const holder = { identity: identityOf(pod?.name), job: job?.uid }
      const { leaseWait: wait = false, labels = {} } = surroundings
      held = await hold(lease, { cluster, holder, labels, wait, signal: stop.signal, log })
      const { lost } = held
      lost.addEventListener('abort', () => stop.abort(lost.reason), { once: true })
      event('Normal', 'Started', `${verb} ${name} started`)
    },
    workers,
    about: ({ plan, id }) => {
      tell('which backup this is', (options) =>
        annotateJob(cluster, { 'holdfast/plan': plan, 'holdfast/backup': id }, options),
      )
    },
    end: async (summary) => {
      const { reason, note } = outcomeOf(summary)
      event(summary.outcome === 'done' ? 'Normal' : 'Warning', reason, note)
      const timer = setTimeout(() => farewell.abort(new Error('the run has ended')), farewellMs)
      await Promise.all([told, held?.release()])
      clearTimeout(timer)
    },
  }
}

/** The holder for people, and what sets this process apart from another one in the same pod. Pod names have no underscore. */
function identityOf(pod = hostname()): string {
  return `${pod}_${randomBytes(4).toString('hex')}`
}

/** Pure: the event that a summary makes. */
export function outcomeOf(summary: Summary): { reason: string; note: string } {
  const {
    verb,
    outcome,
    error,
    hint,
    plan,
    backup,
    parts,
    bytes,
    storages,
    without,
    copies,
    steps,
    warnings,
    seconds,
  } = summary as Told
  if (outcome === 'failed')
    return { reason: 'Failed', note: [`${verb} failed: ${error}`, hint].filter(Boolean).join('; ') }
  const backupText = `backup ${backup} of plan ${plan}`
  const more = warnings
    ? `; ${warnings.length === 1 ? 'a warning is' : `${warnings.length} warnings are`} in the log`
    : ''
  if (verb === 'backup') {
    const missed = without ? `, not on ${Object.keys(without).join(', ')}` : ''
    const where = `on ${storages?.join(', ')}${missed}`
    const note = `${backupText} stored: ${parts} parts, ${sizeText(bytes ?? 0)}, ${where}, in ${seconds} s${more}`
    return { reason: 'Stored', note }
  }
  if (verb === 'copy') {
    const what = copies?.map((copy) => `${copy.backup} to ${copy.to}`).join(', ') || 'none was missing'
    return { reason: 'Copied', note: `backups of plan ${plan} copied in ${seconds} s: ${what}${more}` }
  }
  const already = Object.values(steps ?? {}).every((step) => step === 'already restored')
  return {
    reason: 'Restored',
    note: `${backupText} ${already ? 'had been restored already' : `restored in ${seconds} s`}${more}`,
  }
}

interface Told extends Summary {
  error?: string
  hint?: string
  plan?: string
  backup?: string
  parts?: number
  bytes?: number
  storages?: string[]
  without?: Record<string, string>
  copies?: { backup: string; to: string }[]
  steps?: Record<string, unknown>
  warnings?: string[]
}
