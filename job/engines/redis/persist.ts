import { setTimeout as sleep } from 'node:timers/promises'
import type { RunContext } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Info, infoOf, settingOf } from './info.ts'
import { RefusedError, unlessRefused, type Wire } from './wire.ts'

/** How a server keeps its data. */
export type Kept = 'append-only file' | 'snapshot' | 'memory only'

/** More than any disk needs for what the server has not yet synced: it does so every second. */
const syncMs = 30_000

/**
 * What was restored must survive the next restart: the append-only file, which has every key by now, is synced, or the server writes it
 * anew; one without such a file writes a snapshot when it keeps one. It says that it went well.
 */
export async function persist(wire: Wire, run: Pick<RunContext, 'signal' | 'warn'>): Promise<Kept> {
  if ((await infoOf(wire)).get('aof_enabled') === '1') {
    if (!(await isSynced(wire))) await rewrite(wire, run.signal)
    refuseFailed(wire, await infoOf(wire), ['aof_last_write_status'])
    return 'append-only file'
  }
  await atRest(wire, run.signal)
  if (await savesSnapshots(wire)) {
    await begin(wire, 'BGSAVE')
    refuseFailed(wire, await atRest(wire, run.signal), ['rdb_last_bgsave_status'])
    return 'snapshot'
  }
  run.warn(`${wire.server} keeps nothing on disk (appendonly no, save ""): what was restored is gone when it restarts`)
  return 'memory only'
}

/** True when all that this connection wrote is on the disk. Servers before 7.2 do not know the question, and some users may not ask it. */
async function isSynced(wire: Wire): Promise<boolean> {
  // it would not answer
  if ((await settingOf(wire, 'appendfsync')) === 'no') return false
  const said = await wire.ask('WAITAOF', 1, 0, syncMs).catch(unlessRefused)
  return Array.isArray(said) && Number(said[0]) >= 1
}

/** A new append-only file is synced before the server uses it. */
async function rewrite(wire: Wire, signal: AbortSignal): Promise<void> {
  await atRest(wire, signal)
  await begin(wire, 'BGREWRITEAOF')
  refuseFailed(wire, await atRest(wire, signal), ['aof_last_bgrewrite_status'])
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
  return (await settingOf(wire, 'save')) !== ''
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
