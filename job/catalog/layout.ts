import { JobError } from '../errors.ts'

/**
 * Where everything lies in a storage, and what ids mean. Pure. Keys are relative to the storage's prefix:
 *
 *     <plan>/<id>.json              the manifest
 *     <plan>/<id>.<word>.json       a sibling: a later fact about the backup
 *     <plan>/<id>/                  the folder: started.json, failed.json, missed.json, facts-<source>.json and the parts
 */

/** NDB's ids are uint32 without its ends; ours are the same numbers. */
const lowest = 1
const highest = 4_294_967_294

/** The id of a backup that starts then: Unix time in seconds, as a decimal. */
export function backupId(start: Date): string {
  const id = String(Math.floor(start.getTime() / 1000))
  if (isId(id)) return id
  throw new JobError('configuration', `the clock says ${start.toISOString()}: no backup id can be made of that`, {
    hint: 'ids are seconds since 1970 and end in 2106',
  })
}

/** The start of a backup in whole seconds. Only true when `isTime(id)`. */
export function dateOf(id: string): Date {
  return new Date(Number(id) * 1000)
}

/** A decimal from 1 to 4294967294 without leading zeros. */
export function isId(text: string): boolean {
  return /^[1-9]\d{0,9}$/.test(text) && Number(text) >= lowest && Number(text) <= highest
}

/** False for the ids of folders that rondb-helm wrote (%y%V%u%H%M, at most nine digits): they are older than all of ours but tell no time. */
export function isTime(id: string): boolean {
  return Number(id) >= 1_000_000_000
}

/**
 * When rondb-helm began the folder with this id: its ids are `date +%y%V%u%H%M`, UTC in its pods. The year is the calendar's
 * and the week ISO's, so days around New Year can share an id: then the earlier one is meant. Undefined for other ids.
 */
export function helmDateOf(id: string): Date | undefined {
  const [, yy, week, weekday, hour, minute] = (/^(\d\d)(\d\d)([1-7])(\d\d)(\d\d)$/.exec(id) ?? []).map(Number)
  if (!yy || !week || !weekday || hour === undefined || minute === undefined) return undefined
  if (week > 53 || hour > 23 || minute > 59) return undefined
  const dates = [yy - 1, yy, yy + 1].map((isoYear) => dayOfWeek(2000 + isoYear, week, weekday))
  const date = dates.find((candidate) => candidate?.getUTCFullYear() === 2000 + yy)
  return date && new Date(date.getTime() + (hour * 60 + minute) * 60_000)
}

/** ISO week 1 is the one with January 4, weekday 1 is Monday, and a week belongs to the year of its Thursday. */
function dayOfWeek(isoYear: number, week: number, weekday: number): Date | undefined {
  const monday = 4 - ((new Date(Date.UTC(isoYear, 0, 4)).getUTCDay() + 6) % 7) + (week - 1) * 7
  const thursday = new Date(Date.UTC(isoYear, 0, monday + 3))
  return thursday.getUTCFullYear() === isoYear ? new Date(Date.UTC(isoYear, 0, monday + weekday - 1)) : undefined
}

/** Sorts ids oldest first. */
export function byAge(a: string, b: string): number {
  return Number(a) - Number(b)
}

/** What lies below it is all that a plan has in a storage. */
export function planPrefix(plan: string): string {
  return `${plan}/`
}

export function manifestKey(plan: string, id: string): string {
  return `${plan}/${id}.json`
}

/** The manifest and its siblings start with it, and nothing else. */
export function manifestPrefix(plan: string, id: string): string {
  return `${plan}/${id}.`
}

export function siblingKey(plan: string, id: string, word: string): string {
  return `${plan}/${id}.${word}.json`
}

/** The n-th sibling with keys for other recipients. */
export function keysKey(plan: string, id: string, number: number): string {
  return `${manifestPrefix(plan, id)}keys-${number}.json`
}

/** Which of those siblings a key is of; undefined for another key. */
export function keysNumber(plan: string, id: string, key: string): number | undefined {
  const number = /^keys-([1-9]\d{0,8})\.json$/.exec(key.slice(manifestPrefix(plan, id).length))?.[1]
  return number && key.startsWith(manifestPrefix(plan, id)) ? Number(number) : undefined
}

