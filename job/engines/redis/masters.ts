import { slotOf } from './slots.ts'
import type { Master } from './topology.ts'
import { type Login, openWire, type Wire } from './wire.ts'

/** Connections to all masters, in their order. The caller closes them. */
export async function openAll(masters: readonly Master[], login: Login, signal: AbortSignal): Promise<Wire[]> {
  const opened = await Promise.allSettled(masters.map(({ address }) => openWire(address, login, signal)))
  const wires = opened.filter((one) => one.status === 'fulfilled').map((one) => one.value)
  const failed = opened.find((one) => one.status === 'rejected')
  if (!failed) return wires
  for (const wire of wires) wire.close()
  throw failed.reason
}

/** The connection to the master that has the slot of a key. */
export function wireOf(key: string, masters: readonly Master[], wires: readonly Wire[]): Wire {
  return wires[masterOf(key, masters)] as Wire
}

/** A connection of its own to that master. The caller closes it. */
export function openFor(key: string, masters: readonly Master[], login: Login, signal: AbortSignal): Promise<Wire> {
  return openWire((masters[masterOf(key, masters)] as Master).address, login, signal)
}

/** Which of them has the slot of a key. */
function masterOf(key: string, masters: readonly Master[]): number {
  const slot = slotOf(Buffer.from(key))
  return masters.findIndex(({ slots }) => slots.some(([from, to]) => slot >= from && slot <= to))
}
