import { z } from 'zod'
import type { Marker, Reader, RestoreStep, TargetRun } from '../engine.ts'
import { JobError } from '../errors.ts'
import { inParallel } from './parallel.ts'

/** What restores of every engine have in common: the markers in their targets, and their steps. */

const Markers = z.array(
  z.object({
    request: z.string(),
    backupId: z.string(),
    plan: z.string(),
    state: z.enum(['begun', 'finished', 'replaced', 'overtaken']),
    creates: z.unknown(),
  }),
)

/** Markers that a target keeps as JSON. Throws on anything else. */
export function parseMarkers(text: string): Marker[] {
  return Markers.parse(JSON.parse(text))
}

/** A marker as a row of a table; `creates` as the driver gives JSON. */
export interface MarkerRow {
  request: string
  backup_id: string
  plan: string
  state: string
  creates: unknown
}

export function markerOf({ request, backup_id, plan, state, creates }: MarkerRow): Marker {
  return {
    request,
    backupId: backup_id,
    plan,
    state: state as Marker['state'],
    creates: typeof creates === 'string' ? JSON.parse(creates) : creates,
  }
}

/**
 * Pure: the markers of a target after this one was written to it. Writing `begun` is the first change: what other requests brought can be
 * relied on no longer. Those that were carried out stay so; of those that were not, what this one does not make again is still half there.
 */
export function withMarker(markers: readonly Marker[], marker: Marker): Marker[] {
  const others = markers.filter(({ request }) => request !== marker.request)
  return [...(marker.state === 'begun' ? others.map((one) => outrun(one, marker)) : others), marker]
}

function outrun(one: Marker, { creates }: Marker): Marker {
  if (one.state === 'finished' || one.state === 'replaced') return { ...one, state: 'replaced', creates: [] }
  return { ...one, state: 'overtaken', creates: without(one.creates, creates) }
}

/** Pure: those that are not as they were, this one first: it is the one that must not get lost. */
export function changedBy(markers: readonly Marker[], marker: Marker): Marker[] {
  const before = new Set(markers.map((one) => JSON.stringify(one)))
  return withMarker(markers, marker)
    .filter((one) => one.request === marker.request || !before.has(JSON.stringify(one)))
    .reverse()
}

/**
 * What of one restore the other does not make again, list by list. Whoever makes a database as a whole drops all that was in it; accounts
 * are made in one go, so there are no halves of them.
 */
function without(some: unknown, others: unknown): unknown {
  if (Array.isArray(some)) {
    const made = (Array.isArray(others) ? others : []).map(nameOf)
    return some.filter((one) => !made.includes(nameOf(one)) && !made.includes(nameOf(one).replace(/\..*/s, '')))
  }
  const left = Object.entries(some ?? {}).filter(([kind]) => kind !== 'accounts')
  const there = (others ?? {}) as Record<string, unknown>
  const whole = Array.isArray(there.databases) ? there.databases : []
  return Object.fromEntries(left.map(([kind, list]) => [kind, without(list, [there[kind] ?? [], whole].flat())]))
}

function nameOf(one: unknown): string {
  return typeof one === 'object' && one !== null && 'name' in one ? String(one.name) : String(one)
}

function isEmpty(creates: unknown): boolean {
  if (Array.isArray(creates)) return creates.length === 0
  return typeof creates !== 'object' || creates === null || Object.values(creates).every(isEmpty)
}

/** Pure: something of it is half in the target. */
export function isUnfinished({ state, creates }: Marker): boolean {
  return state === 'begun' || (state === 'overtaken' && !isEmpty(creates))
}

/** Half of a restore must not become a good backup. Rejects with `busy`; `hint`: how to forget it, and it alone. */
export function refuseUnfinished(markers: readonly Marker[], server: string, hint: string): void {
  const half = markers.find(isUnfinished)
  if (!half) return
  throw new JobError(
    'busy',
    `a restore into ${server} is at work or did not end, of backup ${half.backupId} of plan ${half.plan}`,
    { hint: `wait for it, or run it again; if what it left is as it should be: ${hint}` },
  )
}

/** SQL that forgets unfinished restores, and leaves what says that others were carried out. */
export function forgetting(table: string): string {
  return `DELETE FROM ${table} WHERE state IN ('begun', 'overtaken')`
}

/** What came of a restore while `before` was backed up is half in it. Rejects with `busy`. */
export function refuseRestored(before: readonly Marker[], now: readonly Marker[], server: string): void {
  if (statesOf(before) === statesOf(now)) return
  throw new JobError('busy', `something was restored into ${server} during the backup`, {
    hint: 'run again when the restore is done',
    retryable: true,
  })
}

/** As text, to compare with another time. */
export function statesOf(markers: readonly Marker[]): string {
  return JSON.stringify(markers.map(({ request, backupId, state }) => [request, backupId, state]).sort())
}

/** A lease keeps runs of one request apart, but not every run has one. Rejects with `busy` when the marker of this one changed. */
export function refuseOvertaken({ request }: TargetRun, before: readonly Marker[], now: readonly Marker[]): void {
  const ours = (markers: readonly Marker[]) => statesOf(markers.filter((one) => one.request === request))
  if (ours(before) === ours(now)) return
  throw new JobError('busy', 'another run of the same request restored meanwhile', {
    hint: 'nothing was changed by this one; run it again to see what became of the other',
  })
}

/** What carries out a step. Throws `bug` for one that no plan has. */
export function stepOf<Step>(steps: Record<string, Step>, { name }: RestoreStep): Step {
  const step = steps[name]
  if (step) return step
  throw new JobError('bug', `no step ${name}`)
}

/** Reads parts before a target is changed. Rejects when one is not what the manifest says, whichever storage it comes from. */
export async function checkParts(
  reader: Reader,
  paths: readonly string[],
  atOnce: number,
): Promise<{ parts: number; bytes: number }> {
  const sizes = await inParallel(paths, atOnce, reader.check)
  return { parts: paths.length, bytes: sizes.reduce((sum, size) => sum + size, 0) }
}
