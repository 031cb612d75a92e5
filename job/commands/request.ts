import { createHash } from 'node:crypto'
import { type Config, type Restore, trustIn } from '../config.ts'
import type { Delegate, Engine, RequestRun } from '../engine.ts'
import { engineOf } from '../engines/index.ts'
import { JobError } from '../errors.ts'
import type { Trust } from '../manifest.ts'
import { contextOf } from './backup.ts'
import type { Around } from './hooks.ts'
import type { Job } from './job.ts'

export interface RestoreOptions {
  /** A restore of the values; left out with `backup`. */
  restore?: string | undefined
  /** A plan of the values: its sources are the targets. */
  backup?: string | undefined
  pick?: string | undefined
  overwrite?: boolean | undefined
  token?: string | undefined
  /** Only these sources. */
  sources?: string[] | undefined
  /** All but these sources. */
  exclude?: string[] | undefined
  dryRun?: boolean | undefined
}

/** What is asked for, before a backup is chosen. */
export interface Request extends Pick<Restore, 'from' | 'pick' | 'maxAge' | 'overwrite' | 'deadline'> {
  /** `restore standby`: what others see of it in the storage. */
  by: string
  /** Values path of the restore, or of the plan that it is made of. */
  at: string
  trust: Trust | undefined
  /** Every backup that is newer is restored, once; without a schedule the pick is looked up once. */
  scheduled: boolean
  targets: Asked[]
  /** What is done around it. */
  around: Around
}

/** One target, and what is asked of it. */
export interface Asked {
  /** Values path. */
  at: string
  name: string
  engine: Engine
  run: RequestRun
  around: Around
}

interface Requesting {
  job: Job
  options: RestoreOptions
  delegate: Delegate
}

export function requestOf({ job, options, delegate }: Requesting): Request {
  const { at, restore } = restoreOf(job.config, options)
  const scheduled = Boolean(restore.schedule)
  const { from, pick, maxAge, overwrite, deadline } = restore
  const asked = restore.targets.map((target, i) =>
    askedOf({ job, at: `${at}.targets.${i}`, run: runOf(options), restore, target, delegate }),
  )
  const around = { run: runOf(options), at: `${at}.hooks`, hooks: restore.hooks }
  const by = `restore ${options.restore ?? options.backup}`
  const trust = trustIn(restore.trust, `${at}.trust`)
  return { at, by, scheduled, from, trust, pick, maxAge, overwrite, deadline, around, targets: chosen(asked, options) }
}

/** What no other run is called that may be at work. */
function runOf({ restore, backup }: RestoreOptions): string {
  return `restore-${restore ?? backup}`
}

/** A restore of the values, with what the command line changes; or one made of a plan, into its own sources. */
function restoreOf({ restores, backups }: Config, options: RestoreOptions): { at: string; restore: Restore } {
  const changes = {
    ...(options.pick === undefined ? {} : { pick: options.pick }),
    ...(options.overwrite === undefined ? {} : { overwrite: options.overwrite }),
    ...(options.token === undefined ? {} : { token: options.token }),
  }
  if (options.restore !== undefined) {
    const restore = restores[options.restore]
    if (restore) return { at: `restores.${options.restore}`, restore: { ...restore, ...changes } }
    throw new JobError(
      'configuration',
      `restores: no restore named "${options.restore}" (there are: ${Object.keys(restores).join(', ') || 'none'})`,
      {
        hint: 'or restore a plan into its own sources: holdfast restore --backup PLAN --pick latest',
      },
    )
  }
  const name = options.backup
  const plan = name === undefined ? undefined : backups[name]
  if (!plan || name === undefined) {
    throw new JobError(
      'configuration',
      `backups: no plan named "${name ?? ''}" (there are: ${Object.keys(backups).join(', ') || 'none'})`,
    )
  }
  const targets = plan.sources.map((source) => {
    const { engine, values } = engineOf(source)
    return { name: source.name, [engine.name]: engine.targetOf(values) }
  })
  const { storages, deadline, trust } = plan
  const from = { plan: name, storages }
  const restore = { from, trust, pick: 'latest', overwrite: false, deadline, targets, ...changes } as Restore
  return { at: `backups.${name}`, restore }
}

interface Asking {
  job: Job
  at: string
  /** Name of the run. */
  run: string
  restore: Restore
  target: Restore['targets'][number]
  delegate: Delegate
}

function askedOf({ job, at, run, restore, target, delegate }: Asking): Asked {
  const { engine, values } = engineOf(target)
  const request = hashOf(restore, { name: target.name, wanted: engine.requestOf(values) })
  return {
    at,
    name: target.name,
    engine,
    around: { run, at: `${at}.hooks`, hooks: target.hooks },
    run: { ...contextOf(job), at: `${at}.${engine.name}`, target: values, request, delegate },
  }
}

/**
 * The pick as it is written, not the backup that it leads to: a request that was carried out must not become another one because
 * a backup was taken since. With a schedule the backup stands beside it, in the marker.
 */
function hashOf(restore: Restore, { name, wanted }: { name: string; wanted: unknown }): string {
  const { from, pick, schedule, token } = restore
  const asked = {
    plan: from.plan,
    ...(schedule ? { scheduled: true } : { pick: String(pick).trim() }),
    source: name,
    token: token?.toString(),
    wanted,
  }
  return createHash('sha256').update(JSON.stringify(asked)).digest('hex')
}

function chosen(targets: Asked[], { sources, exclude }: RestoreOptions): Asked[] {
  const names = targets.map((target) => target.name)
  const unknown = [...(sources ?? []), ...(exclude ?? [])].find((name) => !names.includes(name))
  if (unknown !== undefined) {
    const flag = exclude ? '--exclude' : '--source'
    throw new JobError('configuration', `${flag} ${unknown}: no target of that name (there are: ${names.join(', ')})`)
  }
  const kept = targets.filter(({ name }) => (sources?.includes(name) ?? true) && !exclude?.includes(name))
  if (kept.length > 0) return kept
  throw new JobError(
    'configuration',
    `--exclude ${exclude?.join(' ')}: no target is left (there are: ${names.join(', ')})`,
  )
}
