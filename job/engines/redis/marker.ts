import { z } from 'zod'
import type { Marker, RequestRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { parseMarkers, refuseUnfinished as refuse, withMarker } from '../../io/restores.ts'
import { openFor } from './masters.ts'
import { markerKey } from './selection.ts'
import { loginOf, type Master, mastersOf } from './topology.ts'
import type { Target } from './values.ts'
import { type Login, unlessRefused, type Wire } from './wire.ts'

/** What the marker lists as the restore's own. */
export const Creates = z.object({ databases: z.array(z.int()) })
export type Creates = z.infer<typeof Creates>

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const target = run.target as Target
  const login = loginOf(target, run, run.at)
  const markers = await readAt(await mastersOf(target, { ...run, login }), login, run.signal)
  return markers.find(({ request }) => request === run.request)
}

/** All of them; undefined when the account may not read the key. */
export async function markersAt(
  masters: readonly Master[],
  login: Login,
  signal: AbortSignal,
): Promise<Marker[] | undefined> {
  return readAt(masters, login, signal).catch(unlessRefused)
}

async function readAt(masters: readonly Master[], login: Login, signal: AbortSignal): Promise<Marker[]> {
  const wire = await openFor(markerKey, masters, login, signal)
  try {
    return await readMarkers(wire)
  } finally {
    wire.close()
  }
}

export function refuseUnfinished(markers: readonly Marker[], server: string): void {
  refuse(markers, server, `remove its entry from the key ${markerKey}`)
}

/** All markers are in one key of database 0, on the master that has its slot. */
async function readMarkers(wire: Wire): Promise<Marker[]> {
  const text = await wire.ask('GET', markerKey)
  return text === null ? [] : markersIn(Buffer.from(String(text), 'latin1'), wire.server)
}

export function markersIn(text: Buffer, server: string): Marker[] {
  try {
    return parseMarkers(text.toString('utf8'))
  } catch {
    throw new JobError('server', `${server} has a key ${markerKey} that has no markers`, {
      hint: 'restores keep theirs there: remove the key',
    })
  }
}

export async function writeMarker(wire: Wire, marker: Marker): Promise<void> {
  const markers = withMarker(await readMarkers(wire), marker)
  await wire.ask('SET', markerKey, Buffer.from(JSON.stringify(markers)))
}
