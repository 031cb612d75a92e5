import { parse, type Request, UsageError } from './cli.ts'
import type { Job } from './commands/job.ts'
import { bareConfig, type Config, environment, loadConfig, secretPath, secretReader } from './config.ts'
import { JobError, textOf } from './errors.ts'
import type { Inside } from './io/local-workers.ts'
import { openLog } from './io/log.ts'
import { openCrowd, paceAmong } from './io/pace.ts'
import type { Result } from './io/print.ts'
import { progressTo } from './io/progress.ts'
import { report, summarise } from './io/report.ts'
import { eventually, type Workers } from './io/workers.ts'
import { type Coordination, coordinate, uncoordinated } from './kubernetes/run.ts'
import type { Template } from './kubernetes/template.ts'
import { limitOver, pacingOf, type Subject } from './limits.ts'
import type { Figures } from './metrics.ts'
import type { Storage } from './storage.ts'
import { openStorage } from './storages/index.ts'
import { limited } from './storages/limited.ts'
import { version } from './version.ts'

// only a written summary says 0: a promise that never settles must not end in a green backup
process.exitCode = 1

type Command = (job: Job, request: never) => Promise<Result>

/** Each is loaded when it is asked for: a worker starts in half the time without them. */
const commands: { [verb in Exclude<Request['verb'], 'worker'>]: () => Promise<Command> } = {
  backup: async () => (await import('./commands/backup.ts')).backup,
  restore: async () => (await import('./commands/restore.ts')).restore,
  check: async () => (await import('./commands/check.ts')).check,
  list: async () => (await import('./commands/list.ts')).list,
  show: async () => (await import('./commands/show.ts')).show,
  verify: async () => (await import('./commands/verify.ts')).verify,
  prune: async () => (await import('./commands/prune.ts')).prune,
  pin: async () => (await import('./commands/pin.ts')).pin,
  unpin: async () => (await import('./commands/pin.ts')).unpin,
  copy: async () => (await import('./commands/copy.ts')).copy,
  export: async () => (await import('./commands/export.ts')).exportBackup,
  import: async () => (await import('./commands/import.ts')).importBackup,
  unpack: async () => (await import('./commands/unpack.ts')).unpack,
  rewrap: async () => (await import('./commands/rewrap.ts')).rewrap,
  adopt: async () => {
    const { adopt } = await import('./commands/adopt.ts')
    return (job, { decryptionSecret: secret, decryptionKey: key, ...request }: Extract<Request, { verb: 'adopt' }>) =>
      adopt(job, { ...request, decryption: secret === undefined ? undefined : { secret, key } })
  },
}

// a reader of our output that goes away must not end a run
process.stdout.on('error', () => {})
process.exit(await main(process.argv.slice(2)))

async function main(args: string[]): Promise<number> {
  const request = await readFlags(args)
  if (typeof request === 'number') return request
  const log = await openLog({ level: request.settings.logLevel, stream: process.stderr })
  if (request.verb === 'worker') {
    const stop = new AbortController()
    stopOnSignals(stop)
    const { worker } = await import('./commands/worker.ts')
    await worker({ input: process.stdin, output: process.stdout, log, signal: stop.signal })
    return 0
  }
  const begun = performance.now()
  const stop = new AbortController()
  stopOnSignals(stop)
  const open = openJob({ request, log, stop })
  let error: unknown
  let facts: Record<string, unknown> = {}
  let coordination = uncoordinated
  let config: Config | undefined
  try {
    coordination = await coordinate({ request, surroundings: environment.kubernetes, log })
    config = needsNone(request) ? bareConfig(request.settings) : await loadConfig(request.settings)
    await coordination.begin(stop)
    const [command, { print }] = await Promise.all([commands[request.verb](), import('./io/print.ts')])
    const result = await command(open.job(config, coordination), { ...request, format: request.output } as never)
    facts =
      typeof result.data === 'object' && !Array.isArray(result.data) && isRun(request.verb)
        ? (result.data as Record<string, unknown>)
        : {}
    print({ result, format: request.output, to: result.beside ? process.stderr : process.stdout })
    error = result.failure
  } catch (thrown) {
    error = stop.signal.aborted ? stop.signal.reason : thrown
    if (!(error instanceof JobError))
      log.error({ stack: thrown instanceof Error ? thrown.stack : String(thrown) }, 'this is a bug of holdfast')
  }
  await open.close()
  const seconds = (performance.now() - begun) / 1000
  const { warnings, figures, warn } = open
  const ended = { verb: request.verb, seconds, facts, ...(error === undefined ? {} : { error }) }
  // what it warns of belongs in the summary
  if (config?.metrics.pushgateway) {
    const { sendMetrics } = await import('./commands/metrics.ts')
    const summary = summarise({ ...ended, warnings })
    await sendMetrics({ request, config, summary, figures, now: new Date(), stop: stop.signal, warn })
  }
  const summary = summarise({ ...ended, warnings })
  await coordination.end(summary)
  if (isRun(request.verb)) report(summary, { log, terminationLog: environment.terminationLog })
  else if (error !== undefined) log.error({ ...(summary.hint ? { hint: summary.hint } : {}) }, `${summary.error}`)
  return summary.code
}

