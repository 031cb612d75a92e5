import type { InspectRun, Reader } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { readArchive } from './archive.ts'
import { type DatabaseFacts, factsOf, globalsPart, missingParts } from './facts.ts'
import { readGlobals } from './globals.ts'

/** Reads every archive to its end without any program, and compares the rows in it with what the manifest says. */
export async function inspect(run: InspectRun, reader: Reader): Promise<void> {
  const facts = factsOf(run.source)
  const missing = missingParts(facts, run.parts)
  if (missing.length > 0) throw new JobError('verification', `the backup has no ${missing.join(', ')}`)
  if (facts.globals) {
    const chunks: Buffer[] = []
    for await (const chunk of await reader.read(globalsPart)) chunks.push(chunk)
    readGlobals(Buffer.concat(chunks).toString('utf8'))
  }
  for (const database of facts.databases) {
    for (const path of database.parts) await inspectArchive({ path, database, reader })
  }
}

async function inspectArchive({
  path,
  database,
  reader,
}: {
  path: string
  database: DatabaseFacts
  reader: Reader
}): Promise<void> {
  const { rows } = await readArchive(await reader.read(path), path)
  for (const { schema, name, rows: said, entry } of database.tables.filter((table) => table.part === path)) {
    const found = rows.get(entry ?? 0)
    if (found !== said)
      throw new JobError(
        'verification',
        `${path} has ${found ?? 'no'} rows of ${schema}.${name}, the manifest says ${said}`,
      )
  }
}
