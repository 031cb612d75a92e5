import { type Catalog, openCatalog } from '../catalog/catalog.ts'
import { guardTexts } from '../catalog/guards.ts'
import { bytesOf, partsOf } from '../catalog/layout.ts'
import { JobError, textOf } from '../errors.ts'
import { type Format, type Result, sizeText, spanText, timeText } from '../io/print.ts'
import type { Manifest, Part, SourceFacts } from '../manifest.ts'
import { askEach, failureOf, storagesOf, type Unreachable } from './catalogs.ts'
import { colonies } from './colonies.ts'
import type { Job } from './job.ts'

export interface ShowOptions {
  plan: string
  /** `latest`, an id or a time. */
  pick: string | number
  storages?: string[] | undefined
  format?: Format | undefined
}

const longestFact = 100

/** The manifest, from the first storage that has the backup, with its pin and holds there; the table sums it up. */
export async function show(job: Job, { plan, pick, storages, format }: ShowOptions): Promise<Result> {
  const { manifest, storage } = await findFirst(job, { plan, pick, storages })
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

/** A storage that lacks the backup is no failure as long as another one has it; one that cannot answer is a warning then. */
export async function findFirst(job: Job, { plan, pick, storages }: ShowOptions) {
  const names = storagesOf(job.config, plan, storages)
  const failed: Unreachable[] = []
  for (const storage of names) {
    const find = (catalog: Catalog) => catalog.find({ pick, signal: job.signal })
    const { answers, unreachable } = await askEach({ job, plan, storages: [storage] }, find)
    const manifest = answers[0]?.answer
    if (manifest) {
      for (const { storage, error } of failed.filter(isTrouble))
        job.warn(`storage ${storage} could not say what it has: ${textOf(error)}`)
      return { manifest, storage }
    }
    failed.push(...unreachable)
  }
  const troubles = failed.filter(isTrouble)
  throw failureOf(troubles.length > 0 ? troubles : failed.slice(0, 1))
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
