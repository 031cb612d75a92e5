import type { KubernetesObject, Marker, RequestRun, RunContext, TargetRun } from '../../engine.ts'
import { refuseUnfinished, withMarker } from '../../io/restores.ts'

/** Markers lie in a ConfigMap of the namespace, one key for each request. */
const name = 'holdfast-restores'

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const { markers } = await readMarkers(run)
  return markers.find(({ request }) => request === run.request)
}

export async function readMarkers(run: RunContext) {
  const cluster = await run.objects()
  const object = await cluster.read('configmaps', name, run.signal)
  const data = (object?.data ?? {}) as Record<string, string>
  return { object, markers: Object.values(data).map((text) => JSON.parse(text) as Marker) }
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
  refuseUnfinished(touching(markers, ids), `namespace ${namespace}`, `delete ConfigMap ${name}`)
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
