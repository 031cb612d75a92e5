import { setTimeout as sleep } from 'node:timers/promises'
import type { RunContext } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Info, infoOf } from './info.ts'
import { RefusedError, type Wire } from './wire.ts'

/** How a server keeps its data. */
export type Kept = 'append-only file' | 'snapshot' | 'memory only'

/**
 * What was restored must survive the next restart: the server writes its append-only file anew, or a snapshot when it keeps one, and
 * says that it went well.
 */
export async function persist(wire: Wire, run: Pick<RunContext, 'signal' | 'warn'>): Promise<Kept> {
  const info = await atRest(wire, run.signal)
  if (info.get('aof_enabled') === '1') {
    await begin(wire, 'BGREWRITEAOF')
    const after = await atRest(wire, run.signal)
    refuseFailed(wire, after, ['aof_last_bgrewrite_status', 'aof_last_write_status'])
    return 'append-only file'
  }
  if (await savesSnapshots(wire)) {
    await begin(wire, 'BGSAVE')
    refuseFailed(wire, await atRest(wire, run.signal), ['rdb_last_bgsave_status'])
    return 'snapshot'
  }
  run.warn(`${wire.server} keeps nothing on disk (appendonly no, save ""): what was restored is gone when it restarts`)
  return 'memory only'
}

/** Another save may have begun between: what it saves has all the keys, too. */
async function begin(wire: Wire, command: string): Promise<void> {
  await wire.ask(command).catch((error) => {
    if (!(error instanceof RefusedError && /in progress|already/i.test(error.message))) throw error
  })
}

/** Nothing is being written or waits for it. */
async function atRest(wire: Wire, signal: AbortSignal): Promise<Info> {
  for (;;) {
    const info = await infoOf(wire)
    const busy = ['aof_rewrite_in_progress', 'aof_rewrite_scheduled', 'rdb_bgsave_in_progress']
    if (busy.every((name) => info.get(name) !== '1')) return info
    await sleep(100, undefined, { signal })
  }
}

/** Managed services do not tell: they look after it by themselves. */
async function savesSnapshots(wire: Wire): Promise<boolean> {
  try {
    const said = (await wire.ask('CONFIG', 'GET', 'save')) as string[]
    return (said[1] ?? '') !== ''
  } catch (error) {
    if (error instanceof RefusedError) return true
    throw error
  }
}

function refuseFailed(wire: Wire, info: Info, names: string[]): void {
  const bad = names.find((name) => info.get(name) !== 'ok')
  if (!bad) return
  throw new JobError(
    'server',
    `${wire.server} could not write what was restored to its disk: ${bad} is ${info.get(bad)}`,
    {
      hint: "the server's log says why: memory for the fork, room on its volume",
    },
  )
}
