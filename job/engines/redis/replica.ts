import { setTimeout as sleep } from 'node:timers/promises'
import type { RunContext } from '../../engine.ts'
import { JobError, textOf } from '../../errors.ts'
import { infoOf, replicasOf } from './info.ts'
import { type Address, type Login, nameOf, openWire, type Wire } from './wire.ts'

export interface Giver {
  wire: Wire
  role: 'master' | 'replica'
}

interface Choosing extends Pick<RunContext, 'warn'> {
  login: Login
  signal: AbortSignal
  preferReplica: boolean
}

/** How long a replica may take to get to where the master was when the backup began. */
const catchUpMs = 10_000

/**
 * The server that gives the snapshot: a replica of the master that has all the master had at this moment, or the master itself.
 * The caller closes it.
 */
export async function openGiver(master: Address, choosing: Choosing): Promise<Giver> {
  const { login, signal, preferReplica, warn } = choosing
  const wire = await openWire(master, login, signal)
  try {
    const info = await infoOf(wire)
    // the values may name a replica
    if (info.get('role') === 'slave') return { wire, role: 'replica' }
    const replicas = preferReplica ? replicasOf(info) : []
    const offset = Number(info.get('master_repl_offset'))
    const failures: string[] = []
    for (const replica of replicas) {
      try {
        const other = await caughtUp(replica, { login, signal, offset })
        wire.close()
        return { wire: other, role: 'replica' }
      } catch (error) {
        if (signal.aborted || !(error instanceof JobError)) throw error
        failures.push(textOf(error))
      }
    }
    if (failures.length > 0)
      warn(`no replica of ${nameOf(master)} can give the snapshot, so the master does: ${failures.join('; ')}`)
    return { wire, role: 'master' }
  } catch (error) {
    wire.close()
    throw error
  }
}

interface Catching {
  login: Login
  signal: AbortSignal
  offset: number
}

async function caughtUp(replica: Address, { login, signal, offset }: Catching): Promise<Wire> {
  const wire = await openWire(replica, login, signal)
  try {
    for (const until = performance.now() + catchUpMs; ; ) {
      const info = await infoOf(wire)
      const behind = offset - Number(info.get('slave_repl_offset'))
      if (info.get('role') === 'slave' && info.get('master_link_status') === 'up' && behind <= 0) return wire
      if (performance.now() > until) throw new JobError('server', `replica ${wire.server} is ${behind} bytes behind`)
      await sleep(100, undefined, { signal })
    }
  } catch (error) {
    wire.close()
    throw signal.aborted ? signal.reason : error
  }
}