/** A backup's folder, with the slash at its end. */
export function folderKey(plan: string, id: string): string {
  return `${plan}/${id}/`
}

export function startedKey(plan: string, id: string): string {
  return `${plan}/${id}/started.json`
}

export function failedKey(plan: string, id: string): string {
  return `${plan}/${id}/failed.json`
}

/** What a run that ended keeps beside a backup that not all its storages have. */
export function missedKey(plan: string, id: string): string {
  return `${plan}/${id}/missed.json`
}

export function factsKey(plan: string, id: string, source: string): string {
  return `${plan}/${id}/facts-${source}.json`
}

/** The key of a part; `path` as in the manifest. */
export function partKey(plan: string, id: string, path: string): string {
  return `${plan}/${id}/${path}`
}

/** A worker's list of the parts that it stored below `path`, written after all of them. */
export function partsKey(plan: string, id: string, path: string): string {
  return `${plan}/${id}/${path}/parts.json`
}

/** The path of a part inside its backup; undefined for a key of something else. */
export function pathOf(plan: string, id: string, key: string): string | undefined {
  const folder = folderKey(plan, id)
  return key.startsWith(folder) && key.length > folder.length ? key.slice(folder.length) : undefined
}

/**
 * The folder inside a backup that a source's parts lie in. A RonDB source named `rondb` has none: its users.sql,
 * databases.sql and rondb/<node>/ lie at the top, exactly where rondb-helm puts and expects them.
 */
export function sourceFolder(source: string, engine: string): string {
  return engine === 'rondb' && source === 'rondb' ? '' : source
}

/** The path inside the backup of what a source calls `path`. */
export function sourcePath({ source, engine, path }: { source: string; engine: string; path: string }): string {
  const folder = sourceFolder(source, engine)
  return folder ? `${folder}/${path}` : path
}

/** Those of a backup's parts that belong to one of its sources, under their paths in the backup. */
export function partsOf<P extends { path: string }>({ sources, parts }: SourcesAndParts<P>, source: string): P[] {
  const folders = new Map(sources.map(({ name, engine }) => [name, sourceFolder(name, engine)]))
  const own = folders.get(source)
  if (own) return parts.filter(({ path }) => path.startsWith(`${own}/`))
  const others = [...folders.values()].filter((folder) => folder !== '')
  return parts.filter(({ path }) => !others.some((folder) => path.startsWith(`${folder}/`)))
}

/** What parts take in a storage. */
export function bytesOf(parts: readonly { size: number }[]): number {
  return parts.reduce((sum, { size }) => sum + size, 0)
}

interface SourcesAndParts<P> {
  sources: readonly { name: string; engine: string }[]
  parts: readonly P[]
}

/** True for what a run keeps in the folder beside the parts. */
export function isRunFile(path: string): boolean {
  return ['started.json', 'failed.json', 'missed.json'].includes(path) || /^facts-[^/]+\.json$/.test(path)
}

/** The source of a facts file; undefined for another path. */
export function factsSource(path: string): string | undefined {
  return /^facts-([^/]+)\.json$/.exec(path)?.[1]
}

/** `word` says what a sibling is: `pin`, `hold-<run>`. */
export type Named = { kind: 'manifest' | 'folder'; id: string } | { kind: 'sibling'; id: string; word: string }

/** What a key of a plan's delimited listing stands for; undefined for what is none of ours. */
export function parseName(plan: string, key: string): Named | undefined {
  if (!key.startsWith(planPrefix(plan))) return undefined
  const match = /^(\d+)(\/|\.json|\.[a-z0-9-]+\.json)$/.exec(key.slice(planPrefix(plan).length))
  const [, id = '', rest = ''] = match ?? []
  if (!isId(id)) return undefined
  if (rest === '/') return { kind: 'folder', id }
  if (rest === '.json') return { kind: 'manifest', id }
  return { kind: 'sibling', id, word: rest.slice(1, -'.json'.length) }
}
