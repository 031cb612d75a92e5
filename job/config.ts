import { existsSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { isTimeZone } from './catalog/calendar.ts'
import { Retention } from './catalog/retention-values.ts'
import { duration } from './durations.ts'
import type { SecretReader } from './engine.ts'
import { SourceValues, TargetValues } from './engines/index.ts'
import { JobError } from './errors.ts'
import { Hooks } from './hooks.ts'
import { publicKeyOf, SigningValues, TrustValues } from './io/signature.ts'
import { usualLevel } from './io/zstd.ts'
import { explain, issuesOf } from './issues.ts'
import { chartValues, job, pod } from './kubernetes/values.ts'
import { Limits } from './limits.ts'
import type { Trust } from './manifest.ts'
import { Metrics } from './metrics.ts'
import { nextTime } from './schedules.ts'
import { isSamePlace, kindPath, StorageValues } from './storages/index.ts'

export { seconds } from './durations.ts'

/** The values of the chart, unchanged. What only Kubernetes needs is accepted, and ignored here. */

const name = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'a name has 1 to 63 of a-z, 0-9 and -')
const timeZone = z.string().refine(isTimeZone, 'is no time zone that is known here, such as Europe/Stockholm')

const Compression = z
  .strictObject({
    level: z
      .int()
      .min(1)
      .max(9)
      .default(usualLevel)
      .describe(
        'level of zstd: higher ones make smaller parts, and take longer (3: a fifth smaller, half as long again)',
      ),
  })
  .describe('how dumps and files are compressed; native files of RonDB are stored as NDB wrote them')

const Plan = z.strictObject({
  storages: z.array(name).min(1).describe('names of the storages that get the backup'),
  require: z
    .union([z.enum(['all', 'any']), z.int().min(1)])
    .default('all')
    .describe(
      'how many of the storages must have a backup for its run to have succeeded: `all`, `any`, or a number; what the others missed is a warning then',
    ),
  sources: z.array(SourceValues).min(1).describe('what is backed up, in this order'),
  retention: Retention.optional().describe('which backups are kept: what any rule keeps stays; without rules all'),
  compression: Compression.optional(),
  signing: SigningValues.optional(),
  trust: TrustValues.optional().describe(
    'whose signatures count when backups of this plan are verified, copied, exported, unpacked, pruned, or restored into its own sources',
  ),
  limits: Limits.optional().describe('how fast runs of the plan may move bytes; without it as fast as they can'),
  hooks: Hooks.optional(),
  schedule: z.string().nullish().describe('cron schedule; the job only prints the next run'),
  timeZone: timeZone
    .nullish()
    .describe(
      'time zone of the schedule, of the days, weeks, months of `retention` and of `limits.between`: Europe/Stockholm; UTC unless told',
    ),
  suspend: z.boolean().nullish(),
  runNow: z.union([z.string(), z.int()]).nullish(),
  deadline: duration.default('24h').describe('a run that takes longer has failed'),
  keepFailed: duration.default('48h').describe('how long leftovers of failed runs stay, for --resume and for a look'),
  pod,
  job,
})
export type Plan = z.infer<typeof Plan>

const planName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'a plan of another installation has 1 to 63 of A-Z, a-z, 0-9, ., _ and -')

const Restore = z.strictObject({
  from: z.strictObject({
    plan: planName.describe('the plan that made the backup: its folder in the storage'),
    storages: z.array(name).min(1).describe('where to look, in this order'),
  }),
  pick: z
    .union([z.string(), z.int()])
    .default('latest')
    .describe(
      '`latest`, a backup id, or a time: then the newest backup not after it. A time that names no zone is UTC, whatever `timeZone` says, and a date alone is the end of that day in UTC. Without a schedule it is looked up once, when the restore first begins',
    ),
  maxAge: duration.optional().describe('refuse a backup older than this'),
  trust: TrustValues.optional().describe(
    'refuse every backup that none of these keys signed; whoever can write to the storage could restore what he likes otherwise',
  ),
  overwrite: z.boolean().default(false).describe('replace what the target holds of the chosen tables and databases'),
  token: z
    .union([z.string(), z.int()])
    .optional()
    .describe('any text; another text carries out again what was restored once'),
  targets: z.array(TargetValues).min(1).describe('what is restored, and where to'),
  hooks: Hooks.optional(),
  limits: Limits.optional().describe('how fast it may move bytes; those of the plan do not count for it'),
  schedule: z.string().nullish(),
  timeZone: timeZone.nullish().describe('time zone of the schedule and of `limits.between`; UTC unless told'),
  suspend: z.boolean().nullish(),
  deadline: duration.default('24h').describe('a run that takes longer has failed'),
  pod,
  job,
})
export type Restore = z.infer<typeof Restore>

