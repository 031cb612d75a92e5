import { Readable } from 'node:stream'
import { stringify } from 'yaml'
import type { BackupFacts, KubernetesObject, RunContext, Sink, SourceRun, SourceState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { refuseRestored } from '../../io/restores.ts'
import { clean, isOfTheNamespace } from './clean.ts'
import { idOf, type KubernetesFacts, type Named } from './facts.ts'
import { isMarker, readMarkers, refuseRestoring, touching } from './marker.ts'
import type { Source } from './values.ts'

/** Each document is an object; after its kind, the order of the values and the names. */
export const part = 'objects.yaml'

interface Found extends Named {
  object: KubernetesObject
}

/** What can be listed now can be listed by the backup. */
export async function check(run: SourceRun): Promise<SourceState> {
  const { markers } = await readMarkers(run)
  const found = await find(run)
  if (found.length === 0)
    throw new JobError('nothing-matches', `${run.at}.objects: the namespace has none of them`, {
      hint: 'check names and labels, and that the run is in the right namespace',
    })
  refuseRestoring(markers, { ids: found.map(idOf), namespace: (await run.objects()).namespace })
  return { ...(await serverFacts(run)), detail: undefined }
}

export async function backup(run: SourceRun, sink: Sink): Promise<BackupFacts> {
  const { namespace } = await run.objects()
  const before = await readMarkers(run)
  const found = await find(run)
  if (found.length === 0) throw new JobError('nothing-matches', `${run.at}.objects: the namespace has none of them`)
  const documents = found.map(({ object }) => stringify(object, { lineWidth: 0, aliasDuplicateObjects: false }))
  await sink.write(part, Readable.from([Buffer.from(`---\n${documents.join('---\n')}`)], { objectMode: false }))
  const objects = found.map(({ resource, kind, name }) => ({ resource, kind, name }))
  const ids = objects.map(idOf)
  const after = await readMarkers(run)
  refuseRestoring(after.markers, { ids, namespace })
  refuseRestored(touching(before.markers, ids), touching(after.markers, ids), `namespace ${namespace}`)
  const facts: KubernetesFacts = { consistency: 'per-kind', namespace, objects }
  return { ...(await serverFacts(run)), facts }
}

async function find(run: SourceRun): Promise<Found[]> {
  const { objects } = run.source as Source
  const cluster = await run.objects()
  const found = new Map<string, Found>()
  for (const [i, choice] of objects.entries()) {
    const listed = await cluster.list(choice, run.signal)
    refuseMissing(`${run.at}.objects.${i}`, choice, listed)
    for (const object of listed) {
      if (isMarker(object) || (!choice.names && isOfTheNamespace(object))) continue
      const { name } = object.metadata
      const { resource } = choice
      found.set(`${resource}/${name}`, { resource, kind: object.kind, name, object: clean(object) })
    }
  }
  return [...found.values()]
}

function refuseMissing(at: string, { resource, names = [] }: Source['objects'][number], listed: KubernetesObject[]) {
  const missing = names.filter((name) => !listed.some(({ metadata }) => metadata.name === name))
  if (missing.length === 0) return
  throw new JobError('nothing-matches', `${at}.names: the namespace has no ${resource} ${missing.join(', ')}`, {
    hint: 'a backup without what it was told to have would be none',
  })
}

export async function serverFacts({ objects, signal }: RunContext) {
  const cluster = await objects()
  return { server: { product: 'Kubernetes', version: await cluster.version(signal) }, tools: {} }
}
