import type { BackupFacts, Marker, RequestRun, Sink, SourceRun, SourceState } from '../../engine.ts'
import { JobError, PodsMissing } from '../../errors.ts'
import { refuseRestored, refuseUnfinished } from '../../io/restores.ts'
import type { FilesFacts } from './facts.ts'
import { folder, type Looked, markerName, nameOf, orderFor, type Packed } from './orders.ts'
import type { Source, Target } from './values.ts'

/** The folder is there, with something in it, and GNU tar beside it. */
export async function check(run: SourceRun): Promise<SourceState> {
  const source = run.source as Source
  const looked = await lookAt(run, source, true)
  if (!looked) return { ...serverFacts('unknown'), detail: undefined }
  if (!looked.there)
    throw new JobError('server', `${run.at}: there is no folder ${nameOf(source)}`, {
      hint: 'check path, and that the volume is the right one',
    })
  refuseUnfinished(looked.markers, nameOf(source), `remove its entry from ${markerName} there`)
  if (looked.count === 0) run.warn(`${run.at}: ${nameOf(source)} is empty`)
  return { ...serverFacts(looked.tar), detail: looked.markers }
}

/** Undefined, with a warning, for a claim when there are no pods that could look: a run that writes fails with its first order. */
export async function lookAt(
  run: SourceRun | RequestRun,
  where: Source | Target,
  readOnly: boolean,
): Promise<Looked | undefined> {
  try {
    return (await run.delegate(orderFor(where, readOnly, { do: 'look' }))) as Looked
  } catch (error) {
    if (!(error instanceof PodsMissing)) throw error
    run.warn(`${run.at}: ${nameOf(where)} was not looked at: only runs that change something have worker pods`)
    return undefined
  }
}

/** One archive, and the list of what is in it. */
export async function backup(run: SourceRun, sink: Sink): Promise<BackupFacts> {
  const source = run.source as Source
  const { include, exclude, oneFileSystem } = source
  const { tools, detail } = run.checked ?? (await check(run))
  const order = orderFor(source, true, { do: 'pack', include, exclude, oneFileSystem })
  const { counts, warnings, markers } = (await sink.delegate({ ...order, path: folder })) as Packed
  refuseRestored((detail as Marker[] | undefined) ?? markers, markers, nameOf(source))
  for (const warning of warnings) run.warn(`${run.at}: ${warning}`)
  const facts: FilesFacts = {
    consistency: 'per-file',
    place: nameOf(source),
    ...(include ? { include } : {}),
    exclude,
    ...counts,
  }
  return { ...serverFacts(tools.tar ?? ''), facts }
}

export function serverFacts(tar: string) {
  return { server: { product: 'files', version: tar }, tools: { tar } }
}