/** Verbs that change something end in a summary; the others in what they print. */
function isRun(verb: Request['verb']): boolean {
  return [
    'backup',
    'restore',
    'copy',
    'prune',
    'pin',
    'unpin',
    'adopt',
    'verify',
    'rewrap',
    'export',
    'import',
    'unpack',
  ].includes(verb)
}

/** A copy is unpacked where nothing of the installation is left. */
function needsNone(request: Request): boolean {
  return request.verb === 'unpack' && request.from !== undefined
}

async function readFlags(args: string[]): Promise<Request | number> {
  try {
    return (await parse(args, version)) ?? 0
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(
      `holdfast: ${textOf(error)}\nholdfast --help lists the verbs; holdfast <verb> --help their flags\n`,
    )
    return 2
  }
}

function stopOnSignals(stop: AbortController): void {
  const kinds = { SIGTERM: 'terminated', SIGINT: 'interrupted' } as const
  for (const [signal, kind] of Object.entries(kinds)) {
    process.on(signal, () => {
      // the second time somebody is in a hurry
      if (stop.signal.aborted) process.exit(kind === 'terminated' ? 143 : 130)
      stop.abort(new JobError(kind, `stopped by ${signal}`))
    })
  }
}

function openJob({ request, log, stop }: { request: Request; log: Job['log']; stop: AbortController }) {
  const warnings: string[] = []
  const figures: Figures = {}
  const storages = new Map<string, Promise<Storage>>()
  const teams: Workers[] = []
  const progress = progressTo({ log, stream: process.stderr })
  const warn = (message: string) => {
    if (warnings.includes(message)) return
    warnings.push(message)
    log.warn(message)
  }

  function job(config: Config, { about, workers: template }: Coordination): Job {
    const secret = secretReader(config.secretsDir)
    const pacing = pacingOf(config, request as Subject)
    const crowd = openCrowd()
    const pace = pacing && paceAmong(crowd, limitOver(pacing))
    const slowed = (storage: Storage) => (pace ? limited(storage, pace) : storage)
    const storage = (name: string) => {
      const values = config.storages[name]
      if (!values)
        throw new JobError(
          'configuration',
          `storages: no storage named "${name}" (there are: ${Object.keys(config.storages).join(', ') || 'none'})`,
        )
      const context = {
        at: `storages.${name}`,
        secret,
        secretPath: (ref: { secret: string }, key: string) => secretPath(config.secretsDir, ref, key),
        volumesDir: config.volumesDir,
      }
      const opened = storages.get(name) ?? openStorage({ name, values, context }).then(slowed)
      storages.set(name, opened)
      return opened
    }
    return {
      config,
      log,
      progress,
      signal: stop.signal,
      secret,
      about,
      warnings,
      figures,
      now: () => new Date(),
      warn,
      storage: async (name) => storage(name),
      objects: async () => (await import('./kubernetes/objects.ts')).kubernetesObjects(),
      hooks: async (run) => (await import('./kubernetes/hooks.ts')).hookActions(`holdfast-${run}`),
      workers: ({ plan, id, storages: names, staging }) => {
        const values = Object.fromEntries(names.map((name) => [name, config.storages[name]]))
        const { secretsDir, volumesDir } = config
        const hello = {
          version,
          plan,
          backupId: id,
          storages: values,
          secretsDir,
          volumesDir,
          staging: staging ?? config.tmpDir,
          level: config.backups[plan]?.compression?.level,
          pacing,
        }
        const { signal } = stop
        const local = eventually(async () => {
          const { localWorkers } = await import('./io/local-workers.ts')
          const { worker } = await import('./commands/worker.ts')
          const inside: Inside = (streams) => worker({ ...streams, log, patience: Number.POSITIVE_INFINITY })
          return localWorkers({ hello, progress, crowd, signal, logLevel: request.settings.logLevel, inside })
        })
        const pods = eventually(async () => {
          const { podTeam } = await import('./kubernetes/team.ts')
          return podTeam({ template: template as Template, hello, progress, crowd, log, signal, local })
        })
        const team = template === undefined || staging !== undefined ? local : pods
        teams.push(team)
        return team
      },
    }
  }

  /** Never rejects: a run must say how it ended, and give its lease back. Workers that nobody closes end by themselves. */
  async function close(): Promise<void> {
    progress.end()
    for (const closed of await Promise.allSettled(teams.map((team) => team.close())))
      if (closed.status === 'rejected') warn(`workers were left to end by themselves: ${textOf(closed.reason)}`)
    await Promise.allSettled([...storages.values()].map(async (storage) => (await storage).close()))
  }

  return { job, close, warnings, figures, warn }
}
