import { setTimeout as pause } from 'node:timers/promises'
import { JobError, ObjectError, textOf } from '../errors.ts'
import { isExisting, isMissing, readAll, type Storage } from '../storage.ts'

/** A read after a failed write must not end with the run: it decides what the run may say. */
const readBackMs = 30_000

export interface OnceOptions {
  storage: Storage
  key: string
  bytes: Buffer
  signal: AbortSignal
  /** Milliseconds before each further try. */
  waits: readonly number[]
}

/**
 * Stores an object that must not exist yet, and finds out who holds the key when the storage's answer leaves it open.
 * `ours`: the key holds exactly these bytes. `theirs`: it holds others, which stay untouched.
 * Rejects when the key is free after the last try, or when nobody can tell: then the message says that it may have happened.
 */
export async function putOnce({ storage, key, bytes, signal, waits }: OnceOptions): Promise<'ours' | 'theirs'> {
  signal.throwIfAborted()
  for (let tries = 0; ; tries++) {
    const failure = await tryPut({ storage, key, bytes, signal })
    if (failure === undefined) return 'ours'
    const holder = await holderOf(storage, key, bytes)
    if (holder === 'ours' || holder === 'theirs') return holder
    const again = tries < waits.length && !signal.aborted && isWorthAnother(failure)
    if (!again && holder === 'unknown') throw doubt(storage, key, failure)
    if (!again) throw signal.aborted ? signal.reason : refusal(storage, key, failure)
    await pause(waits[tries], undefined, { signal }).catch(() => undefined)
  }
}

async function tryPut({ storage, key, bytes, signal }: Omit<OnceOptions, 'waits'>): Promise<unknown> {
  const options = { size: bytes.length, signal }
  try {
    if (storage.features.conditionalPut) {
      await storage.put(key, bytes, { ...options, ifAbsent: true })
      return undefined
    }
    if (await storage.head(key)) return new ObjectError('ObjectExists', key)
    await storage.put(key, bytes, options)
    // Nothing but a look tells whether another writer came between head and put.
    const holder = await holderOf(storage, key, bytes)
    return holder === 'ours' ? undefined : new ObjectError('ObjectExists', key)
  } catch (error) {
    return error ?? new Error('unknown failure')
  }
}

/** An existing object that was gone a moment later is worth another try as well. */
function isWorthAnother(failure: unknown): boolean {
  return isExisting(failure) || (failure instanceof JobError && failure.retryable)
}

async function holderOf(
  storage: Storage,
  key: string,
  bytes: Buffer,
): Promise<'ours' | 'theirs' | 'nobody' | 'unknown'> {
  try {
    const held = await readAll(storage, key, AbortSignal.timeout(readBackMs))
    return held.equals(bytes) ? 'ours' : 'theirs'
  } catch (error) {
    return isMissing(error) ? 'nobody' : 'unknown'
  }
}

/** What the storage said itself is the better hint when it said no. */
function refusal(storage: Storage, key: string, cause: unknown): JobError {
  const said = cause instanceof JobError && !cause.retryable ? cause.hint : undefined
  return new JobError('storage', `${key} could not be written to storage ${storage.name}`, {
    hint: said ?? 'a request still on its way may store it after all: `holdfast list` tells',
    cause,
  })
}

function doubt(storage: Storage, key: string, cause: unknown): JobError {
  return new JobError(
    'storage',
    `${key} may have been written to storage ${storage.name}: the write did not succeed (${textOf(cause)}) and it could not be read back`,
    { hint: 'when the storage answers again, `holdfast list` tells; nothing was deleted', cause },
  )
}
