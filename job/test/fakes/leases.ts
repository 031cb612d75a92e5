import { ApiException, type CoordinationV1Api, type V1Lease } from '@kubernetes/client-node'

/** read, create, replace: as the client calls them. */
type Operation = 'read' | 'create' | 'replace'

type Trouble = 'away' | 'lost' | undefined

export interface FakeLeases {
  coordination: CoordinationV1Api
  /** The one Lease there is; undefined before it is made and after it was deleted. */
  lease(): V1Lease | undefined
  /** As a person with kubectl would, past everybody's version. */
  edit(change: (lease: V1Lease) => V1Lease | undefined): void
  /** What happens to a request from now on: `away` is no answer, `lost` no answer although it was carried out. */
  trouble: ((operation: Operation) => Trouble | Promise<Trouble>) | undefined
}

/** An API server with Leases of one name, which knows versions as the real one does. */
export function fakeLeases(): FakeLeases {
  let lease: V1Lease | undefined
  let version = 0

  function refuse(code: number, message: string): never {
    throw new ApiException(code, 'Unknown API Status Code!', JSON.stringify({ kind: 'Status', message }), {})
  }

  function store(body: V1Lease): V1Lease {
    // JSON, as on the way to the server and back: times become texts
    lease = JSON.parse(JSON.stringify({ ...body, metadata: { ...body.metadata, resourceVersion: String(++version) } }))
    return lease as V1Lease
  }

  const operations: { [name in Operation]: (body?: V1Lease) => V1Lease } = {
    read: () => structuredClone(lease) ?? refuse(404, 'not found'),
    create: (body) => (lease ? refuse(409, 'already exists') : store(body as V1Lease)),
    replace: (body) => {
      if (!lease) return refuse(404, 'not found')
      if (body?.metadata?.resourceVersion !== lease.metadata?.resourceVersion) return refuse(409, 'modified')
      return store(body as V1Lease)
    },
  }

  async function answer(operation: Operation, body?: V1Lease): Promise<V1Lease> {
    const trouble = await fake.trouble?.(operation)
    const away = new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') })
    if (trouble === 'away') throw away
    const result = operations[operation](body)
    if (trouble === 'lost') throw away
    return result
  }

  const fake: FakeLeases = {
    coordination: {
      readNamespacedLease: () => answer('read'),
      createNamespacedLease: ({ body }: { body: V1Lease }) => answer('create', body),
      replaceNamespacedLease: ({ body }: { body: V1Lease }) => answer('replace', body),
    } as unknown as CoordinationV1Api,
    lease: () => structuredClone(lease),
    edit: (change) => {
      const changed = lease && change(structuredClone(lease))
      if (changed) store(changed)
      else lease = undefined
    },
    trouble: undefined,
  }
  return fake
}
