/**
 * Every way a run can fail, and the exit code that tells it to Kubernetes and to scripts (docs/exit-codes.md).
 * The chart's podFailurePolicy reads these numbers: they never change their meaning.
 */
export const exitCodes = {
  bug: 1,
  configuration: 2,
  'nothing-matches': 20,
  'target-not-empty': 21,
  server: 22,
  storage: 23,
  verification: 24,
  busy: 25,
  interrupted: 130,
  terminated: 143,
} as const

export type ErrorKind = keyof typeof exitCodes

/** Hint: what the reader can do now. Retryable: the same call may succeed when made again (set by storages). */
export interface JobErrorOptions {
  hint?: string | undefined
  cause?: unknown
  retryable?: boolean
}

/** A failure we understand: what failed, on what; lower case, no full stop. Anything else that is thrown is a bug. */
export class JobError extends Error {
  override readonly name = 'JobError'
  readonly kind: ErrorKind
  readonly hint: string | undefined
  readonly retryable: boolean

  constructor(kind: ErrorKind, message: string, { hint, cause, retryable = false }: JobErrorOptions = {}) {
    super(message, { cause })
    this.kind = kind
    this.hint = hint
    this.retryable = retryable
  }
}

/** The exit code that an error stands for; 1 when it is none of ours. */
export function exitCodeOf(error: unknown): number {
  return exitCodes[error instanceof JobError ? error.kind : 'bug']
}

/** Nothing outside is to blame for it. */
export function isBug(error: unknown): boolean {
  return error instanceof JobError && error.kind === 'bug'
}

/** The text of whatever was thrown, with the causes that say something new, on one line. */
export function textOf(error: unknown): string {
  const texts: string[] = []
  const seen = new Set<unknown>([undefined, null])
  for (let at: unknown = error; !seen.has(at); at = at instanceof Error ? at.cause : undefined) {
    seen.add(at)
    const text = at instanceof Error ? at.message || at.name : String(at)
    if (text && !texts.some((known) => known.includes(text))) texts.push(text)
  }
  return texts.join(': ').replaceAll(/\s*\n\s*/g, ' ')
}

/** A storage's answer that callers act on: the object of a get is missing, or that of a put with ifAbsent is there. */
export class ObjectError extends JobError {
  readonly code: 'ObjectMissing' | 'ObjectExists'

  constructor(code: 'ObjectMissing' | 'ObjectExists', key: string, cause?: unknown) {
    super('storage', code === 'ObjectMissing' ? `${key} is not in the storage` : `${key} exists already`, { cause })
    this.code = code
  }
}

/** Only worker pods reach the place, and this run has none: outside of Kubernetes, or because it changes nothing. */
export class PodsMissing extends JobError {
  constructor(claim: string) {
    super('configuration', `claim ${claim} is reached by worker pods, which only a run in Kubernetes has`, {
      hint: 'run it with the chart; from elsewhere files.access: exec reads and writes files, too',
    })
  }
}
