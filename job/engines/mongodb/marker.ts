import type { MongoClient } from 'mongodb'
import { z } from 'zod'
import type { Marker, RequestRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { loginOf, withMongo } from './connection.ts'
import { listContent } from './content.ts'
import { namespaceOf } from './facts.ts'
import type { Target } from './values.ts'

interface Row {
  _id: string
  plan: string
  backupId: string
  state: Marker['state']
  creates: string[]
  begun?: Date
  finished?: Date
}

export const Creates = z.array(z.string()).catch([])

function restores(client: MongoClient) {
  return client.db('holdfast').collection<Row>('restores')
}

/** A finished restore whose collections are gone is none. */
export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const login = loginOf(run.target as Target, run, run.at)
  return withMongo(login, run, async (client) => {
    const marker = (await readMarkers(client)).find(({ request }) => request === run.request)
    if (marker?.state !== 'finished') return marker
    const creates = Creates.parse(marker.creates)
    const there = (await listContent(client)).map(namespaceOf)
    return creates.length === 0 || there.some((name) => creates.includes(name)) ? marker : undefined
  })
}

/** All of them: that of another request may say that its restore is unfinished. */
export async function readMarkers(client: MongoClient): Promise<Marker[]> {
  const rows = await restores(client).find().toArray()
  return rows.map(({ _id, plan, backupId, state, creates }) => ({ request: _id, plan, backupId, state, creates }))
}

/** Half of a restore is no state to keep. Rejects with `busy`. */
export function refuseUnfinished(markers: Marker[], server: string): void {
  const begun = markers.find(({ state }) => state === 'begun')
  if (!begun) return
  throw new JobError(
    'busy',
    `a restore into ${server} is at work or did not end, of backup ${begun.backupId} of plan ${begun.plan}`,
    {
      hint: 'wait for it, or run it again; if what it left is as it should be, empty the collection holdfast.restores',
    },
  )
}

/** What restores left, to compare it with later. */
export function restoresIn(markers: Marker[]): string {
  return JSON.stringify(markers.map(({ request, backupId, state }) => [request, backupId, state]).sort())
}

/** Writing `begun` is the first change to a target. What other requests brought is not to be relied on from then on: their rows go. */
export async function writeMarker(
  client: MongoClient,
  { request, plan, backupId, state, creates }: Marker,
): Promise<void> {
  const when = state === 'begun' ? { begun: new Date() } : { finished: new Date() }
  const row = { plan, backupId, state, creates: Creates.parse(creates), ...when }
  const durable = { writeConcern: { w: 'majority' as const } }
  await restores(client).updateOne({ _id: request }, { $set: row }, { upsert: true, ...durable })
  if (state === 'begun') await restores(client).deleteMany({ _id: { $ne: request } }, durable)
}
