import type { MongoClient } from 'mongodb'
import { JobError } from '../../errors.ts'

/** What a server says of itself. */
export interface Server {
  product: string
  version: string
  replicaSet: string | null
  /** A router of a sharded cluster. */
  isRouter: boolean
}

export async function examineServer(client: MongoClient): Promise<Server> {
  const admin = client.db('admin')
  const hello = await admin.command({ hello: 1 })
  const build = await admin.command({ buildInfo: 1 })
  return {
    product: build.ferretdb ? 'FerretDB' : 'MongoDB',
    version: String(build.version),
    replicaSet: typeof hello.setName === 'string' ? hello.setName : null,
    isRouter: hello.msg === 'isdbgrid',
  }
}

/** Tries a read that the run is going to need, before anything is begun. */
export async function refuseUnreadable(client: MongoClient, database: string, collection: string): Promise<void> {
  await client
    .db(database)
    .collection(collection)
    .find({}, { projection: { _id: 1 } })
    .limit(1)
    .toArray()
}

/** A dump is read by the same major version or a newer one. */
export function refuseOlder(backup: { product: string; version: string }, server: Server): void {
  const [from, to] = [backup.version, server.version].map((version) => Number.parseInt(version, 10))
  if (backup.product !== server.product || !(Number(from) > Number(to))) return
  throw new JobError(
    'server',
    `the backup is of ${backup.product} ${backup.version}, the target runs ${server.version}`,
    {
      hint: 'restore into a server of the same or a newer major version',
    },
  )
}
