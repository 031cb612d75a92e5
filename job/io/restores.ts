import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import type { Marker, Reader, RestoreStep, TargetRun } from '../engine.ts'
import { JobError } from '../errors.ts'

/** What restores of every engine have in common: the markers in their targets, and their steps. */

const Markers = z.array(
  z.object({
    request: z.string(),
    backupId: z.string(),
    plan: z.string(),
    state: z.enum(['begun', 'finished', 'replaced']),
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
 * relied on no longer. Those that were carried out stay so, and those that were not have nothing of their own any more.
 */
export function withMarker(markers: readonly Marker[], marker: Marker): Marker[] {
  const others = markers.filter(({ request }) => request !== marker.request)
  return [...(marker.state === 'begun' ? replaced(others) : others), marker]
}

/** Pure: what becomes of markers whose content another request takes over. */
export function replaced(markers: readonly Marker[]): Marker[] {
  return markers.filter(({ state }) => state !== 'begun').map((marker) => ({ ...marker, state: 'replaced' }))
}

/** Half of a restore must not become a good backup. Rejects with `busy`; `hint`: how to keep what is there. */
export function refuseUnfinished(markers: readonly Marker[], server: string, hint: string): void {
  const begun = markers.find(({ state }) => state === 'begun')
  if (!begun) return
  throw new JobError(
    'busy',
    `a restore into ${server} is at work or did not end, of backup ${begun.backupId} of plan ${begun.plan}`,
    { hint: `wait for it, or run it again; if what it left is as it should be: ${hint}` },
  )
}

/** What came of a restore while `before` was backed up is half in it. Rejects with `busy`. */
export function refuseRestored(before: readonly Marker[], now: readonly Marker[], server: string): void {
  if (statesOf(before) === statesOf(now)) return
  throw new JobError('busy', `something was restored into ${server} during the backup`, {
    hint: 'run again when the restore is done',
    retryable: true,
  })
}

function statesOf(markers: readonly Marker[]): string {
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

/** Reads a part to its end and keeps nothing: its hash was compared then. Resolves to its bytes. */
export async function readToEnd(reader: Reader, path: string, signal: AbortSignal): Promise<number> {
  let bytes = 0
  const count = new Writable({
    write(chunk: Buffer, _, done) {
      bytes += chunk.length
      done()
    },
  })
  await pipeline(await reader.read(path), count, { signal })
  return bytes
}