const Copy = z.strictObject({
  plan: planName.describe('the plan whose backups are copied: its folder in the storages'),
  from: z
    .array(name)
    .min(1)
    .optional()
    .describe("where to read, in this order; the plan's storages, unless it is of another installation"),
  to: z
    .array(name)
    .min(1)
    .optional()
    .describe("the storages that get what they do not have; the plan's, unless it is of another installation"),
  limits: Limits.optional().describe(
    'how fast it may move bytes; what is read from one storage and written to another counts twice',
  ),
  schedule: z.string().nullish(),
  timeZone: timeZone.nullish().describe('time zone of the schedule and of `limits.between`; UTC unless told'),
  suspend: z.boolean().nullish(),
  deadline: duration.default('24h').describe('a run that takes longer has failed'),
  pod,
  job,
})
export type Copy = z.infer<typeof Copy>

export const Values = z.strictObject({
  cluster: z.string().optional().describe('a name for this installation, written into every manifest'),
  storages: z.record(name, StorageValues).default({}),
  backups: z.record(name, Plan).default({}),
  restores: z.record(name, Restore).default({}),
  copies: z.record(name, Copy).default({}),
  metrics: Metrics.default({}),
  ...chartValues,
})
export type Values = z.infer<typeof Values>

export interface Config extends Values {
  secretsDir: string
  volumesDir: string
  tmpDir: string
}

/** Where the job's own settings come from when a flag does not say: HOLDFAST_CONFIG and friends. The only process.env. */
export interface Settings {
  config?: string | undefined
  secretsDir?: string | undefined
  volumesDir?: string | undefined
  tmpDir?: string | undefined
}

/** What the chart tells a pod of itself, and what it may ask of the API server; all of it is missing outside Kubernetes. */
export interface Surroundings {
  podName?: string | undefined
  podNamespace?: string | undefined
  podUid?: string | undefined
  jobName?: string | undefined
  jobUid?: string | undefined
  /** Name of the Lease that a run holds. Without it the run holds none, and tells Kubernetes nothing of itself. */
  lease?: string | undefined
  /** Wait for the holder's end instead of ending with `busy`. */
  leaseWait?: boolean | undefined
  /** Those of the release and the plan, for what outlives the pod: the Lease. */
  labels?: Record<string, string> | undefined
  /** File with the template of worker pods. */
  workers?: string | undefined
  /** Image of our own pod: the file may be of a newer release than the Job. */
  workerImage?: string | undefined
  /** For tests: how to reach a cluster from outside. */
  kubeconfig?: string | undefined
}

export const environment = {
  config: process.env.HOLDFAST_CONFIG,
  secretsDir: process.env.HOLDFAST_SECRETS_DIR,
  volumesDir: process.env.HOLDFAST_VOLUMES_DIR,
  tmpDir: process.env.HOLDFAST_TMP_DIR,
  terminationLog: process.env.HOLDFAST_TERMINATION_LOG,
  /** For clients and SDKs: PATH, HOME, AWS_*. */
  path: process.env.PATH ?? '',
  kubernetes: {
    podName: given(process.env.HOLDFAST_POD_NAME),
    podNamespace: given(process.env.HOLDFAST_POD_NAMESPACE),
    podUid: given(process.env.HOLDFAST_POD_UID),
    jobName: given(process.env.HOLDFAST_JOB_NAME),
    jobUid: given(process.env.HOLDFAST_JOB_UID),
    lease: given(process.env.HOLDFAST_LEASE),
    leaseWait: process.env.HOLDFAST_LEASE_WAIT === 'true',
    labels: labelsIn(process.env.HOLDFAST_LABELS),
    workers: given(process.env.HOLDFAST_WORKERS),
    workerImage: given(process.env.HOLDFAST_WORKER_IMAGE),
    kubeconfig: given(process.env.KUBECONFIG),
  } satisfies Surroundings as Surroundings,
}

