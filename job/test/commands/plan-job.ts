import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Desk } from '../../commands/desk.ts'
import type { Job } from '../../commands/job.ts'
import { carryOut } from '../../commands/orders.ts'
import type { Plan } from '../../config.ts'
import { SourceValues } from '../../engines/index.ts'
import type { Storage } from '../../storage.ts'
import { version } from '../../version.ts'
import { type FakeJobOptions, fakeJob } from './fake-job.ts'

/** A folder with some files, gone after the test. */
export async function folderWith(files: Record<string, string | Buffer>): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-files-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(dir, path, '..'), { recursive: true })
    await writeFile(join(dir, path), content)
  }
  return dir
}

/** A plan `nightly` that backs up a folder of this machine. */
export function planOf(folder: string, plan: Partial<Plan> = {}): Record<string, Partial<Plan>> {
  const source = SourceValues.parse({ name: 'docs', files: { access: 'local', path: folder } })
  return { nightly: { require: 'all', sources: [source], ...plan } }
}

/** A job whose workers are in this process, and write to the same storages. */
export function planJob({ storages, ...options }: FakeJobOptions): Job {
  const job = fakeJob({ storages, ...options })
  return {
    ...job,
    workers: ({ plan, id, storages: names }) => ({
      order: async (order) => {
        const folder = await mkdtemp(join(tmpdir(), 'holdfast-desk-'))
        const desk = deskOf({ job, plan, id, folder, storages: storages.filter(({ name }) => names.includes(name)) })
        return carryOut(desk, order).finally(() => rm(folder, { recursive: true }))
      },
      close: async () => {},
    }),
  }
}

function deskOf({
  job,
  plan,
  id,
  folder,
  storages,
}: {
  job: Job
  plan: string
  id: string
  folder: string
  storages: Storage[]
}): Desk {
  const { signal, secret, log } = job
  return {
    hello: { version, plan, backupId: id, storages: {}, secretsDir: folder, volumesDir: folder, staging: folder },
    storages,
    unopened: [],
    context: { signal, secret, log, folder, owner: 'nightly@1', progress: () => {} },
    close: async () => {},
  }
}
