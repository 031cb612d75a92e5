import { randomInt } from 'node:crypto'
import type { Catalog, Verified } from '../catalog/catalog.ts'
import { bytesOf, manifestKey } from '../catalog/layout.ts'
import { type Sample, sampleOf } from '../catalog/sample.ts'
import { seconds } from '../config.ts'
import type { InspectRun } from '../engine.ts'
import { engineNamed, engineOf } from '../engines/index.ts'
import { JobError, textOf } from '../errors.ts'
import { type Result, sizeText } from '../io/print.ts'
import { openReader, ownParts } from '../io/reader.ts'
import { type Manifest, requireTrust } from '../manifest.ts'
import { isMissing } from '../storage.ts'
import { contextOf } from './backup.ts'
import { askEach, failureOf, storagesOf, trustOf, type Unreachable } from './catalogs.ts'
import { holding } from './hold.ts'
import type { Job } from './job.ts'

export interface VerifyCommandOptions {
  plan: string
  /** Left out: the newest backup of each storage. */
  pick?: string | number | undefined
  /** Every backup of the plan. */
  all?: boolean | undefined
  level?: Level | undefined
  /** Read only so much of the bytes again, from more than 0 to 1; with `content` alone. Presence and size are checked of all parts. */
  sample?: number | undefined
  /** Picks the parts of the sample; by chance when left out. */
  seed?: number | undefined
  storages?: string[] | undefined
}

/** `present`: there with the right size. `content`: read again, same sha256. `readable`: the engine's tools can read it as well. */
export type Level = 'present' | 'content' | 'readable'

/** One backup in one storage; also what `--output json` gives. */
export interface Verdict {
  plan: string
  storage: string
  id: string
  level: Level
  /** Absent when all was read. */
  sample?: Sample
  parts: number
  bytes: number
  /** Public key of whoever signed the manifest; null when nobody did. Absent when it could not be read. */
  signedBy?: string | null
  /** What was read again. */
  read: { parts: number; bytes: number }
  problems: { path: string; says: string }[]
  /** Objects in the folder that the manifest does not know. */
  extra: string[]
}

type Judged = Verdict & { unreadable: boolean }

const shownProblems = 20
const deadlineOfForeign = '24h'

/** Checks backups against their manifests, in every storage of the plan. Any problem makes the run fail with `verification`. */
export async function verify(job: Job, options: VerifyCommandOptions): Promise<Result> {
  const { plan, storages } = options
  const depth = depthOf(options)
  const judged: Judged[] = []
  const { unreachable } = await askEach(
    { job, plan, storages: storagesOf(job.config, plan, storages) },
    async (catalog) => {
      for (const id of await chosen(catalog, options, job.signal))
        judged.push(...(await verdictOn(job, catalog, id, depth)))
    },
  )
  return {
    data: judged.map(({ unreadable: _, ...verdict }) => verdict),
    table: {
      columns: [
        'plan',
        'id',
        'storage',
        'level',
        { title: 'parts', right: true },
        { title: 'size', right: true },
        'signed by',
        'result',
      ],
      rows: judged.map((one) => [
        one.plan,
        one.id,
        one.storage,
        one.level,
        String(one.parts),
        sizeText(one.bytes),
        signerText(one),
        resultText(one),
      ]),
    },
    notes: [...judged.flatMap(sampleNote), ...judged.filter(({ extra }) => extra.length > 0).map(extraNote)],
    failure: damageOf(judged, unreachable) ?? failureOf(unreachable) ?? nothingVerified(judged, plan),
  }
}

interface Depth {
  level: Level
  sample?: Sample
}

function depthOf({ level = 'content', sample, seed = randomInt(2 ** 31) }: VerifyCommandOptions): Depth {
  if (sample === undefined) return { level }
  if (level !== 'content')
    throw new JobError('configuration', `--sample reads a part of the content; it does not go with --level ${level}`)
  return { level, sample: { fraction: sample, seed } }
}

