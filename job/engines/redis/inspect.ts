import type { InspectRun, Reader } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { counting, nothing } from './dump.ts'
import { factsOf, missingParts } from './facts.ts'
import { scan } from './rdb.ts'

/** Reads every snapshot to its end, key by key, and compares what is in it with what was counted when it was made. */
export async function inspect(run: InspectRun, reader: Reader): Promise<void> {
  const facts = factsOf(run.source)
  const missing = missingParts(facts, run.parts)
  if (missing.length > 0) throw new JobError('verification', `the backup has no ${missing.join(', ')}`)
  for (const { part, keys } of facts.snapshots) {
    const counted = nothing()
    const scanner = scan(counting(counted))
    for await (const chunk of await reader.read(part)) scanner.write(chunk)
    if (!scanner.complete) throw new JobError('verification', `${part} ends before its end`)
    const found = Object.values(counted.databases).reduce((sum, one) => sum + one.keys, 0)
    if (found !== keys) throw new JobError('verification', `${part} has ${found} keys, the manifest says ${keys}`)
  }
}
