import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parse, stringify } from 'yaml'
import type { Template } from '../../kubernetes/template.ts'

const run = promisify(execFile)

/** The cluster of KUBECONFIG, with the image of this tree loaded: HOLDFAST_IMAGE. */
export const cluster = {
  kubeconfig: process.env.KUBECONFIG,
  image: process.env.HOLDFAST_IMAGE,
}

/** Why tests with pods cannot run here; undefined when they can. */
export function missingCluster(): string | undefined {
  if (!cluster.kubeconfig) return 'no KUBECONFIG'
  if (!cluster.image) return 'no HOLDFAST_IMAGE: eval the output of test_scripts/cluster_up'
  return undefined
}

/** `kubectl …`; `input` goes to its standard input. Rejects with what it said. */
export async function kubectl(args: string[], input?: string): Promise<string> {
  const child = run('kubectl', args, { maxBuffer: 64 * 1024 * 1024 })
  child.child.stdin?.end(input ?? '')
  return (await child).stdout
}

/** A namespace that enforces the strictest Pod Security. Removed by `remove`. */
export async function makeNamespace(prefix: string): Promise<{ name: string; remove(): Promise<void> }> {
  const name = `${prefix}-${process.pid}-${Date.now().toString(36)}`
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' }
  await apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }])
  return { name, remove: async () => void (await kubectl(['delete', 'namespace', name, '--wait=false'])) }
}

export async function apply(objects: object[]): Promise<void> {
  await kubectl(['apply', '-f', '-'], objects.map((object) => stringify(object)).join('---\n'))
}

/** A copy of the kubeconfig that reaches the API server by another address; its certificate is for the old one. */
export function kubeconfigBy(address: string, dir: string): { file: string; server: URL } {
  const config = parse(readFileSync(cluster.kubeconfig as string, 'utf8'))
  const context = config.contexts.find((one: { name: string }) => one.name === config['current-context'])
  const entry = config.clusters.find((one: { name: string }) => one.name === context.context.cluster).cluster
  const server = new URL(entry.server)
  entry.server = `https://${address}`
  entry['insecure-skip-tls-verify'] = true
  delete entry['certificate-authority-data']
  delete entry['certificate-authority']
  const file = join(dir, 'kubeconfig')
  writeFileSync(file, stringify(config), { mode: 0o600 })
  return { file, server }
}

/** A copy of the kubeconfig for somebody with a token. */
export function kubeconfigAs(token: string, dir: string): string {
  const config = parse(readFileSync(cluster.kubeconfig as string, 'utf8'))
  const { context } = config.contexts.find((one: { name: string }) => one.name === config['current-context'])
  config.users.find((one: { name: string }) => one.name === context.user).user = { token }
  const file = join(dir, `kubeconfig-${createHash('sha256').update(token).digest('hex').slice(0, 8)}`)
  writeFileSync(file, stringify(config), { mode: 0o600 })
  return file
}

/** The template of worker pods as the chart makes it, with a claim `backups` for the storage of the test. */
export function workerTemplate({
  names,
  image = cluster.image as string,
}: {
  names: string
  image?: string
}): Template {
  const volumes = [
    { name: 'tmp', mountPath: '/tmp', emptyDir: {} },
    { name: 'scratch', mountPath: '/scratch', emptyDir: {} },
    { name: 'backups', mountPath: '/volumes/backups', persistentVolumeClaim: { claimName: 'backups' } },
  ]
  const ids = { runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000 }
  return {
    names,
    max: 4,
    scratch: {},
    pod: {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { labels: { 'app.kubernetes.io/name': 'holdfast', 'app.kubernetes.io/component': 'worker' } },
      spec: {
        restartPolicy: 'Never',
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, ...ids, seccompProfile: { type: 'RuntimeDefault' } },
        containers: [
          {
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
            name: 'worker',
            image,
            imagePullPolicy: 'IfNotPresent',
            command: ['/app/holdfast', 'worker', '--log-level', 'info'],
            stdin: true,
            stdinOnce: false,
            env: [{ name: 'TMPDIR', value: '/tmp' }],
            volumeMounts: volumes.map(({ name, mountPath }) => ({ name, mountPath })),
          },
        ],
        volumes: volumes.map(({ mountPath: _, ...volume }) => volume),
      },
    },
  }
}
