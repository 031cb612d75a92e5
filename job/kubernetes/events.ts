import { randomBytes } from 'node:crypto'
import { V1MicroTime, type V1ObjectReference } from '@kubernetes/client-node'
import { type AskOptions, ask, unless } from './ask.ts'
import type { Cluster } from './client.ts'

/** What `kubectl describe job` shows of a run. */
export interface RunEvent {
  type: 'Normal' | 'Warning'
  /** One word for programs: `Started`, `Stored`, `Restored`, `Failed`. */
  reason: string
  /** What was done when it happened: `Backup`, `Restore`. */
  action: string
  /** For people; holds no secret, as everybody who may list events reads it. */
  note: string
}

/** The API server takes no longer notes. */
const noteBytes = 1024

/** An Event on the Job, or on the pod when no Job made it. */
export async function sendEvent(cluster: Cluster, event: RunEvent, options: AskOptions): Promise<void> {
  const { identity, namespace } = cluster
  const pod = identity.pod && { apiVersion: 'v1', kind: 'Pod', namespace, ...identity.pod }
  const regarding: V1ObjectReference | undefined = identity.job
    ? { apiVersion: 'batch/v1', kind: 'Job', namespace, ...identity.job }
    : pod
  if (!regarding) return
  const now = new V1MicroTime()
  // lists are sorted by name
  const name = `${regarding.name}.${now.getTime().toString(16)}${randomBytes(2).toString('hex')}`
  const body = {
    metadata: { namespace, name },
    eventTime: now,
    regarding,
    ...(pod && identity.job ? { related: pod } : {}),
    reportingController: 'holdfast',
    reportingInstance: (pod?.name ?? regarding.name ?? '').slice(0, 128),
    ...event,
    note: cut(event.note),
  }
  // 409: it was there already, and only the answer had been lost
  await unless(
    [409],
    ask('create an Event', (how) => cluster.events.createNamespacedEvent({ namespace, body }, how), options),
  )
}

/** Pure: at most so many bytes of UTF-8. */
export function cut(note: string): string {
  const bytes = Buffer.from(note)
  if (bytes.length <= noteBytes) return note
  const dots = '…'
  const kept = bytes.subarray(0, noteBytes - Buffer.byteLength(dots)).toString('utf8')
  return `${kept.replace(/\uFFFD+$/, '')}${dots}`
}
