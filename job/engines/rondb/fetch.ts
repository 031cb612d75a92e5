import { createReadStream, createWriteStream } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Reader, TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { scratchFolder } from '../../io/scratch.ts'
import type { Work } from './native.ts'
import { nodesOf, type Progress, workerOf } from './progress.ts'
import type { Target } from './values.ts'

/** Every file is on the workers and verified, every SQL part read to its end, before anything is written. */
export async function fetch(run: TargetRun, reader: Reader, state: Progress) {
  const { detail } = state
  const parts = run.parts.filter((part) => part.path.startsWith('rondb/'))
  const bytes = run.parts.reduce((sum, part) => sum + part.size, 0)
  state.folder = await scratchFolder(run.staging).catch((cause) => {
    throw new JobError('configuration', `${run.at}.staging: the folder ${run.staging} cannot be used`, {
      hint: 'create it, or name another one there or with --tmp-dir',
      cause,
    })
  })
  const partsOf = (node: number) => parts.filter((part) => part.path.startsWith(`rondb/${node}/`))
  const room = (worker: string) =>
    nodesOf(detail)
      .filter((node) => workerOf(node, detail) === worker)
      .flatMap(partsOf)
      .reduce((sum, part) => sum + part.size, 0)
  const fetchNode = async (node: number) => {
    const worker = workerOf(node, detail)
    await reader.delegate({ do: 'download', worker, parts: partsOf(node), strip: 'rondb/', room: room(worker) })
    const { clients, decryption } = run.target as Target
    const order: Work = {
      do: 'read',
      node,
      backupId: run.backupId,
      ...(clients ? { clients } : {}),
      ...(decryption ? { decryption } : {}),
    }
    await reader.delegate({ do: 'engine', worker, engine: 'rondb', order })
  }
  await Promise.all([fetchSql(run, reader, state), ...nodesOf(detail).map(fetchNode)])
  return { bytes }
}

async function fetchSql(run: TargetRun, reader: Reader, { folder }: Progress): Promise<void> {
  for (const { path } of run.parts.filter((part) => !part.path.startsWith('rondb/')))
    await pipeline(await reader.read(path), createWriteStream(join(folder, path)), { signal: run.signal })
}

/** A verified SQL part from the staging folder. */
export function sqlPart({ folder }: Progress, path: string): Readable {
  return createReadStream(join(folder, path))
}
