import { type V1Lease, type V1LeaseSpec, V1MicroTime } from '@kubernetes/client-node'
import { type AskOptions, ask, unless } from './ask.ts'
import type { Cluster } from './client.ts'

export interface Holder {
  /** Of this process alone: two processes in one pod are two holders. */
  identity: string
  /** Uid of the Job that it works for. */
  job?: string | undefined
}

/** One version of a Lease that is held. */
export interface Holding {
  /** The pod, as a person would name it. */
  who: string
  identity: string
  job: string | undefined
  /** By the holder's own clock: for people. */
  since: string
  /** Milliseconds, as the holder promised. */
  duration: number
  /** Another text whenever the holder has renewed, or another one holds it. */
  record: string
}

/** A Lease in the API server. Every write names the version that it replaces: undefined when there is a newer one. */
export interface LeaseRecord {
  read(options?: AskOptions): Promise<V1Lease | undefined>
  /** Makes us the holder. Without `current` the Lease is made. */
  take(current: V1Lease | undefined, options?: AskOptions): Promise<V1Lease | undefined>
  renew(current: V1Lease, options?: AskOptions): Promise<V1Lease | undefined>
  /** Leaves it without a holder. */
  free(current: V1Lease, options?: AskOptions): Promise<V1Lease | undefined>
}

export interface LeaseRecordOptions {
  name: string
  cluster: Pick<Cluster, 'coordination' | 'namespace'>
  holder: Holder
  /** By which people find it. */
  labels: Record<string, string>
  /** Milliseconds; whole seconds. */
  duration: number
  now(): Date
}

/** Which Job a holder works for. */
const jobAnnotation = 'holdfast/job-uid'

export function leaseRecord({ name, cluster, holder, labels: own, duration, now }: LeaseRecordOptions): LeaseRecord {
  const { coordination, namespace } = cluster

  async function write(current: V1Lease | undefined, spec: V1LeaseSpec, options?: AskOptions) {
    const { annotations, labels, ...metadata } = current?.metadata ?? { name, namespace }
    const ours = { annotations: { ...annotations, ...jobOf(holder) }, labels: { ...labels, ...own } }
    const body: V1Lease = { metadata: { ...metadata, ...ours }, spec }
    const request = current
      ? ask(
          `update Lease ${name}`,
          (how) => coordination.replaceNamespacedLease({ name, namespace, body }, how),
          options,
        )
      : ask(`create Lease ${name}`, (how) => coordination.createNamespacedLease({ namespace, body }, how), options)
    // 404: deleted since it was read; when it is being made, the namespace is not there
    return await unless(current ? [404, 409] : [409], request)
  }

  const microTime = () => new V1MicroTime(now())
  return {
    read: (options) => {
      const request = ask(
        `get Lease ${name}`,
        (how) => coordination.readNamespacedLease({ name, namespace }, how),
        options,
      )
      return unless([404], request)
    },
    take: (current, options) => {
      const spec = {
        holderIdentity: holder.identity,
        leaseDurationSeconds: duration / 1000,
        acquireTime: microTime(),
        renewTime: microTime(),
        leaseTransitions: current ? (current.spec?.leaseTransitions ?? 0) + 1 : 0,
      }
      return write(current, spec, options)
    },
    renew: (current, options) => write(current, { ...current.spec, renewTime: microTime() }, options),
    free: (current, options) =>
      write(current, { ...current.spec, holderIdentity: '', renewTime: microTime() }, options),
  }
}

/** Who holds it; undefined when nobody does. */
export function holdingOf({ metadata, spec = {} }: V1Lease): Holding | undefined {
  const { holderIdentity: identity, acquireTime, renewTime, leaseTransitions, leaseDurationSeconds = 0 } = spec
  if (!identity) return undefined
  return {
    who: identity.split('_')[0] ?? identity,
    identity,
    job: metadata?.annotations?.[jobAnnotation],
    since: String(acquireTime).replace(/\.\d+Z$/, 'Z'),
    duration: leaseDurationSeconds * 1000,
    record: JSON.stringify([identity, acquireTime, renewTime, leaseTransitions, leaseDurationSeconds]),
  }
}

/** A Lease that is taken over must not keep the Job of its last holder. */
function jobOf({ job = '' }: Holder): Record<string, string> {
  return { [jobAnnotation]: job }
}
