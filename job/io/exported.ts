import type { Readable } from 'node:stream'
import { keysNumber, manifestKey, partKey } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import { type Manifest, type Part, parseManifest } from '../manifest.ts'
import { cutOff, type Found, type Member, membersOf, notOurs, packed } from './archive.ts'

/**
 * One backup as one tar archive. Its members have the names that they have in a storage, so that the archive can be untarred into one:
 *
 *     holdfast-backup.json         the manifest, so that whoever reads the stream knows what comes
 *     <plan>/<id>.keys-<n>.json    keys of encrypted parts for other recipients
 *     <plan>/<id>/<path>           every part as it is stored
 *     <plan>/<id>.json             the manifest again, last: what tar unpacks of an archive that was cut off is no backup
 */
const head = 'holdfast-backup.json'

/** More than any manifest or file of keys has; those are read into memory. */
const mostKept = 256 * 1024 * 1024

/** A file of keys beside the manifest. */
export interface Sibling {
  key: string
  bytes: Buffer
}

interface Exporting {
  manifest: Manifest
  /** The manifest as it is stored. */
  bytes: Buffer
  siblings: readonly Sibling[]
  /** The stored bytes of a part; throws when they are not what the manifest says. */
  open(part: Part): AsyncIterable<Buffer>
}

export function exported({ manifest, bytes, siblings, open }: Exporting): Readable {
  const { plan, id, parts } = manifest
  const modified = new Date(manifest.finished)
  const whole = (name: string, bytes: Buffer): Member => ({ name, size: bytes.length, modified, data: () => [bytes] })
  const members: Member[] = parts.map((part) => ({
    name: partKey(plan, id, part.path),
    size: part.size,
    modified,
    data: () => open(part),
  }))
  const beside = siblings.map((sibling) => whole(sibling.key, sibling.bytes))
  return packed([whole(head, bytes), ...beside, ...members, whole(manifestKey(plan, id), bytes)])
}

export interface Import {
  manifest: Manifest
  /** The manifest as it was stored. */
  bytes: Buffer
  siblings: readonly Sibling[]
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
  const bytes = await kept(first, where)
  const manifest = parseManifest(bytes, `the manifest in ${where}`)
  const siblings: Sibling[] = []
  let { value: next } = await members.next()
  while (next && keysNumber(manifest.plan, manifest.id, next.name) !== undefined) {
    siblings.push({ key: next.name, bytes: await kept(next, where) })
    next = (await members.next()).value
  }
  const rest = async function* () {
    if (next) yield next
    yield* members
  }
  return { manifest, bytes, siblings, parts: () => partsIn(rest(), { manifest, bytes, where }) }
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
  if ((await kept(last, where)).equals(bytes)) return
  throw new JobError('verification', `${where} begins with another manifest than it ends with`, {
    hint: 'it was edited or put together from two: export the backup again',
  })
}

async function kept({ name, size, data }: Found, where: string): Promise<Buffer> {
  if (size > mostKept) throw new JobError('verification', `${where} has ${name} of ${size} bytes`, { hint: notOurs })
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
