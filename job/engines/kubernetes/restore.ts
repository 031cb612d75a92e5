import { isDeepStrictEqual } from 'node:util'
import { parseAllDocuments } from 'yaml'
import type { KubernetesObject, Marker, Reader, RestoreStep, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { part, serverFacts } from './backup.ts'
import { clean } from './clean.ts'
import { chosenOf, factsOf, idOf, type Named } from './facts.ts'
import { writeMarker } from './marker.ts'
import type { Target } from './values.ts'

/** What is there is never in the way: it stays, or `overwrite` replaces it. */
export async function checkTarget(run: TargetRun): Promise<TargetState> {
  const { objects } = factsOf(run.source)
  const chosen = chosenOf(objects, run.target as Target)
  if (chosen.length === 0)
    throw new JobError('nothing-matches', `${run.at}.objects: the backup has none of them`, {
      hint: `it has ${[...new Set(objects.map(({ resource }) => resource))].join(', ')}`,
    })
  const cluster = await run.objects()
  const there = new Set<string>()
  for (const one of chosen) if (await cluster.read(one.resource, one.name, run.signal)) there.add(idOf(one))
  return { ...(await serverFacts(run)), contents: [], detail: [...there] }
}

export async function planRestore(run: TargetRun, state: TargetState): Promise<RestoreStep[]> {
  const chosen = chosenOf(factsOf(run.source).objects, run.target as Target)
  const there = (state.detail as string[]).length
  const others = run.overwrite ? `replace ${there}` : `leave ${there} as they are`
  return [
    { name: 'create', says: `create ${chosen.length - there} objects, ${others}`, writes: true },
    { name: 'prove', says: 'read them again, and compare them with the backup', writes: false },
  ]
}

export async function mark(run: TargetRun, marker: Omit<Marker, 'creates'>): Promise<void> {
  const chosen = chosenOf(factsOf(run.source).objects, run.target as Target)
  await writeMarker(run, marker, chosen.map(idOf))
}

export async function restore(run: TargetRun, step: RestoreStep, reader: Reader): Promise<Record<string, unknown>> {
  const objects = await readObjects(run, reader)
  return step.name === 'create' ? create(run, objects) : prove(run, objects)
}

interface Stored extends Named {
  object: KubernetesObject
}

/** Few enough for memory: the API server keeps them in its own. */
async function readObjects(run: TargetRun, reader: Reader): Promise<Stored[]> {
  const chunks: Buffer[] = []
  for await (const chunk of await reader.read(part)) chunks.push(chunk)
  const objects = parseAllDocuments(Buffer.concat(chunks).toString('utf8')).map(
    (document) => document.toJS() as KubernetesObject,
  )
  const { objects: listed } = factsOf(run.source)
  return chosenOf(listed, run.target as Target).map((one) => {
    const object = objects.find(({ kind, metadata }) => kind === one.kind && metadata.name === one.name)
    if (object) return { ...one, object }
    throw new JobError('verification', `${part} of backup ${run.backupId} has no ${idOf(one)}, but the manifest has`)
  })
}

async function create(run: TargetRun, objects: Stored[]): Promise<Record<string, unknown>> {
  const cluster = await run.objects()
  const counts = { created: 0, replaced: 0, skipped: 0 }
  for (const { resource, name, object } of objects) {
    if (await cluster.create(resource, object, run.signal)) counts.created++
    else if (run.overwrite) {
      const there = await cluster.read(resource, name, run.signal)
      const resourceVersion = there?.metadata.resourceVersion
      const metadata = { ...object.metadata, ...(resourceVersion ? { resourceVersion } : {}) }
      await cluster.replace(resource, { ...object, metadata }, run.signal)
      counts.replaced++
    } else counts.skipped++
  }
  return counts
}

/** Controllers may have changed others since; what Secrets and ConfigMaps hold is theirs alone. */
const compared = ['data', 'binaryData', 'type', 'immutable']

async function prove(run: TargetRun, objects: Stored[]): Promise<Record<string, unknown>> {
  const cluster = await run.objects()
  const wrong: string[] = []
  let different = 0
  for (const { object, ...one } of objects) {
    const there = await cluster.read(one.resource, one.name, run.signal)
    if (!there) wrong.push(`${idOf(one)} is missing`)
    else if (!isSame(object, clean(there))) {
      if (run.overwrite) wrong.push(`${idOf(one)} is another one`)
      different++
    }
  }
  if (wrong.length === 0) return { objects: objects.length, ...(different > 0 ? { different } : {}) }
  throw new JobError('verification', `not as they were backed up: ${wrong.slice(0, 5).join('; ')}`, {
    hint: 'does somebody else make or remove them? Then restore again when that has stopped',
  })
}

function isSame(wanted: KubernetesObject, found: KubernetesObject): boolean {
  if (wanted.kind !== 'Secret' && wanted.kind !== 'ConfigMap') return true
  return compared.every((key) => isDeepStrictEqual(wanted[key], found[key]))
}
