import type { Readable } from 'node:stream'
import { manifestKey, partKey } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import { type Manifest, type Part, parseManifest } from '../manifest.ts'
import { cutOff, type Found, type Member, membersOf, notOurs, packed } from './archive.ts'

/**
 * One backup as one tar archive. Its members have the names that they have in a storage, so that the archive can be untarred into one:
 *
 *     holdfast-backup.json     the manifest, so that whoever reads the stream knows what comes
 *     <plan>/<id>/<path>       every part as it is stored
 *     <plan>/<id>.json         the manifest again, last: what tar unpacks of an archive that was cut off is no backup
 */
const head = 'holdfast-backup.json'

/** More than any manifest has; it is read into memory. */
const mostManifest = 256 * 1024 * 1024

interface Exporting {
  manifest: Manifest
  /** The manifest as it is stored. */
  bytes: Buffer
  /** The stored bytes of a part; throws when they are not what the manifest says. */
  open(part: Part): AsyncIterable<Buffer>
}

export function exported({ manifest, bytes, open }: Exporting): Readable {
  const { plan, id, parts } = manifest
  const modified = new Date(manifest.finished)
  const whole = { size: bytes.length, modified, data: () => [bytes] }
  const members: Member[] = parts.map((part) => ({
    name: partKey(plan, id, part.path),
    size: part.size,
    modified,
    data: () => open(part),
  }))
  return packed([{ name: head, ...whole }, ...members, { name: manifestKey(plan, id), ...whole }])
}

export interface Import {
  manifest: Manifest
  /** The manifest as it was stored. */
  bytes: Buffer
  /** Every part once, in the order of the archive. Throws `verification` unless, in the end, all have come and the archive is whole. */
  parts(): AsyncGenerator<{ part: Part; data: Readable }>
}

/** Reads the beginning of an exported backup. The bytes of the parts are for the caller to check. */
export async function openExported(source: Readable, where: string): Promise<Import> {
  const members = membersOf(source, where)
  const { value: first } = await members.next()
  if (!first) throw new JobError('verification', `${where} is empty`, { hint: notOurs })
  if (first.name !== head)
    throw new JobError('verification', `${where} begins with ${JSON.stringify(first.name)}: it is no exported backup`, {
      hint: notOurs,
    })
  const bytes = await manifestIn(first, where)
  const manifest = parseManifest(bytes, `the manifest in ${where}`)
  return { manifest, bytes, parts: () => partsIn(members, { manifest, bytes, where }) }
}

async function* partsIn(
  members: AsyncGenerator<Found>,
  { manifest, bytes, where }: { manifest: Manifest; bytes: Buffer; where: string },
): AsyncGenerator<{ part: Part; data: Readable }> {
  const { plan, id } = manifest
  const open = new Map(manifest.parts.map((part) => [partKey(plan, id, part.path), part]))
  for await (const member of members) {
    if (member.name === manifestKey(plan, id)) return await finish(member, { open, bytes, where })
    const part = open.get(member.name)
    if (!part) throw strange(member, where)
    if (part.size !== member.size)
      throw new JobError(
        'verification',
        `${part.path} in ${where} has ${member.size} bytes, the manifest says ${part.size}`,
      )
    open.delete(member.name)
    yield { part, data: member.data }
  }
  throw cutOff(where)
}

async function finish(
  last: Found,
  { open, bytes, where }: { open: Map<string, Part>; bytes: Buffer; where: string },
): Promise<void> {
  const [missing] = open.values()
  if (missing)
    throw new JobError('verification', `${where} has no ${missing.path}`, { hint: 'export the backup again' })
  if ((await manifestIn(last, where)).equals(bytes)) return
  throw new JobError('verification', `${where} begins with another manifest than it ends with`, {
    hint: 'it was edited or put together from two: export the backup again',
  })
}

async function manifestIn({ size, data }: Found, where: string): Promise<Buffer> {
  if (size > mostManifest)
    throw new JobError('verification', `${where} has a manifest of ${size} bytes`, { hint: notOurs })
  return Buffer.concat(await Array.fromAsync(data))
}

/** Names come from strangers: only those that the manifest has lead anywhere. */
function strange({ name }: Found, where: string): JobError {
  return new JobError(
    'verification',
    `${where} has ${JSON.stringify(name)}, which the manifest does not know, or has it twice`,
    { hint: notOurs },
  )
}
