import { openCatalog } from '../catalog/catalog.ts'
import { guardTexts } from '../catalog/guards.ts'
import { byAge, bytesOf, partsOf } from '../catalog/layout.ts'
import { parsePick } from '../catalog/pick.ts'
import { JobError, textOf } from '../errors.ts'
import { type Format, type Result, sizeText, spanText, timeText } from '../io/print.ts'
import type { Manifest, Part, SourceFacts, Trust } from '../manifest.ts'
import { askEach, failureOf, storagesOf, type Unreachable } from './catalogs.ts'
import { colonies } from './colonies.ts'
import type { Job } from './job.ts'
import { refuseOlder } from './newer.ts'

export interface ShowOptions {
  plan: string
  /** `latest`, an id or a time. */
  pick: string | number
  storages?: string[] | undefined
  format?: Format | undefined
}

const longestFact = 100

/** The manifest, from the first storage that has the newest that the pick asks for, with its pin and holds there; the table sums it up. */
export async function show(job: Job, { plan, pick, storages, format }: ShowOptions): Promise<Result> {
  const { manifest, storage } = await findNewest(job, { plan, pick, storages })
  if (format === 'colonies') return colonies({ manifest, storage: await job.storage(storage), config: job.config })
  const { guards } = openCatalog({ storage: await job.storage(storage), plan: manifest.plan })
  const guarded = await guards.read(manifest.id, await guards.names(manifest.id), job.now(), job.signal)
  const { pin, holds } = guarded
  const rows = [
    ...summary(manifest, storage),
    ...guardTexts(guarded).map((text) => ['stays', text]),
    ...manifest.sources.flatMap((source) => facts(source, manifest)),
  ]
  const notes = manifest.warnings.map((warning) => `warning: ${warning}`)
  const data = { ...manifest, ...(pin ? { pin } : {}), ...(holds.length > 0 ? { holds } : {}) }
  return { data, table: { columns: ['what', 'value'], rows }, notes }
}

export interface Search extends Pick<ShowOptions, 'plan' | 'pick' | 'storages'> {
  /** Whose signatures count; everybody's without it. */
  trust?: Trust | undefined
}

/**
 * The newest that any of the storages has, from the first that has it. A storage that lacks it is no failure as long as another one has it;
 * one that cannot answer is a warning then.
 */
export async function findNewest(job: Job, { plan, pick, storages, trust }: Search) {
  const anyWillDo = 'id' in parsePick(pick)
  const answers: { storage: string; answer: Manifest }[] = []
  const failures: Unreachable[] = []
  for (const name of storagesOf(job.config, plan, storages)) {
    const asked = await askEach({ job, plan, storages: [name], trust }, (catalog) =>
      catalog.find({ pick, signal: job.signal }),
    )
    answers.push(...asked.answers)
    failures.push(...asked.unreachable)
    if (anyWillDo && answers.length > 0) break
  }
  const troubles = failures.filter(isTrouble)
  const [newest] = answers.toSorted((one, other) => byAge(other.answer.id, one.answer.id))
  if (!newest) throw failureOf(troubles.length > 0 ? troubles : failures.slice(0, 1))
  const { storage, answer: manifest } = newest
  await refuseOlder({ job, plan, pick, trust, id: manifest.id, failures: troubles })
  for (const { storage, error } of troubles) job.warn(`storage ${storage} could not say what it has: ${textOf(error)}`)
  return { manifest, storage }
}

function isTrouble({ error }: Unreachable): boolean {
  return !(error instanceof JobError && error.kind === 'nothing-matches')
}

function summary(manifest: Manifest, storage: string): string[][] {
  const { id, plan, cluster, started, finished, jobVersion, conditionalPut, adopted, parts, warnings, signature } =
    manifest
  const bytes = bytesOf(parts)
  return [
    ['backup', id],
    ['plan', plan],
    ...(cluster ? [['cluster', cluster]] : []),
    ['storage', storage],
    ['started', timeText(started)],
    ['finished', `${timeText(finished)} (took ${spanText((Date.parse(finished) - Date.parse(started)) / 1000)})`],
    ['size', `${sizeText(bytes)} in ${parts.length} parts`],
    ['warnings', String(warnings.length)],
    ...encryption(parts),
    ['signed by', signature?.key ?? 'nobody'],
    ['made by', `holdfast ${jobVersion}${adopted ? ', which adopted the folder of another tool' : ''}`],
    ...(conditionalPut ? [] : [['note', 'the storage could not rule out two writers at once']]),
  ]
}

/** Who could read it when it was made. */
function encryption(parts: readonly Part[]): string[][] {
  const encrypted = parts.filter(({ age }) => age)
  if (encrypted.length === 0) return []
  const recipients = new Set(encrypted.flatMap(({ age }) => age?.recipients ?? []))
  const which = encrypted.length === parts.length ? 'all parts' : `${encrypted.length} of ${parts.length} parts`
  return [['encrypted', which], ...[...recipients].map((recipient) => ['  for', recipient])]
}

function facts(source: SourceFacts, manifest: Manifest): string[][] {
  const { name, engine, server, tools, facts } = source
  const parts = partsOf(manifest, name)
  const bytes = bytesOf(parts)
  return [
    [`source ${name}`, `${engine}: ${server.product} ${server.version}, ${sizeText(bytes)} in ${parts.length} parts`],
    ...Object.entries(tools).map(([tool, version]) => [`  ${tool}`, version]),
    ...Object.entries(facts).map(([fact, value]) => [`  ${fact}`, factText(value)]),
  ]
}

/** Long ones are cut: `--output yaml` gives all of them. */
function factText(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  if (text.length <= longestFact) return text
  return Array.isArray(value) ? `${value.length} entries` : `${text.slice(0, longestFact - 1)}…`
}
