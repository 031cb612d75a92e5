import type { MongoClient } from 'mongodb'
import { inParallel } from '../../io/parallel.ts'
import { systemDatabases } from './values.ts'

/** Names that a dump brings back as collections: of the server's own only the stored functions are the user's. */
export function isUsers(name: string): boolean {
  return !name.startsWith('system.') || name === 'system.js'
}

export interface Found {
  database: string
  name: string
  type: string
}

/** All collections and views that are a user's; `admin` too, but not config, local and holdfast. */
export async function listContent(client: MongoClient): Promise<Found[]> {
  const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true })
  const names = databases.map(({ name }) => name).filter((name) => name === 'admin' || !systemDatabases.includes(name))
  const lists = await inParallel(names, 8, async (database) => {
    const found = await client.db(database).listCollections({}, { nameOnly: true }).toArray()
    return found.filter(({ name }) => isUsers(name)).map(({ name, type = 'collection' }) => ({ database, name, type }))
  })
  return lists.flat()
}
