import type { InspectRun, Reader } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { walkArchive } from './archive.ts'
import { factsOf, missingParts, namespaceOf } from './facts.ts'

/** Every archive is read to the ends of all its collections, and has the documents that the facts say. */
export async function inspect(run: InspectRun, reader: Reader): Promise<void> {
  const facts = factsOf(run.source)
  const missing = missingParts(facts, run.parts)
  if (missing.length > 0) throw new JobError('verification', `the backup has no ${missing.join(', ')}`)
  const counts = new Map<string, number>()
  for (const { path } of facts.archives) {
    const { stream, contents } = await walkArchive(await reader.read(path), { what: path, kind: 'verification' })
    for await (const _ of stream) run.signal.throwIfAborted()
    for (const one of contents().collections) counts.set(namespaceOf(one), one.documents)
  }
  for (const one of facts.collections) {
    const found = counts.get(namespaceOf(one))
    if (found !== one.documents)
      throw new JobError(
        'verification',
        `${namespaceOf(one)} has ${found ?? 'no'} documents in the archive, not ${one.documents}`,
      )
  }
}
