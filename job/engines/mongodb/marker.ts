import type { MongoClient } from 'mongodb'
import { z } from 'zod'
import type { Marker, RequestRun } from '../../engine.ts'
import { changedBy, refuseUnfinished as refuse } from '../../io/restores.ts'
import { loginOf, withMongo } from './connection.ts'
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

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const login = loginOf(run.target as Target, run, run.at)
  const markers = await withMongo(login, run, readMarkers)
  return markers.find(({ request }) => request === run.request)
}

/** All of them: that of another request may say that its restore is unfinished. */
export async function readMarkers(client: MongoClient): Promise<Marker[]> {
  const rows = await restores(client).find().toArray()
  return rows.map(({ _id, plan, backupId, state, creates }) => ({ request: _id, plan, backupId, state, creates }))
}

export function refuseUnfinished(markers: Marker[], server: string): void {
  refuse(
    markers,
    server,
    "remove its document from the collection holdfast.restores: { state: { $in: ['begun', 'overtaken'] } }",
  )
}

export async function writeMarker(client: MongoClient, marker: Marker): Promise<void> {
  for (const { request, plan, backupId, state, creates } of changedBy(await readMarkers(client), marker)) {
    const when = state === 'begun' ? { begun: new Date() } : state === 'finished' ? { finished: new Date() } : {}
    const row = { plan, backupId, state, creates: Creates.parse(creates), ...when }
    await restores(client).updateOne({ _id: request }, { $set: row }, { upsert: true, writeConcern: { w: 'majority' } })
  }
}
