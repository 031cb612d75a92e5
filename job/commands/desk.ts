import { createHash } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { secretPath, secretReader } from '../config.ts'
import type { Folder, Place, WorkContext } from '../engine.ts'
import { JobError } from '../errors.ts'
import { type Failure, failureOf } from '../io/outcome.ts'
import { openPace } from '../io/pace.ts'
import type { Backup } from '../io/parts.ts'
import type { Hello } from '../io/protocol.ts'
import { scratchFolder } from '../io/scratch.ts'
import { limitOver } from '../limits.ts'
import type { Storage } from '../storage.ts'
import { openStorage, placeOf, StorageValues } from '../storages/index.ts'
import { limited } from '../storages/limited.ts'
import { version } from '../version.ts'

/** What a worker has at hand between orders. */
export interface Desk {
  hello: Hello
  storages: Storage[]
  /** Why others could not be opened: to this worker they have failed. */
  unopened: Failure[]
  context: Omit<WorkContext, 'beside' | 'write' | 'read'>
  close(): Promise<void>
}

export async function openDesk({
  hello,
  signal,
  log,
  sharers = () => 1,
}: {
  hello: Hello
  signal: AbortSignal
  log: Logger
  /** How many processes share the limits of the run now. */
  sharers?: () => number
}): Promise<Desk> {
  if (hello.version !== version)
    throw new JobError('configuration', `the run is of holdfast ${hello.version}, its worker of ${version}`, {
      hint: 'the release was upgraded, or the tag of its image is another image now, while the run was at work: run again',
    })
  const folder = await scratchFolder(hello.staging).catch((cause) => {
    throw new JobError('configuration', `no folder for temporary files can be made in ${hello.staging}`, {
      hint: 'name another one with --tmp-dir, or with `staging` of the target',
      cause,
    })
  })
  const secret = secretReader(hello.secretsDir)
  const pace = hello.pacing && openPace({ limit: limitOver(hello.pacing), sharers })
  const storages: Storage[] = []
  const unopened: Failure[] = []
  for (const [name, values] of Object.entries(hello.storages)) {
    const context = {
      at: `storages.${name}`,
      secret,
      secretPath: (ref: { secret: string }, key: string) => secretPath(hello.secretsDir, ref, key),
      volumesDir: hello.volumesDir,
    }
    try {
      const storage = await openStorage({ name, values: StorageValues.parse(values), context })
      storages.push(pace ? limited(storage, pace) : storage)
    } catch (error) {
      unopened.push(failureOf(name, error))
    }
  }
  return {
    hello,
    storages,
    unopened,
    context: { signal, secret, log, folder, owner: ownerOf(hello), progress: () => {} },
    close: async () => {
      await Promise.all(storages.map((storage) => storage.close()))
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The plan, and a hash of where the first storage keeps its backups. */
export function ownerOf({ plan, storages }: Pick<Hello, 'plan' | 'storages'>): string {
  const places = Object.values(storages).map((values) => placeOf(StorageValues.parse(values)))
  return `${plan}@${createHash('sha256')
    .update(places[0] ?? '')
    .digest('hex')
    .slice(0, 16)}`
}

/** Workers that share the process share its storages, but not their files. */
export async function deskOf(
  desk: Desk,
  { name, progress }: { name: string; progress: (bytes: number) => void },
): Promise<Desk> {
  const folder = join(desk.context.folder, name)
  await mkdir(folder, { recursive: true })
  return { ...desk, context: { ...desk.context, folder, progress } }
}

export function backupOf({ hello, context }: Desk): Backup {
  return { plan: hello.plan, id: hello.backupId, signal: context.signal }
}

/** A volume is reached by a pod beside it, to which it is a local folder; whoever else gets the order cannot carry it out. */
export async function openFolder(desk: Desk, place: Place): Promise<Folder> {
  if (place.access === 'local') {
    const { localFolder } = await import('../io/folder.ts')
    return localFolder(place.folder, desk.context.signal)
  }
  if (place.access === 'exec') {
    const { containerFolder } = await import('../kubernetes/container.ts')
    return containerFolder(place, { signal: desk.context.signal, scratch: desk.context.folder })
  }
  throw new JobError('configuration', 'files.access: volume needs worker pods, which only a run in Kubernetes has', {
    hint: 'run it with the chart; from elsewhere files.access: exec reads the files, too',
  })
}
