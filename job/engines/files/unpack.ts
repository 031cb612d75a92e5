import type { WorkContext } from '../../engine.ts'
import { withMarker } from '../../io/restores.ts'
import { type Member, throughArchive, type Visitor } from './archive.ts'
import { guarded } from './guard.ts'
import { look, said } from './look.ts'
import { type Counts, markerName, noCounts, type Work, wholeFolder } from './orders.ts'
import { count, streamOf } from './pack.ts'
import { selected } from './selection.ts'
import { complaints, explained, extractTar } from './tar.ts'

type Unpack = Extract<Work, { do: 'unpack' }>

/** The folder is made when it is not there. */
export async function mark({ marker, clients }: Extract<Work, { do: 'mark' }>, { beside }: WorkContext): Promise<void> {
  const { markers } = await look(beside, clients)
  await said(beside, 'mkdir', ['-p', '--', beside.path])
  const whole = (marker.creates as string[]).includes(wholeFolder)
  const others = whole ? markers.map((one) => ({ ...one, creates: [] })) : markers
  await beside.write(markerName, `${JSON.stringify(withMarker(others, marker))}\n`)
}

/** The chosen members, as the archive has them. */
export async function unpack(
  order: Unpack,
  { beside, read }: WorkContext,
): Promise<{ counts: Counts; warnings: string[] }> {
  const runner = await look(beside, order.clients)
  const counts = noCounts()
  const trouble = complaints()
  const keepOwners = order.owner === 'keep' && runner.uid === 0
  const wanted = guarded(selected(order.choice, runner))
  let others = 0
  let devices = 0
  const visitor = counting(counts, (member) => {
    const kept = wanted(member)
    if (!kept && member.type === 'device' && runner.uid !== 0) devices++
    if (kept && member.uid !== runner.uid) others++
    return kept
  })
  const archive = await read('tree.tar')
  const command = extractTar({
    path: beside.path,
    clients: order.clients,
    root: runner.uid === 0,
    keepOwners,
    onError: trouble.heard,
  })
  try {
    await beside.consume(command, streamOf(throughArchive(archive, visitor)))
  } catch (error) {
    throw explained(error)
  } finally {
    archive.destroy()
  }
  const warnings = trouble.all()
  if (order.owner === 'keep' && !keepOwners && others > 0)
    warnings.push(`${others} files belong to uid ${runner.uid} now: only root can set owners (owner: runner means it)`)
  if (devices > 0) warnings.push(`${devices} devices were left out: only root can make them`)
  return { counts, warnings }
}

/** No hashes: the stream is verified as a whole, and the files are read again afterwards. */
function counting(counts: Counts, keep: (member: Member) => boolean): Visitor {
  return {
    member: (member) => {
      const kept = keep(member)
      if (kept) count(counts, member)
      return kept
    },
    content: () => {},
    ended: () => {},
  }
}
