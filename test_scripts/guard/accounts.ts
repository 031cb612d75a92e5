/** The release that is tried: its accounts, each with a client of its own. */

import {
  AppsV1Api,
  AuthorizationV1Api,
  BatchV1Api,
  CoordinationV1Api,
  CoreV1Api,
  EventsV1Api,
  KubeConfig,
} from '@kubernetes/client-node'

export const [namespace = '', release = ''] = process.argv.slice(2)
export const dryRun = 'All'
export type Account = Awaited<ReturnType<typeof accountNamed>>

export const config = new KubeConfig()
config.loadFromDefault()
export const admin = clients(config)
export const backup = await accountNamed(`${release}-backup`)
export const restore = await accountNamed(`${release}-restore`)
export const worker = await accountNamed(`${release}-worker`)

/** With a token of the account, as its pods have one. */
export async function accountNamed(name: string) {
  const { status } = await admin.core.createNamespacedServiceAccountToken({
    namespace,
    name,
    body: { spec: { audiences: [], expirationSeconds: 3600 } },
  })
  const cluster = config.getCurrentCluster()
  const own = new KubeConfig()
  own.loadFromClusterAndUser(cluster as NonNullable<typeof cluster>, { name, token: status?.token ?? '' })
  return clients(own)
}

function clients(config: KubeConfig) {
  return {
    config,
    apps: config.makeApiClient(AppsV1Api),
    core: config.makeApiClient(CoreV1Api),
    batch: config.makeApiClient(BatchV1Api),
    coordination: config.makeApiClient(CoordinationV1Api),
    events: config.makeApiClient(EventsV1Api),
    authorization: config.makeApiClient(AuthorizationV1Api),
  }
}
