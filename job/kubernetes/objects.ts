import { once } from 'node:events'
import { type RequestOptions, request } from 'node:https'
import { text } from 'node:stream/consumers'
import { ApiException } from '@kubernetes/client-node'
import { environment } from '../config.ts'
import type { KubernetesObject, KubernetesObjects, ObjectChoice } from '../engine.ts'
import { JobError } from '../errors.ts'
import { ask, unless } from './ask.ts'
import { type Cluster, connect } from './client.ts'

interface Kind {
  apiVersion: string
  kind: string
  /** Path of its objects in the namespace. */
  path: string
}

/** A page of a list: objects can be large. */
const pageSize = 100

/** Objects as the API server has them, in our namespace. The client's own classes would leave out fields that they do not know. */
export function kubernetesObjects(cluster: Cluster = connect(environment.kubernetes)): KubernetesObjects {
  const { namespace } = cluster
  const kinds = new Map<string, Promise<Kind>>()

  function kindOf(resource: string, signal: AbortSignal): Promise<Kind> {
    const known = kinds.get(resource) ?? discover(cluster, resource, signal)
    kinds.set(resource, known)
    return known
  }

  async function list(choice: ObjectChoice, signal: AbortSignal): Promise<KubernetesObject[]> {
    const kind = await kindOf(choice.resource, signal)
    if (choice.names) {
      const found = await Promise.all(choice.names.map((name) => read(kind, choice.resource, name, signal)))
      return found.filter((object) => object !== undefined)
    }
    const objects: KubernetesObject[] = []
    let next: string | undefined
    do {
      const query = new URLSearchParams({ limit: String(pageSize) })
      if (choice.selector) query.set('labelSelector', choice.selector)
      if (next) query.set('continue', next)
      const page = (await call(cluster, `list ${choice.resource}`, { path: `${kind.path}?${query}`, signal })) as List
      // what is in a list does not say what it is
      for (const item of page.items) objects.push({ ...item, apiVersion: kind.apiVersion, kind: kind.kind })
      next = page.metadata.continue
    } while (next)
    return objects
  }

  function read(kind: Kind, resource: string, name: string, signal: AbortSignal) {
    const what = `read ${resource} ${name}`
    return unless([404], call(cluster, what, { path: `${kind.path}/${name}`, signal })) as Promise<
      KubernetesObject | undefined
    >
  }

  return {
    namespace,
    version: async (signal) => {
      const { gitVersion } = (await call(cluster, 'read the version', { path: '/version', signal })) as Version
      return gitVersion.replace(/^v/, '')
    },
    list,
    read: async (resource, name, signal) => read(await kindOf(resource, signal), resource, name, signal),
    create: async (resource, object, signal) => {
      const { path } = await kindOf(resource, signal)
      const what = `create ${resource} ${object.metadata.name}`
      const made = await unless([409], call(cluster, what, { path, method: 'POST', body: object, signal }))
      return made !== undefined
    },
    replace: async (resource, object, signal) => {
      const { path } = await kindOf(resource, signal)
      const { name } = object.metadata
      await call(cluster, `replace ${resource} ${name}`, {
        path: `${path}/${name}`,
        method: 'PUT',
        body: object,
        signal,
      })
    },
  }
}

interface List {
  metadata: { continue?: string }
  items: KubernetesObject[]
}

interface Version {
  gitVersion: string
}

/** `secrets`, or `routes.route.openshift.io` as kubectl has it: the version that the server prefers. */
async function discover(cluster: Cluster, resource: string, signal: AbortSignal): Promise<Kind> {
  const [plural = '', ...rest] = resource.split('.')
  const group = rest.join('.')
  const apiVersion = group ? await preferred(cluster, group, signal) : 'v1'
  const root = group ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  const known = (await call(cluster, `look up ${resource}`, { path: root, signal })) as {
    resources: { name: string; kind: string; namespaced: boolean }[]
  }
  const found = known.resources.find(({ name }) => name === plural)
  if (!found) throw unknownResource(resource)
  if (!found.namespaced)
    throw new JobError('configuration', `${resource} belong to the cluster, not to a namespace`, {
      hint: 'only objects of the namespace are backed up',
    })
  return { apiVersion, kind: found.kind, path: `${root}/namespaces/${cluster.namespace}/${plural}` }
}

async function preferred(cluster: Cluster, group: string, signal: AbortSignal): Promise<string> {
  const found = (await unless([404], call(cluster, `look up ${group}`, { path: `/apis/${group}`, signal }))) as
    | { preferredVersion: { groupVersion: string } }
    | undefined
  if (found) return found.preferredVersion.groupVersion
  throw unknownResource(group)
}

function unknownResource(name: string): JobError {
  return new JobError('configuration', `the API server knows no ${name}`, {
    hint: 'a resource is named as by kubectl api-resources, in the plural, with its group: routes.route.openshift.io',
  })
}

interface Call {
  path: string
  method?: 'GET' | 'POST' | 'PUT'
  body?: unknown
  signal: AbortSignal
}

/** A create whose answer was lost meets its own object when it is made again: that is a 409, and the object is as it was sent. */
function call(cluster: Cluster, what: string, { path, method = 'GET', body, signal }: Call): Promise<unknown> {
  return ask(what, () => send(cluster, { path, method, body, signal }), { signal })
}

async function send({ kubeConfig }: Cluster, { path, method, body, signal }: Call): Promise<unknown> {
  const server = kubeConfig.getCurrentCluster()?.server ?? ''
  const options: RequestOptions = {
    method: method ?? 'GET',
    signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]),
  }
  await kubeConfig.applyToHTTPSOptions(options)
  const sent = body === undefined ? undefined : JSON.stringify(body)
  options.headers = {
    ...(options.headers as Record<string, string>),
    accept: 'application/json',
    ...(sent === undefined ? {} : { 'content-type': 'application/json' }),
  }
  const asked = request(new URL(server.replace(/\/$/, '') + path), options)
  asked.end(sent)
  const [answer] = await once(asked, 'response')
  const said = await text(answer)
  const status = answer.statusCode as number
  if (status >= 300) throw new ApiException(status, '', said, {})
  return JSON.parse(said)
}
