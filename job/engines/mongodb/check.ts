import type { MongoClient } from 'mongodb'
import type { Marker, ServerFacts, SourceRun, SourceState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { toolVersion } from './clients.ts'
import { type Login, loginOf, withMongo } from './connection.ts'
import { listContent } from './content.ts'
import { readMarkers, refuseUnfinished } from './marker.ts'
import { examineServer, refuseUnreadable, type Server } from './server.ts'
import { isChosen, type Source, systemDatabases } from './values.ts'

/** Everything that can be known before anything is begun. */
export interface Checked extends ServerFacts {
  login: Login
  replicaSet: string | null
  /** Take the oplog too: the whole backup is of one point in time. */
  oplog: boolean
  /** The databases that are dumped one by one; undefined for the whole server. */
  chosen: string[] | undefined
  /** What restores left there. */
  markers: Marker[]
}

export async function check(run: SourceRun): Promise<SourceState> {
  const { server, tools, ...detail } = await examine(run)
  return { server, tools, detail: { server, tools, ...detail } }
}

export async function examine(run: SourceRun): Promise<Checked> {
  const source = run.source as Source
  const { signal } = run
  const login = loginOf(source, run, run.at)
  const found = await withMongo(login, { signal, readPreference: source.readPreference }, async (client) => {
    const server = await examineServer(client)
    const markers = await readMarkers(client)
    refuseUnfinished(markers, login.server)
    const chosen = isChosen(source) ? await choose(client, source, run) : undefined
    const oplog = chosen === undefined && useOplog(server, source, run)
    if (oplog) await refuseUnreadable(client, 'local', 'oplog.rs')
    if (chosen === undefined || source.users) await refuseUnreadable(client, 'admin', 'system.users')
    return { server, chosen, oplog, markers }
  })
  const { product, version, replicaSet } = found.server
  const tools = await toolVersion('mongodump', { clients: source.clients, server: version, signal })
  return {
    server: { product, version },
    tools,
    login,
    replicaSet,
    oplog: found.oplog,
    chosen: found.chosen,
    markers: found.markers,
  }
}

async function choose(client: MongoClient, { include, exclude }: Source, run: SourceRun): Promise<string[]> {
  const there = new Set((await listContent(client)).map(({ database }) => database))
  const missing = include?.databases.filter((name) => !there.has(name)) ?? []
  if (missing.length > 0) {
    throw new JobError('configuration', `${run.at}.include.databases: the server has no ${missing.join(', ')}`, {
      hint: `it has ${[...there].join(', ') || 'no database'}`,
    })
  }
  const left = [...systemDatabases, ...(exclude?.databases ?? [])]
  const chosen = (include?.databases ?? [...there]).filter((name) => !left.includes(name))
  if (chosen.length > 0) return chosen
  throw new JobError('configuration', `${run.at}: no database is left to back up`, {
    hint: 'check include and exclude',
  })
}

/** A server that is no member of a replica set has no oplog, and a router has that of no shard. */
function useOplog({ replicaSet, isRouter, product }: Server, { oplog }: Source, run: SourceRun): boolean {
  if (oplog === 'off') return false
  if (replicaSet !== null && !isRouter) return true
  const why = isRouter ? 'the server is a router of a sharded cluster' : `${product} runs without a replica set`
  if (oplog === 'required') {
    throw new JobError('configuration', `${run.at}.oplog: ${why}: it has no oplog`, {
      hint: 'start the server as a replica set of one, or say oplog: auto and live with collections of different moments',
    })
  }
  run.warn(`${why}: what is written during the backup may be in one collection and not in another`)
  return false
}
