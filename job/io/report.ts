import { accessSync, constants, writeFileSync } from 'node:fs'
import type { Logger } from 'pino'
import { exitCodeOf, JobError, textOf } from '../errors.ts'

/** What a run came to: the last log line, and the pod's termination message. */
export interface Summary {
  verb: string
  outcome: 'done' | 'failed'
  code: number
  seconds: number
  /** What the command found or made: plan, backup, bytes, steps. */
  [fact: string]: unknown
}

/** Kubernetes cuts a termination message there. */
const terminationBytes = 4096

export function summarise({
  verb,
  seconds,
  facts,
  warnings,
  error,
}: {
  verb: string
  seconds: number
  facts: Record<string, unknown>
  warnings: readonly string[]
  error?: unknown
}): Summary {
  const ended = { verb, seconds: Math.round(seconds * 10) / 10, ...facts, ...(warnings.length > 0 ? { warnings } : {}) }
  if (error === undefined) return { ...ended, outcome: 'done', code: 0 }
  const hint = error instanceof JobError ? error.hint : undefined
  const kind = error instanceof JobError ? error.kind : 'bug'
  return { ...ended, outcome: 'failed', code: exitCodeOf(error), kind, error: textOf(error), ...(hint ? { hint } : {}) }
}

export function report(
  summary: Summary,
  { log, terminationLog }: { log: Logger; terminationLog: string | undefined },
): void {
  const level = summary.outcome === 'done' ? 'info' : 'error'
  log[level](summary, `${summary.verb} ${summary.outcome}`)
  const file = terminationLog ?? '/dev/termination-log'
  try {
    accessSync(file, constants.W_OK)
  } catch {
    if (terminationLog === undefined) return
  }
  try {
    writeFileSync(file, terminationMessage(summary))
  } catch (error) {
    log.warn(`the termination message was not written: ${textOf(error)}`)
  }
}

/** Pure: JSON of at most 4096 bytes; long texts and lists give way first. */
export function terminationMessage(summary: Summary): string {
  let { warnings, steps, error, ...rest } = summary as Summary & {
    warnings?: string[]
    steps?: unknown
    error?: string
  }
  const text = () =>
    JSON.stringify({
      ...rest,
      ...(error ? { error } : {}),
      ...(warnings ? { warnings } : {}),
      ...(steps ? { steps } : {}),
    })
  if (Buffer.byteLength(text()) > terminationBytes) steps = undefined
  if (Buffer.byteLength(text()) > terminationBytes) warnings = warnings && [`${warnings.length} warnings: see the log`]
  if (Buffer.byteLength(text()) > terminationBytes) error = error && `${error.slice(0, 1000)}…`
  if (Buffer.byteLength(text()) <= terminationBytes) return text()
  const { verb, outcome, code, seconds } = summary
  return JSON.stringify({ verb, outcome, code, seconds, ...(error ? { error: error.slice(0, 500) } : {}) })
}