/** The downward API gives an empty text for a label that is not there. */
function given(text: string | undefined): string | undefined {
  return text === '' ? undefined : text
}

/** As selectors have them: `app.kubernetes.io/name=holdfast,holdfast/plan=nightly`. */
function labelsIn(text = ''): Record<string, string> {
  const pairs = text.split(',').map((pair) => pair.split('='))
  return Object.fromEntries(pairs.flatMap(([key, value]) => (key && value !== undefined ? [[key, value]] : [])))
}

/** Reads and validates the config file. Throws `configuration` with the path of each wrong value. */
export async function loadConfig(settings: Settings): Promise<Config> {
  const file = settings.config ?? environment.config ?? 'holdfast.yaml'
  return { ...parseValues(await readYaml(file), file), ...foldersOf(settings) }
}

/** Without plans and storages, for what needs none. */
export function bareConfig(settings: Settings): Config {
  return { ...parseValues({}, ''), ...foldersOf(settings) }
}

function foldersOf(settings: Settings): Pick<Config, 'secretsDir' | 'volumesDir' | 'tmpDir'> {
  return {
    secretsDir: settings.secretsDir ?? environment.secretsDir ?? '/secrets',
    volumesDir: settings.volumesDir ?? environment.volumesDir ?? '/volumes',
    tmpDir: settings.tmpDir ?? environment.tmpDir ?? tmpdir(),
  }
}

async function readYaml(file: string): Promise<unknown> {
  if (!existsSync(file)) {
    throw new JobError('configuration', `there is no config file ${file}`, {
      hint: 'name it with --config, or set HOLDFAST_CONFIG',
    })
  }
  // workers have this module too, but no such file
  const { parse } = await import('yaml')
  try {
    return parse(readFileSync(file, 'utf8')) ?? {}
  } catch (cause) {
    throw new JobError('configuration', `${file} cannot be read as YAML`, { cause })
  }
}

/** Validates values and the names they use for each other. `file` is for the message. */
export function parseValues(values: unknown, file: string): Values {
  const parsed = Values.safeParse(values, { error: explain })
  if (!parsed.success) {
    const wrong = issuesOf(parsed.error)
    throw new JobError('configuration', `${file}: ${wrong.join('; ')}`, {
      hint: 'docs/values.md lists every value with its meaning',
    })
  }
  for (const [plan, values] of Object.entries(parsed.data.backups)) {
    const { storages, require: wanted, sources, hooks, retention, trust, signing } = values
    trustIn(trust, `backups.${plan}.trust`)
    if (trust && !signing && !values.suspend)
      throw new JobError(
        'configuration',
        `backups.${plan}.trust: needs backups.${plan}.signing, for backups that nobody signs could not be restored; name its key, or remove trust`,
      )
    refuseScaledTwice(`backups.${plan}`, [hooks, ...sources.map((source) => source.hooks)])
    knowStorages(`backups.${plan}.storages`, storages, parsed.data)
    refuseOnePlace(`backups.${plan}.storages`, storages, parsed.data)
    if (typeof wanted === 'number' && wanted > storages.length)
      throw new JobError('configuration', `backups.${plan}.require: ${wanted} of ${storages.length} storages`)
    refuseStrange(`backups.${plan}.retention.storages`, Object.keys(retention?.storages ?? {}), storages)
    refuseTwice(
      `backups.${plan}.sources`,
      sources.map((source) => source.name),
    )
  }
  for (const [restore, { from, targets, hooks, trust }] of Object.entries(parsed.data.restores)) {
    trustIn(trust, `restores.${restore}.trust`)
    if (!trust && parsed.data.backups[from.plan]?.trust)
      throw new JobError(
        'configuration',
        `restores.${restore}.trust: missing; backups.${from.plan} names whose signatures count, so name the same keys, or others`,
      )
    refuseScaledTwice(`restores.${restore}`, [hooks, ...targets.map((target) => target.hooks)])
    knowStorages(`restores.${restore}.from.storages`, from.storages, parsed.data)
    refuseTwice(
      `restores.${restore}.targets`,
      targets.map((target) => target.name),
    )
  }
  for (const [copy, values] of Object.entries(parsed.data.copies)) checkCopy(copy, values, parsed.data)
  for (const section of ['backups', 'restores', 'copies'] as const)
    for (const [name, values] of Object.entries(parsed.data[section]))
      nextTime(values, { at: `${section}.${name}`, now: new Date(0) })
  return parsed.data
}

