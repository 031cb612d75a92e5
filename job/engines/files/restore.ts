import type { Marker, Reader, RequestRun, RestoreStep, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { sizeText } from '../../io/print.ts'
import { lookAt, serverFacts } from './backup.ts'
import { factsOf } from './facts.ts'
import { archivePart, folder, type Looked, listPart, nameOf, orderFor, type Work, wholeFolder } from './orders.ts'
import type { Target } from './values.ts'

export async function findMarker(run: RequestRun): Promise<Marker | undefined> {
  const looked = await lookAt(run, run.target as Target, false)
  return looked?.markers.find(({ request }) => request === run.request)
}

export async function checkTarget(run: TargetRun): Promise<TargetState> {
  const target = run.target as Target
  refuseIncomplete(run)
  if (target.delete && !run.overwrite && !run.unfinished)
    throw new JobError('configuration', `${run.at}.delete: needs overwrite: true of the restore`, {
      hint: 'an empty target has nothing to delete',
    })
  const looked = (await lookAt(run, target, false)) ?? unseen
  // an unfinished restore began when it was empty, or was told to overwrite: all in it is ours
  const ours = run.overwrite || run.unfinished !== undefined
  return { ...serverFacts(looked.tar), contents: ours ? [] : contentsOf(looked, target), detail: looked }
}

/** What a dry run knows of a claim. */
const unseen: Looked = { tar: 'unknown', there: true, names: [], count: 0, markers: [], uid: 0 }

function refuseIncomplete({ parts, source, backupId }: TargetRun): void {
  factsOf(source)
  const missing = [archivePart, listPart].filter((path) => !parts.some((part) => part.path === path))
  if (missing.length > 0)
    throw new JobError('verification', `backup ${backupId} of ${source.name} has no ${missing.join(' and no ')}`, {
      hint: 'the backup is damaged: restore another one',
    })
}

function contentsOf({ names, count }: Looked, target: Target): string[] {
  if (count === 0) return []
  const more = count > names.length ? `, and ${count - names.length} more` : ''
  return [`${nameOf(target)} has ${names.join(', ')}${more}`]
}

export async function planRestore(run: TargetRun, state: TargetState): Promise<RestoreStep[]> {
  const target = run.target as Target
  const { count } = state.detail as Looked
  const { files, bytes } = factsOf(run.source)
  const partly = target.include !== undefined || target.exclude.length > 0
  const steps: RestoreStep[] = []
  const where = nameOf(target)
  if (partly) steps.push({ name: 'choose', says: 'look for what is chosen in the list of the backup', writes: false })
  if (count > 0) {
    const rest = target.delete ? ', and all that the backup does not have' : ''
    steps.push({ name: 'clear', says: `remove what is in the way of ${where}${rest}`, writes: true })
  }
  const what = partly ? `what is chosen of ${files} files` : `${files} files (${sizeText(bytes)})`
  steps.push({ name: 'unpack', says: `write ${what} to ${where}`, writes: true, reads: [archivePart] })
  steps.push({ name: 'prove', says: 'read them again, and compare them with the list of the backup', writes: false })
  return steps
}

export async function mark(run: TargetRun, marker: Omit<Marker, 'creates'>): Promise<void> {
  await run.delegate(
    orderFor(run.target as Target, false, {
      do: 'mark',
      marker: { ...marker, creates: createsOf(run.target as Target) },
    }),
  )
}

/** A restore of the whole folder makes again whatever others made in it. */
function createsOf({ include }: Target): string[] {
  return include ?? [wholeFolder]
}

export async function restore(run: TargetRun, step: RestoreStep, reader: Reader): Promise<Record<string, unknown>> {
  const target = run.target as Target
  const { include, exclude, owner } = target
  const facts = factsOf(run.source)
  const choice = { include, exclude }
  const kept = { include: facts.include, exclude: facts.exclude }
  const reading = async (path: string, work: Work) =>
    (await reader.delegate({
      ...orderFor(target, false, work),
      parts: run.parts.filter((part) => part.path === path),
      strip: `${folder}/`,
    })) as Record<string, unknown>
  if (step.name === 'choose') return reading(listPart, { do: 'choose', choice })
  if (step.name === 'clear') return reading(listPart, { do: 'clear', choice, kept, all: target.delete })
  if (step.name === 'prove') return reading(listPart, { do: 'prove', choice, owner })
  const { counts, warnings } = await reading(archivePart, { do: 'unpack', choice, owner })
  for (const warning of warnings as string[]) run.warn(`${run.at}: ${warning}`)
  return counts as Record<string, unknown>
}
