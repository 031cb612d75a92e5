import type { KubernetesObject, Marker, RequestRun, RunContext, TargetRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { parseMarkers, refuseUnfinished, withMarker } from '../../io/restores.ts'

/** Markers lie in a ConfigMap of the namespace, one key for each request. */
export const name = 'holdfast-restores'

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const { markers } = await readMarkers(run)
  return markers.find(({ request }) => request === run.request)
}

export async function readMarkers(run: RunContext) {
  const cluster = await run.objects()
  const object = await cluster.read('configmaps', name, run.signal)
  const data = (object?.data ?? {}) as Record<string, string>
  return { object, markers: parse(`[${Object.values(data).join(',')}]`) }
}

function parse(text: string): Marker[] {
  try {
    return parseMarkers(text)
  } catch (cause) {
    throw new JobError('server', `ConfigMap ${name} is not what restores wrote there`, {
      hint: 'look at it, and remove what is not theirs',
      cause,
    })
  }
}

/** What restores remember is of this cluster and this moment: neither backed up nor restored. */
export function isMarker({ kind, metadata }: Pick<KubernetesObject, 'kind' | 'metadata'>): boolean {
  return kind === 'ConfigMap' && metadata.name === name
}

/** Those of restores that touched some of these objects. */
export function touching(markers: readonly Marker[], ids: string[]): Marker[] {
  return markers.filter(({ creates }) => (creates as string[]).some((id) => ids.includes(id)))
}

/** Refused while a restore of some of these objects is unfinished. */
export function refuseRestoring(
  markers: readonly Marker[],
  { ids, namespace }: { ids: string[]; namespace: string },
): void {
  refuseUnfinished(touching(markers, ids), `namespace ${namespace}`, `remove its key from ConfigMap ${name}`)
}

export async function writeMarker(run: TargetRun, marker: Omit<Marker, 'creates'>, ids: string[]): Promise<void> {
  const cluster = await run.objects()
  const { object, markers } = await readMarkers(run)
  const touched = touching(markers, ids)
  const others = markers.filter((one) => !touched.includes(one) && one.request !== run.request)
  const after = [...others, ...withMarker(touched, { ...marker, creates: ids })]
  const data = Object.fromEntries(after.map((one) => [one.request, JSON.stringify(one)]))
  const made: KubernetesObject = object
    ? { ...object, data }
    : { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data }
  if (object) await cluster.replace('configmaps', made, run.signal)
  else await cluster.create('configmaps', made, run.signal)
}
