import { z } from 'zod'
import type { Marker, RequestRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { openAll, wireOf } from './masters.ts'
import { markerKey } from './selection.ts'
import { loginOf, mastersOf } from './topology.ts'
import type { Target } from './values.ts'
import type { Wire } from './wire.ts'

/** What the marker lists as the restore's own. */
export const Creates = z.object({ databases: z.array(z.int()) })
export type Creates = z.infer<typeof Creates>

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const target = run.target as Target
  const login = loginOf(target, run, run.at)
  const masters = await mastersOf(target, { ...run, login })
  const wires = await openAll(masters, login, run.signal)
  try {
    const marker = await readMarker(wireOf(markerKey, masters, wires))
    return marker?.request === run.request ? marker : undefined
  } finally {
    for (const wire of wires) wire.close()
  }
}

/** The marker is a key in database 0, of the master that has its slot. */
async function readMarker(wire: Wire): Promise<Marker | undefined> {
  const text = await wire.ask('GET', markerKey)
  if (text === null) return undefined
  try {
    return JSON.parse(Buffer.from(String(text), 'latin1').toString('utf8')) as Marker
  } catch {
    throw new JobError('server', `${wire.server} has a key ${markerKey} that is no marker`, {
      hint: 'restores keep theirs there: remove the key',
    })
  }
}

export async function writeMarker(wire: Wire, marker: Marker): Promise<void> {
  await wire.ask('SET', markerKey, Buffer.from(JSON.stringify(marker)))
}
