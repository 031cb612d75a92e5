import { pino } from 'pino'
import type { Job } from '../../commands/job.ts'
import type { Config, Plan } from '../../config.ts'
import type { Order } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import type { HookActions } from '../../hooks.ts'
import type { Storage } from '../../storage.ts'

/** The time that it is for commands in tests. */
export const now = new Date('2026-11-21T00:00:00Z')

export interface FakeJobOptions {
  storages: Storage[]
  backups: Record<string, Partial<Plan>>
  restores?: Config['restores']
  copies?: Config['copies']
  /** What a worker answers to an order. */
  answer?: (order: Order) => unknown
  hooks?: HookActions
  now?: Date
  signal?: AbortSignal
}

/** A job over given storages; a plan without storages has all of them. */
export function fakeJob({
  storages,
  backups,
  restores = {},
  copies = {},
  answer,
  hooks,
  signal,
  ...options
}: FakeJobOptions): Job {
  const warnings: string[] = []
  const names = storages.map(({ name }) => name)
  const defaults = { storages: names, require: 'all', sources: [], deadline: '24h', keepFailed: '48h' }
  const plans = Object.entries(backups).map(([name, plan]) => [name, { ...defaults, ...plan }])
  const known = Object.fromEntries(storages.map(({ name }) => [name, { filesystem: { path: `/${name}` } }]))
  const config = { storages: known, backups: Object.fromEntries(plans), restores, copies } as unknown as Config
  return {
    config,
    log: pino({ level: 'silent' }),
    progress: { begin: () => {}, add: () => {}, end: () => 0 },
    signal: signal ?? new AbortController().signal,
    secret: () => 'secret',
    about: () => {},
    warnings,
    figures: {},
    objects: async () => {
      throw new Error('no test here needs objects')
    },
    warn: (message) => warnings.push(message),
    now: () => options.now ?? now,
    workers: () => ({ order: async (order) => answer?.(order), close: async () => {} }),
    hooks: async () => {
      if (hooks) return hooks
      throw new JobError('configuration', 'there is no Kubernetes here')
    },
    storage: async (name) => {
      const storage = storages.find((one) => one.name === name)
      if (storage) return storage
      throw new JobError('configuration', `no storage named "${name}"`)
    },
  }
}