async function chosen(
  catalog: Catalog,
  { pick = 'latest', all }: VerifyCommandOptions,
  signal: AbortSignal,
): Promise<string[]> {
  if (all) return (await catalog.ids()).committed
  const { id } = await catalog.find({ pick, signal })
  return [id]
}

/** Empty when the backup was removed since it was listed. */
async function verdictOn(job: Job, catalog: Catalog, id: string, depth: Depth): Promise<Judged[]> {
  const verdict = {
    plan: catalog.plan,
    storage: catalog.storage.name,
    id,
    ...depth,
    parts: 0,
    bytes: 0,
    read: { parts: 0, bytes: 0 },
    extra: [],
    unreadable: false,
  }
  const path = manifestKey(catalog.plan, id)
  const where = `${path} in storage ${catalog.storage.name}`
  let manifest: Manifest
  try {
    manifest = await catalog.manifest(id, job.signal)
    const trust = trustOf(job.config, catalog.plan)
    if (trust) requireTrust(manifest, trust, where)
  } catch (error) {
    if (isMissing(error)) return []
    if (!(error instanceof JobError && error.kind === 'verification')) throw error
    // both are named beside it
    return [{ ...verdict, problems: [{ path, says: textOf(error).replace(`${where} `, () => '') }] }]
  }
  const found = await judgedUnderHold(job, { catalog, manifest, depth }).catch(noneWhenRemoved)
  if (!found) return []
  const isGone = found.problems.length > 0 && !(await catalog.storage.head(manifestKey(catalog.plan, id)))
  return isGone ? [] : [{ ...verdict, signedBy: manifest.signature?.key ?? null, ...found }]
}

function noneWhenRemoved(error: unknown): undefined {
  if (!(error instanceof JobError && error.kind === 'nothing-matches')) throw error
}

/** What is only listed is not held: that would be more requests than the look itself. */
async function judgedUnderHold(job: Job, judging: Judging) {
  const { catalog, manifest, depth } = judging
  if (depth.level === 'present') return judgedOf(job, judging)
  const deadline = seconds(job.config.backups[catalog.plan]?.deadline ?? deadlineOfForeign)
  const held = { job, catalogs: [catalog], id: manifest.id, by: 'verify', seconds: deadline }
  return holding(held, () => judgedOf(job, judging))
}

interface Judging {
  catalog: Catalog
  manifest: Manifest
  depth: Depth
}

async function judgedOf(job: Job, { catalog, manifest, depth }: Judging) {
  const stored = await check(job, catalog, manifest, depth)
  const problems: Verdict['problems'] = stored.problems.map(({ path, says }) => ({ path, says }))
  const unreadable = problems.length > 0 && stored.problems.every(({ kind }) => kind === 'unreadable')
  if (depth.level === 'readable' && problems.length === 0) problems.push(...(await inspect(job, catalog, manifest)))
  return { ...stored, problems, unreadable }
}

async function check(job: Job, catalog: Catalog, manifest: Manifest, { level, sample }: Depth): Promise<Verified> {
  const { progress, signal } = job
  const { name } = catalog.storage
  progress.begin(`verify ${manifest.id}`, bytesOf(sample ? sampleOf(manifest, sample) : manifest.parts))
  try {
    const options = { signal, sample, progress: (bytes: number) => progress.add(name, bytes) }
    return await catalog.verify(manifest, { level: level === 'present' ? 'present' : 'content', ...options })
  } finally {
    progress.end()
  }
}

