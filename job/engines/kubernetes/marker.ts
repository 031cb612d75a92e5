import type { KubernetesObject, Marker, RequestRun, TargetRun } from '../../engine.ts'

/** Markers lie in a ConfigMap of the namespace, one key for each request. */
const name = 'holdfast-restores'

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  return (await readMarkers(run)).markers.get(run.request)
}

async function readMarkers(run: RequestRun) {
  const cluster = await run.objects()
  const object = await cluster.read('configmaps', name, run.signal)
  const data = (object?.data ?? {}) as Record<string, string>
  return { object, markers: new Map(Object.entries(data).map(([key, text]) => [key, JSON.parse(text) as Marker])) }
}

/** Markers of other requests that touched the same objects go: what they brought can be relied on no longer. */
export async function writeMarker(run: TargetRun, marker: Omit<Marker, 'creates'>, ids: string[]): Promise<void> {
  const cluster = await run.objects()
  const { object, markers } = await readMarkers(run)
  for (const [request, { creates }] of markers) {
    if (request !== run.request && (creates as string[]).some((id) => ids.includes(id))) markers.delete(request)
  }
  markers.set(run.request, { ...marker, creates: ids })
  const data = Object.fromEntries([...markers].map(([request, one]) => [request, JSON.stringify(one)]))
  const made: KubernetesObject = object
    ? { ...object, data }
    : { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data }
  if (object) await cluster.replace('configmaps', made, run.signal)
  else await cluster.create('configmaps', made, run.signal)
}
