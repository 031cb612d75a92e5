import type { Readable } from 'node:stream'
import { JobError } from '../../errors.ts'
import { madeOf, piecesOf } from '../../io/lending.ts'
import type { Body, GetOptions, Listed, PutOptions, Storage } from '../../storage.ts'

export type Operation = 'put' | 'get' | 'head' | 'list' | 'delete'

export interface Fault {
  on: Operation
  /** Of the calls of this operation that match the key; the first unless told. */
  nth?: number
  /** How many calls from the nth on; one unless told. */
  times?: number
  /** Of delete: any of its keys; of list: the prefix. */
  key?: string | RegExp
  /**
   * fail: nothing is done · lose: it is done, then fails · stall: nothing happens until the signal aborts ·
   * truncate: a get ends, as if in order, after `at` bytes · break: a get or a list fails after `at` bytes or entries ·
   * flip: a get gives one bit of byte `at` changed
   */
  how: 'fail' | 'lose' | 'stall' | 'truncate' | 'break' | 'flip'
  at?: number
  /** A retryable storage error unless told. */
  error?: Error
}

export interface FaultyStorage extends Storage {
  /** Every call so far: `put a/b`. */
  readonly calls: string[]
  /** More faults, counted from now. */
  add(fault: Fault): void
}

/** The same storage with faults. */
export function faulty(storage: Storage, ...faults: Fault[]): FaultyStorage {
  const calls: string[] = []
  const armed: { fault: Fault; seen: number }[] = []

  /** The fault of this call; counts the call for all that match it. */
  function strike(on: Operation, keys: string[]): Fault | undefined {
    calls.push(`${on} ${keys.join(' ')}`)
    let struck: Fault | undefined
    for (const arm of armed) {
      const { key, nth = 1, times = 1 } = arm.fault
      if (arm.fault.on !== on || !keys.some((name) => matches(key, name))) continue
      arm.seen += 1
      if (arm.seen >= nth && arm.seen < nth + times) struck ??= arm.fault
    }
    return struck
  }

  async function around<T>(
    fault: Fault | undefined,
    signal: AbortSignal | undefined,
    work: () => Promise<T>,
  ): Promise<T> {
    if (fault?.how === 'fail') throw errorOf(fault)
    if (fault?.how === 'stall') await untilAborted(signal)
    const result = await work()
    if (fault?.how === 'lose') throw errorOf(fault)
    return result
  }

  async function get(key: string, options: GetOptions = {}): Promise<Readable> {
    const fault = strike('get', [key])
    const stream = await around(fault, options.signal, () => storage.get(key, options))
    if (!fault || !['truncate', 'break', 'flip'].includes(fault.how)) return stream
    return madeOf(stream, damaged(stream, fault))
  }

  async function* list(prefix: string, options?: { delimiter?: string }): AsyncIterable<Listed> {
    const fault = strike('list', [prefix])
    await around(fault?.how === 'fail' ? fault : undefined, undefined, async () => {})
    let count = 0
    for await (const entry of storage.list(prefix, options)) {
      if (fault?.how === 'break' && count++ === (fault.at ?? 0)) throw errorOf(fault)
      yield entry
    }
  }

  for (const fault of faults) armed.push({ fault, seen: 0 })
  return {
    name: storage.name,
    features: storage.features,
    calls,
    add: (fault) => void armed.push({ fault, seen: 0 }),
    put: (key: string, body: Body, options: PutOptions) =>
      around(strike('put', [key]), options.signal, () => storage.put(key, body, options)),
    get,
    head: (key) => around(strike('head', [key]), undefined, () => storage.head(key)),
    list,
    delete: (keys) => around(strike('delete', keys), undefined, () => storage.delete(keys)),
    close: () => storage.close(),
  }
}

async function* damaged(stream: Readable, fault: Fault): AsyncGenerator<Buffer> {
  const at = fault.at ?? 0
  let from = 0
  for await (const chunk of piecesOf(stream)) {
    const place = at - from
    from += chunk.length
    if (place < 0 || place >= chunk.length) {
      yield chunk
      continue
    }
    if (fault.how === 'flip') {
      const copy = Buffer.from(chunk)
      copy[place] = (copy[place] as number) ^ 1
      yield copy
      continue
    }
    if (place > 0) yield chunk.subarray(0, place)
    if (fault.how === 'break') throw errorOf(fault)
    return
  }
}

function errorOf({ error, on }: Fault): Error {
  return error ?? new JobError('storage', `${on}: broken on purpose`, { retryable: true })
}

function matches(wanted: string | RegExp | undefined, name: string): boolean {
  return wanted === undefined || (typeof wanted === 'string' ? wanted === name : wanted.test(name))
}

function untilAborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    if (signal?.aborted) reject(signal.reason)
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}
