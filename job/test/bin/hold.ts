import { pino } from 'pino'
import { connect } from '../../kubernetes/client.ts'
import { hold, type LeaseTimes } from '../../kubernetes/lease.ts'

/** Holds a lease until it is killed: JSON of these options as the argument. Says `held` when it has it. */
interface Options {
  kubeconfig: string
  namespace: string
  name: string
  identity: string
  times: LeaseTimes
  /** How far the time of day is off. */
  skewMs: number
}

const { kubeconfig, namespace, name, identity, times, skewMs } = JSON.parse(process.argv[2] ?? '{}') as Options
const log = pino({}, process.stderr)
const { lost } = await hold(name, {
  cluster: connect({ kubeconfig, podNamespace: namespace }),
  holder: { identity },
  wait: false,
  signal: new AbortController().signal,
  log,
  times,
  clock: {
    now: () => new Date(Date.now() + skewMs),
    ticks: () => performance.now(),
    random: Math.random,
    pause: (ms, signal) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      setTimeout(resolve, ms)
      signal?.addEventListener('abort', () => reject(signal.reason))
      return promise
    },
  },
})
process.stdout.write('held\n')
lost.addEventListener('abort', () => process.exit(1))
