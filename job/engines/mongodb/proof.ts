import type { MongoClient } from 'mongodb'
import type { TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { inParallel } from '../../io/parallel.ts'
import { withMongo } from './connection.ts'
import type { Chosen } from './selection.ts'
import type { Detail } from './target.ts'

/** Nothing is missing: every collection has the documents that the archive had, and the indexes; every view is there. */
export async function prove(run: TargetRun, { login, selection }: Detail): Promise<Record<string, unknown>> {
  const found = await withMongo(login, run, (client) =>
    inParallel(selection.collections, 8, async (one) => {
      run.signal.throwIfAborted()
      return { one, documents: await count(client, one), lacks: await lacking(client, one) }
    }),
  )
  const wrong = found.flatMap(({ one, documents, lacks }) => [
    ...(isAsExpected(one, documents)
      ? []
      : [`${one.to} has ${documents} documents instead of ${[...new Set(one.expects)].join(' to ')}`]),
    ...lacks.map((what) => `${one.to} lacks ${what}`),
  ])
  if (wrong.length > 0) {
    throw new JobError('verification', `the target differs from the backup: ${wrong.slice(0, 5).join('; ')}`, {
      hint: 'do not use the target; run the restore again, from another backup if it repeats',
    })
  }
  return {
    databases: new Set(selection.collections.map(({ to }) => to.split('.')[0])).size,
    collections: selection.collections.length,
    documents: found.reduce((sum, { documents }) => sum + documents, 0),
  }
}

function isAsExpected({ expects, type }: Chosen, documents: number): boolean {
  return type === 'view' || expects === undefined || (documents >= expects[0] && documents <= expects[1])
}

/** The server's own count is quick, and wrong after some crashes: only one that differs is counted out. */
async function count(client: MongoClient, one: Chosen): Promise<number> {
  if (one.type === 'view') return 0
  const { database, name } = placeOf(one)
  const collection = client.db(database).collection(name)
  const quick = await collection.estimatedDocumentCount()
  return isAsExpected(one, quick) ? quick : collection.countDocuments()
}

/** The archive counts the buckets of a time series. */
function placeOf({ to, type }: Chosen): { database: string; name: string } {
  const [database = '', ...rest] = to.split('.')
  const name = rest.join('.')
  return { database, name: type === 'timeseries' ? `system.buckets.${name}` : name }
}

async function lacking(client: MongoClient, one: Chosen): Promise<string[]> {
  // what a replay dropped is not missing
  if (one.expects === undefined) return []
  const [database = '', ...name] = one.to.split('.')
  const db = client.db(database)
  const found = await db.listCollections({ name: name.join('.') }, { nameOnly: true }).toArray()
  if (found.length === 0) return ['itself']
  if (one.indexes.length === 0) return []
  const there = (await db.collection(name.join('.')).listIndexes().toArray()).map((index) => String(index.name))
  return one.indexes.filter((index) => !there.includes(index)).map((index) => `index ${index}`)
}