/** Keys in the form that signatures name them in. Throws `configuration` for what is none. */
export function trustIn(keys: readonly string[] | undefined, at: string): Trust | undefined {
  return keys && { at, keys: keys.map((key, i) => publicKeyOf(key, `${at}.${i}`)) }
}

function checkCopy(copy: string, { plan, from, to }: Copy, values: Values): void {
  const at = `copies.${copy}`
  if (from) knowStorages(`${at}.from`, from, values)
  if (to) knowStorages(`${at}.to`, to, values)
  const own = values.backups[plan]?.storages
  if (!own && !(from && to))
    throw new JobError('configuration', `${at}: plan ${plan} is of another installation: name from and to`)
  if (copy !== plan && values.backups[copy])
    throw new JobError('configuration', `${at}: plan ${copy} has the same name: a copy of another plan needs another`)
  const all = [...new Set([...(from ?? own ?? []), ...(to ?? own ?? [])])]
  if (all.length < 2)
    throw new JobError('configuration', `${at}: there is one storage only: nothing would have to be brought anywhere`)
  refuseOnePlace(at, all, values)
}

/** Two names of one place would count as two copies where there is one, and the retention of one would remove what the other keeps. */
export function refuseOnePlace(at: string, names: readonly string[], { storages }: Pick<Values, 'storages'>): void {
  for (const [i, name] of names.entries()) {
    for (const other of names.slice(i + 1)) {
      const [one, two] = [storages[name], storages[other]]
      if (!one || !two || !isSamePlace(one, two)) continue
      throw new JobError(
        'configuration',
        `${at}: ${kindPath(name, one)} and ${kindPath(other, two)} are the same place`,
        {
          hint: 'what happens to the one happens to the other: leave one out, or give it a place of its own',
        },
      )
    }
  }
}

function knowStorages(at: string, names: string[], values: Values): void {
  const known = Object.keys(values.storages)
  for (const storage of names) {
    if (known.includes(storage)) continue
    throw new JobError(
      'configuration',
      `${at}: no storage named "${storage}" (there are: ${known.join(', ') || 'none'})`,
    )
  }
  refuseTwice(at, names)
}

function refuseStrange(at: string, names: string[], storages: string[]): void {
  const strange = names.find((one) => !storages.includes(one))
  if (strange === undefined) return
  throw new JobError(
    'configuration',
    `${at}: the plan does not write to storage "${strange}" (it writes to: ${storages.join(', ')})`,
  )
}

function refuseTwice(at: string, names: string[]): void {
  const twice = names.find((one, i) => names.indexOf(one) !== i)
  if (twice) throw new JobError('configuration', `${at}: "${twice}" is there twice`)
}

/** The inner one would scale it back while the outer one still wants it down. */
function refuseScaledTwice(at: string, hooks: (Hooks | undefined)[]): void {
  const all = hooks.flatMap(
    (one) => one?.before.flatMap(({ scale }) => (scale ? [`${scale.kind} ${scale.name}`] : [])) ?? [],
  )
  refuseTwice(`${at}: hooks scale`, all)
}

/** The path of a mounted secret's key. */
export function secretPath(secretsDir: string, ref: { secret: string }, key: string): string {
  return join(secretsDir, ref.secret, key)
}

/** Reads mounted secrets. The text never goes into a log: only its path does. */
export function secretReader(secretsDir: string): SecretReader {
  return (ref, key, at) => {
    const file = secretPath(secretsDir, ref, key)
    try {
      return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
    } catch (cause) {
      throw new JobError('configuration', `${at}: secret ${ref.secret} has no readable key ${key} (${file})`, {
        hint: `in Kubernetes the Secret needs that key; elsewhere put the value into ${file}, or name the folder of the secrets with --secrets-dir`,
        cause,
      })
    }
  }
}
