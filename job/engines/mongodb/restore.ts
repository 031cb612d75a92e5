import type { Marker, Reader, RestoreStep, TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { client } from '../../io/clients.ts'
import { consume, lastLines } from '../../io/process.ts'
import { checkParts, stepOf } from '../../io/restores.ts'
import { withoutCollections } from './archive.ts'
import { toolEnv } from './clients.ts'
import { toolFiles, withMongo } from './connection.ts'
import { writeMarker } from './marker.ts'
import { prove } from './proof.ts'
import { argumentsOf, leftOut } from './selection.ts'
import { type Detail, recheck } from './target.ts'
import type { Target } from './values.ts'

/** The first mark looks at the target again. */
export async function mark(run: TargetRun, marker: Omit<Marker, 'creates'>): Promise<void> {
  const { login, creates } = detailOf(run)
  if (marker.state === 'begun') await recheck(run)
  await withMongo(login, run, (client) => writeMarker(client, { ...marker, creates }))
}

type Step = (run: TargetRun, reader: Reader) => Promise<Record<string, unknown>>

const steps: Record<string, Step> = { verify, clear, data, prove: (run) => prove(run, detailOf(run)) }

/** One step; the plan is always begun from its first, so every step may find what a crashed run left. */
export async function restore(run: TargetRun, step: RestoreStep, reader: Reader): Promise<Record<string, unknown>> {
  return stepOf(steps, step)(run, reader)
}

function detailOf(run: TargetRun): Detail {
  return run.state?.detail as Detail
}

/** mongorestore writes as it reads. The archive's own ends were looked for when it was made. */
async function verify(run: TargetRun, reader: Reader) {
  const paths = detailOf(run).selection.archives.map(({ path }) => path)
  const { bytes } = await checkParts(reader, paths, 1)
  return { bytes }
}

/**
 * Drops what the plan says, and nothing else. Not left to mongorestore's --drop: that would also take users and roles away that the
 * backup does not have.
 */
async function clear(run: TargetRun) {
  const { login, clears } = detailOf(run)
  await withMongo(login, run, async (client) => {
    for (const namespace of clears) {
      const [database = '', ...name] = namespace.split('.')
      const collection = client.db(database).collection(name.join('.'))
      // the collection of stored functions is the server's, its documents are not
      if (name[0] === 'system') await collection.deleteMany({})
      else await collection.drop()
    }
  })
  run.log.info({ collections: clears }, 'replaced content dropped')
  return { dropped: clears.length }
}

async function data(run: TargetRun, reader: Reader) {
  const target = run.target as Target
  const { login, selection } = detailOf(run)
  let documents = 0
  for (const archive of selection.archives) {
    const program = {
      file: client('mongorestore', target.clients),
      args: argumentsOf(target, selection, archive),
      signal: run.signal,
      files: toolFiles(login),
      env: toolEnv,
    }
    const stream = await withoutCollections(await reader.read(archive.path), leftOut(archive))
    const { stderr } = await consume(program, stream).catch((error) => {
      throw explained(error)
    })
    documents += restored(stderr, archive.path)
  }
  return { documents }
}

/** One of several writers fails, and mongorestore may say of the others that they were told to end, and not why. */
function explained(error: unknown): unknown {
  if (!(error instanceof JobError && /received termination signal/.test(error.message))) return error
  const hint = 'one of its writers failed: look at the log of the server, or run it again with insertionWorkers: 1'
  return new JobError(error.kind, error.message, { hint, cause: error })
}

const summary = /(\d+) document\(s\) restored successfully\. (\d+) document\(s\) failed to restore/

/** Pure: mongorestore ends with 0 when documents were refused, and says so in its last line. */
export function restored(said: string, path: string): number {
  const [, good, failed] = summary.exec(said) ?? []
  if (good !== undefined && Number(failed) === 0) return Number(good)
  const what = good === undefined ? 'did not say how much it restored' : `could not restore ${failed} documents`
  throw new JobError('server', `mongorestore ${what} of ${path}: ${lastLines(said)}`, {
    hint: 'do not use the target; look at its log, and run the restore again',
  })
}