/** Only of parts whose bytes are right: anything else would be said twice. */
async function inspect(job: Job, { storage }: Catalog, manifest: Manifest): Promise<Verdict['problems']> {
  const { plan, id } = manifest
  const problems: Verdict['problems'] = []
  const workers = job.workers({ plan, id, storages: [storage.name] })
  try {
    for (const source of manifest.sources) {
      const engine = engineNamed(source.engine)
      if (!engine.inspect) {
        job.warn(`source ${source.name} of backup ${id}: engine ${engine.name} has no look at it beyond its content`)
        continue
      }
      const reader = openReader({
        held: [{ storage, manifest }],
        source: source.name,
        workers,
        signal: job.signal,
        progress: job.progress,
        warn: job.warn,
      })
      const parts = ownParts(manifest, source.name)
      job.progress.begin(`verify ${id}: ${source.name}`, bytesOf(parts))
      const run = { ...contextOf(job), backupId: id, parts, source, ...helpOf(job, plan, source.name) }
      const says = await findingOf(job.signal, async () => engine.inspect?.(run, reader))
      if (says) problems.push({ path: `source ${source.name}`, says: `cannot be read: ${says}` })
    }
  } finally {
    job.progress.end()
    await workers.close()
  }
  return problems
}

/** A backup that cannot be read is a finding; a tool that is missing is not. */
async function findingOf(signal: AbortSignal, inspection: () => Promise<void>): Promise<string | undefined> {
  try {
    await inspection()
    return undefined
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof JobError && error.kind === 'verification') return textOf(error)
    throw error
  }
}

/** From the plan's values: a backup of today's values was made with today's password. */
function helpOf({ config }: Job, plan: string, source: string): Pick<InspectRun, 'decryption' | 'clients'> {
  const values = config.backups[plan]?.sources.find(({ name }) => name === source)
  if (!values) return {}
  const { encryption, clients } = engineOf(values).values as { encryption?: InspectRun['decryption']; clients?: string }
  return { decryption: encryption, clients }
}

/** Enough to tell keys apart: all of them begin alike. */
function signerText({ signedBy }: Verdict): string {
  return signedBy ? `${signedBy.slice(16, 28)}…` : '-'
}

function resultText({ problems, level, sample }: Verdict): string {
  return problems.length === 0
    ? `ok (${sample ? `${level} of a sample of ${percentText(sample)}` : level})`
    : `${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`
}

/** Says how much was read, and how the same parts are read once more. */
function sampleNote({ plan, id, storage, sample, read, parts, bytes }: Verdict): string[] {
  if (!sample) return []
  const share = `${read.parts} of ${parts} parts were read, ${sizeText(read.bytes)} of ${sizeText(bytes)}`
  return [
    `${plan} ${id} in ${storage}: ${share}; the same ones again: --sample ${percentText(sample)} --seed ${sample.seed}`,
  ]
}

function percentText({ fraction }: Sample): string {
  return `${Number((fraction * 100).toPrecision(6))}%`
}

function extraNote({ plan, id, storage, extra }: Verdict): string {
  return `${plan} ${id} in ${storage}: ${extra.length} objects are not in the manifest, the first is ${extra[0]}`
}

/** Names the storages that could not be asked as well: the reader must not take them for sound. */
function damageOf(judged: readonly Judged[], unreachable: readonly Unreachable[]): JobError | undefined {
  const damaged = judged.filter(({ problems }) => problems.length > 0)
  if (damaged.length === 0) return undefined
  const texts = damaged.flatMap(({ id, storage, problems }) =>
    problems.map(({ path, says }) => `${id} in ${storage}: ${path} ${says}`),
  )
  const more = texts.length > shownProblems ? `; and ${texts.length - shownProblems} more` : ''
  const unasked = unreachable.map(({ storage, error }) => `; storage ${storage}: ${textOf(error)}`)
  const message = [texts.slice(0, shownProblems).join('; '), more, ...unasked].join('')
  if (damaged.every(({ unreadable }) => unreadable))
    return new JobError('storage', message, { hint: 'try again when the storage can be read' })
  return new JobError('verification', message, {
    hint: 'restore from another storage or another backup, and take a new backup now; do not delete this one before that',
  })
}

function nothingVerified(judged: readonly Judged[], plan: string): JobError | undefined {
  if (judged.length > 0) return undefined
  return new JobError('nothing-matches', `plan ${plan} has no backup that could be verified`)
}
