import type { SourceState } from '../engine.ts'
import { engineOf } from '../engines/index.ts'
import type { Result } from '../io/print.ts'
import type { Storage } from '../storage.ts'
import { contextOf } from './backup.ts'
import { planNamed } from './catalogs.ts'
import type { Job } from './job.ts'
import { signerOf } from './signing.ts'

export interface CheckedSource {
  source: string
  engine: string
  server: { product: string; version: string }
  tools: Record<string, string>
}

export interface FoundSource {
  /** What people see. */
  shown: CheckedSource
  state: SourceState
}

/** Everything that can be known without writing: every source of the plan, and that its storages answer. */
export async function check(job: Job, { plan: name }: { plan: string }): Promise<Result> {
  const plan = planNamed(job.config, name)
  signerOf(job, name)
  const sources = (await checkSources(job, name)).map(({ shown }) => shown)
  for (const storage of plan.storages) await checkStorage(await job.storage(storage), `${name}/`)
  const rows = sources.map(({ source, engine, server, tools }) => [
    source,
    engine,
    `${server.product} ${server.version}`,
    Object.entries(tools)
      .map(([tool, version]) => `${tool} ${version}`)
      .join(', '),
  ])
  return {
    data: { plan: name, storages: plan.storages, sources, warnings: job.warnings },
    table: { columns: ['source', 'engine', 'server', 'clients'], rows },
    notes: [...job.warnings.map((warning) => `warning: ${warning}`), `storages ${plan.storages.join(', ')} answer`],
  }
}

async function checkStorage(storage: Storage, prefix: string): Promise<void> {
  for await (const _ of storage.list(prefix, { delimiter: '/' })) break
  await storage.writable?.(prefix)
}

/** Every source of a plan, in its order. */
export async function checkSources(job: Job, name: string): Promise<FoundSource[]> {
  const plan = planNamed(job.config, name)
  const workers = job.workers({ plan: name, id: '0', storages: [] })
  const found: FoundSource[] = []
  try {
    for (const [i, source] of plan.sources.entries()) {
      const { engine, values } = engineOf(source)
      const state = await engine.check({
        ...contextOf(job),
        at: `backups.${name}.sources.${i}.${engine.name}`,
        source: values,
        backupId: '0',
        plan: name,
        delegate: workers.order,
      })
      const { server, tools } = state
      found.push({ shown: { source: source.name, engine: engine.name, server, tools }, state })
    }
  } finally {
    await workers.close()
  }
  return found
}
