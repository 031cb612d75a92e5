import type { BackupFacts, Sink, SourceRun, SourceState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import type { FilesFacts } from './facts.ts'
import { folder, type Looked, nameOf, orderFor, type Packed } from './orders.ts'
import type { Source } from './values.ts'

/** The folder is there, with something in it, and GNU tar beside it. */
export async function check(run: SourceRun): Promise<SourceState> {
  const source = run.source as Source
  const looked = (await run.delegate(orderFor(source, true, { do: 'look' }))) as Looked
  if (!looked.there)
    throw new JobError('server', `${run.at}: there is no folder ${nameOf(source)}`, {
      hint: 'check path, and that the volume is the right one',
    })
  if (looked.count === 0) run.warn(`${run.at}: ${nameOf(source)} is empty`)
  return { ...serverFacts(looked.tar), detail: looked.tar }
}

/** One archive, and the list of what is in it. */
export async function backup(run: SourceRun, sink: Sink): Promise<BackupFacts> {
  const source = run.source as Source
  const { include, exclude, oneFileSystem } = source
  const tar = ((run.checked ?? (await check(run))) as SourceState).detail as string
  const order = orderFor(source, true, { do: 'pack', include, exclude, oneFileSystem })
  const { counts, warnings } = (await sink.delegate({ ...order, path: folder })) as Packed
  for (const warning of warnings) run.warn(`${run.at}: ${warning}`)
  const facts: FilesFacts = {
    consistency: 'per-file',
    place: nameOf(source),
    ...(include ? { include } : {}),
    exclude,
    ...counts,
  }
  return { ...serverFacts(tar), facts }
}

export function serverFacts(tar: string) {
  return { server: { product: 'files', version: tar }, tools: { tar } }
}
