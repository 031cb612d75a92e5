import type { InspectRun, Reader } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { factsOf, missingParts } from './facts.ts'
import { completed, sectionsOf } from './sections.ts'

/** Every part ends as a complete dump does, and has the rows of the tables that the manifest says. */
export async function inspect(run: InspectRun, reader: Reader): Promise<void> {
  const facts = factsOf(run.source)
  const missing = missingParts(facts, run.parts)
  if (missing.length > 0) throw new JobError('verification', `the backup has no ${missing.join(', ')}`)
  for (const { path, tables = [], database = '' } of facts.parts) {
    run.signal.throwIfAborted()
    const found = await look(await reader.read(path))
    if (!completed.test(found.tail)) throw new JobError('verification', `${path} does not say that it is complete`)
    const lost = tables.find((table) => !found.data.has(table.slice(database.length + 1)))
    if (lost) throw new JobError('verification', `${path} has no rows of ${lost}`)
  }
}

async function look(part: AsyncIterable<Buffer>): Promise<{ data: Set<string>; tail: string }> {
  const data = new Set<string>()
  let tail = ''
  for await (const { begins, bytes } of sectionsOf(part)) {
    if (begins?.kind === 'data') data.add(begins.name)
    tail = (tail + bytes.subarray(-256).toString('latin1')).slice(-256)
  }
  return { data, tail }
}
