import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { WorkContext } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { lending, loanBytes } from '../../io/lending.ts'
import { type Member, throughArchive, type Visitor } from './archive.ts'
import { formatLine, type Listed } from './list.ts'
import { expand, readMarkers } from './look.ts'
import { type Counts, noCounts, type Packed, type Work } from './orders.ts'
import { complaints, createTar, explained } from './tar.ts'

type Pack = Extract<Work, { do: 'pack' }>

const MiB = 2 ** 20

/** The folder as one archive, and the list of what is in it, which is written when the archive is complete. */
export async function pack(order: Pack, { beside, folder, write }: WorkContext): Promise<Packed> {
  const roots = order.include ? await expand(beside, order.include) : undefined
  const trouble = complaints()
  const archive = beside.output(createTar({ ...order, path: beside.path, roots, onError: trouble.heard }))
  // orders that go through containers share their folder
  const own = await mkdtemp(join(folder, 'list-'))
  const list = join(own, 'list.jsonl')
  const spool = await openSpool(list)
  const counts = noCounts()
  const visitor = hashing(async (listed) => {
    count(counts, listed)
    await spool.add(formatLine(listed))
  })
  try {
    await write('tree.tar', streamOf(throughArchive(archive, visitor)))
  } catch (error) {
    throw explained(error)
  } finally {
    archive.destroy()
    await spool.close()
  }
  if (counts.folders === 0)
    throw new JobError('server', `tar made an archive of ${beside.name} that does not even have the folder`)
  await write('list.jsonl', createReadStream(list))
  await rm(own, { recursive: true })
  const missing = (roots?.missing ?? []).map((pattern) => `nothing matches include: ${pattern}`)
  const markers = await readMarkers(beside, await beside.names())
  return { counts, warnings: [...missing, ...trouble.all()], markers }
}

/** Hashes every file on its way, and tells of each member when it is complete. Others say nothing: all members go on. */
export function hashing(
  done: (listed: Listed) => Promise<void> | void,
  keep: (member: Member) => boolean = () => true,
): Visitor {
  let at: Member | undefined
  let hash: Hash | undefined
  return {
    member: (member) => {
      const kept = keep(member)
      at = kept ? member : undefined
      hash = kept && member.type === 'file' ? createHash('sha256') : undefined
      return kept
    },
    content: (bytes) => void hash?.update(bytes),
    ended: () => at && done({ ...at, ...(hash ? { sha256: hash.digest('hex') } : {}) }),
  }
}

export function count(counts: Counts, { type, size }: Member): void {
  if (type === 'file') {
    counts.files++
    counts.bytes += size
  } else if (type === 'folder') counts.folders++
  else if (type === 'symlink' || type === 'hardlink') counts.links++
  else counts.others++
}

/** Small pieces are put together: a stream of headers would cost more than the files. */
export function streamOf(pieces: AsyncIterable<Buffer>): Readable {
  return lending(together(pieces))
}

async function* together(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const loan = Buffer.allocUnsafeSlow(loanBytes)
  let lent = 0
  for await (const piece of pieces) {
    if (lent + piece.length > loanBytes && lent > 0) {
      yield loan.subarray(0, lent)
      lent = 0
    }
    if (piece.length > loanBytes) yield piece
    else lent += piece.copy(loan, lent)
  }
  if (lent > 0) yield loan.subarray(0, lent)
}

/** The list of a million files would not fit into memory. */
async function openSpool(path: string) {
  const file: FileHandle = await open(path, 'w')
  let held = ''
  const flush = async () => {
    const text = held
    held = ''
    await file.appendFile(text)
  }
  return {
    add: async (line: string) => {
      held += line
      if (held.length > MiB) await flush()
    },
    close: async () => {
      await flush()
      await file.close()
    },
  }
}
