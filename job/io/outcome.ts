import { type ErrorKind, JobError, textOf } from '../errors.ts'

/** What an order came to that wrote parts of a backup, or read some. JSON: it passes between a worker and its coordinator. */
export interface Outcome {
  /** What the order is answered with. */
  value: unknown
  /** Storages that failed while it was carried out, and got no list of parts. */
  failed: Failure[]
  /** Of the list of parts that each other storage got, by its name: SHA-256. */
  lists: Record<string, string>
  /** What the run has to warn of. */
  warnings: string[]
}

export interface Failure {
  storage: string
  kind: ErrorKind
  message: string
  hint?: string | undefined
}

export function failureOf(storage: string, error: unknown): Failure {
  const { kind, hint } = error instanceof JobError ? error : { kind: 'bug' as const, hint: undefined }
  return { storage, kind, message: textOf(error), hint }
}

export function errorOf({ kind, message, hint }: Failure): JobError {
  return new JobError(kind, message, { hint })
}
