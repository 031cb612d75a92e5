import type { InspectRun, Reader } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { difference, pairs } from './compare.ts'
import { readList, shown } from './list.ts'
import { archivePart, listPart } from './orders.ts'
import { membersOf } from './prove.ts'

/** Every file can be taken out of the archive, and is what the list says. */
export async function inspect(run: InspectRun, reader: Reader): Promise<void> {
  const list = readList(await reader.read(listPart))
  const members = membersOf(await reader.read(archivePart))
  for await (const { left, right } of pairs({ left: list, right: members })) {
    run.signal.throwIfAborted()
    const path = shown((left ?? right)?.path ?? '')
    const why = left && right ? difference(left, right, { owners: true, allModes: true }) : 'is in one of them only'
    if (why) throw new JobError('verification', `list.jsonl and tree.tar disagree: ${path} ${why}`)
  }
}
