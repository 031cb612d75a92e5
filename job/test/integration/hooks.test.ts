import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type HookActions, Hooks, type ScaleHook } from '../../hooks.ts'
import { connect } from '../../kubernetes/client.ts'
import { hookActions } from '../../kubernetes/hooks.ts'
import { apply, cluster, kubectl, makeNamespace, missingCluster } from '../servers/kubernetes.ts'

const missing = missingCluster()
if (missing) console.log(`hooks in Kubernetes: skipped, ${missing}`)

const { signal } = new AbortController()
const container = { securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }
const podSecurity = { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } }

let namespace: string
let remove: () => Promise<void>

describe.skipIf(missing !== undefined)('hooks in Kubernetes', () => {
  beforeAll(async () => {
    ;({ name: namespace, remove } = await makeNamespace('hooks'))
    await apply([workload('Deployment', 'app', 2), workload('StatefulSet', 'queue', 1)])
    for (const name of ['deployment/app', 'statefulset/queue'])
      await kubectl(['-n', namespace, 'rollout', 'status', name, '--timeout=120s'])
  })
  afterAll(() => remove?.())

  test.each<[ScaleHook['kind'], string, number]>([
    ['Deployment', 'app', 2],
    ['StatefulSet', 'queue', 1],
  ])(
    'scale a %s down, and back to what it was, also by another run than the one that did it',
    async (kind, name, replicas) => {
      const hook = { kind, name, replicas: 0 }
      await actions().scale(hook, signal)
      expect(await pods(name)).toBe(0)
      // a killed run began again: what it was is not what it is now
      await actions().scale(hook, signal)
      expect(await actions().scaleBack(hook, signal)).toBe(true)
      expect(await pods(name)).toBe(replicas)
      expect(await actions().scaleBack(hook, signal)).toBe(false)
      expect(await kubectl(['-n', namespace, 'get', 'configmaps', '-o', 'name'])).not.toContain('scaled')
    },
  )

  test('say which workload is not there', async () => {
    const hook = { kind: 'Deployment' as const, name: 'nobody', replicas: 0 }
    await expect(actions().scale(hook, signal)).rejects.toMatchObject({
      kind: 'configuration',
      message: `there is no Deployment nobody in namespace ${namespace}`,
    })
  })

  test('run commands in a pod, by name or by labels, and tell what they said when they fail', async () => {
    await actions().exec(exec({ selector: 'app=app', command: ['sh', '-c', 'echo quiet > /tmp/state'] }), signal)
    await actions().exec(exec({ pod: 'queue-0', container: 'main', command: ['true'] }), signal)
    const failing = exec({ pod: 'queue-0', command: ['sh', '-c', 'echo "no such table" >&2; exit 3'] })
    await expect(actions().exec(failing, signal)).rejects.toThrow('it ended with 3 in pod queue-0: no such table')
    const nobody = exec({ selector: 'app=nobody', command: ['true'] })
    await expect(actions().exec(nobody, signal)).rejects.toThrow(
      `no pod with app=nobody is ready in namespace ${namespace}`,
    )
  })
})

function actions(): HookActions {
  return hookActions('backup-nightly', connect({ kubeconfig: cluster.kubeconfig, podNamespace: namespace }))
}

function exec(hook: object) {
  return Hooks.parse({ before: [{ exec: hook }] }).before[0]?.exec as NonNullable<Hooks['before'][number]['exec']>
}

async function pods(app: string): Promise<number> {
  return (
    await kubectl([
      '-n',
      namespace,
      'get',
      'pods',
      '-l',
      `app=${app}`,
      '--field-selector=status.phase=Running',
      '-o',
      'name',
    ])
  )
    .split('\n')
    .filter(Boolean).length
}

function workload(kind: string, name: string, replicas: number) {
  const labels = { app: name }
  const main = { name: 'main', image: cluster.image, command: ['sleep', 'infinity'], ...container }
  return {
    apiVersion: 'apps/v1',
    kind,
    metadata: { name, namespace },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      ...(kind === 'StatefulSet' ? { serviceName: name } : {}),
      template: {
        metadata: { labels },
        spec: { terminationGracePeriodSeconds: 1, securityContext: podSecurity, containers: [main] },
      },
    },
  }
}
