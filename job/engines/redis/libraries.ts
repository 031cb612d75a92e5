import type { Reader, TargetRun } from '../../engine.ts'
import { crc64 } from './crc64.ts'
import { readEntries } from './entries.ts'
import type { Progress } from './restore.ts'

/** The libraries of functions, which are in every snapshot, on every master: what exists under the same name is replaced. */
export async function restoreFunctions(
  _: TargetRun,
  reader: Reader,
  { detail, wires }: Progress,
): Promise<Record<string, unknown>> {
  const [first] = detail.facts.snapshots
  const libraries: Buffer[] = []
  let version = 0
  await readEntries(await reader.read(first?.part ?? ''), {
    wanted: () => false,
    entry: () => {},
    library: (bytes, rdbVersion) => {
      libraries.push(Buffer.from(bytes))
      version = rdbVersion
    },
    pace: async () => {},
  })
  const dump = functionDump(libraries, version)
  for (const wire of wires) await wire.ask('FUNCTION', 'RESTORE', dump, 'REPLACE')
  return { libraries: libraries.length }
}

/** What FUNCTION DUMP would say of these libraries. */
function functionDump(libraries: readonly Buffer[], rdbVersion: number): Buffer {
  const dump = Buffer.concat([...libraries, Buffer.alloc(10)])
  const end = dump.length - 8
  dump.writeUInt16LE(rdbVersion, end - 2)
  const checksum = crc64()
  checksum.update(dump, 0, end)
  checksum.write(dump, end)
  return dump
}
