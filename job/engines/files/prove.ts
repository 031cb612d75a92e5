import type { WorkContext } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Member, throughArchive } from './archive.ts'
import { difference, pairs, type Sameness } from './compare.ts'
import { type Listed, readList, shown } from './list.ts'
import { expand, look } from './look.ts'
import { type Counts, noCounts, type Work } from './orders.ts'
import { count, hashing } from './pack.ts'
import { selected } from './selection.ts'
import { createTar } from './tar.ts'

type Prove = Extract<Work, { do: 'prove' }>

/** Names that an error shows. */
const mostNames = 5

/** Reads the target again, and compares every chosen file with the list. */
export async function prove(order: Prove, { beside, read }: WorkContext): Promise<Counts> {
  const runner = await look(beside, order.clients)
  const { include, exclude } = order.choice
  const roots = include ? await expand(beside, include) : undefined
  const wanted = chosenOf(readList(await read('list.jsonl')), selected(order.choice, runner))
  // what cannot be read and is in the list is missing in the archive
  const command = createTar({ ...order, path: beside.path, roots, exclude, oneFileSystem: false, onError: () => {} })
  const archive = beside.output({ ...command, accepts: [1, 2] })
  const same: Sameness = { owners: order.owner === 'keep' && runner.uid === 0, allModes: runner.uid === 0 }
  const counts = noCounts()
  const wrong: string[] = []
  try {
    for await (const { left, right } of pairs({ left: wanted, right: membersOf(archive) })) {
      if (!left) continue
      const why = right ? difference(left, right, same) : `is missing${runner.uid === 0 ? '' : ', or cannot be read'}`
      if (why) wrong.push(`${shown(left.path)} ${why}`)
      else count(counts, left)
    }
  } finally {
    archive.destroy()
  }
  if (wrong.length === 0) return counts
  throw new JobError(
    'verification',
    `${wrong.length} files in ${beside.name} are not as they were backed up: ${wrong.slice(0, mostNames).join('; ')}`,
    { hint: 'does something write there? Stop it, and restore again with overwrite' },
  )
}

async function* chosenOf(list: AsyncIterable<Listed>, keep: (member: Member) => boolean): AsyncGenerator<Listed> {
  for await (const one of list) if (keep(one)) yield one
}

/** Members with their hashes, as an archive that nobody keeps passes by. */
export async function* membersOf(archive: AsyncIterable<Buffer>): AsyncGenerator<Listed> {
  let found: Listed[] = []
  const pieces = throughArchive(
    archive,
    hashing((listed) => void found.push(listed)),
  )
  for await (const _ of pieces) {
    yield* found
    found = []
  }
  yield* found
}
