import { z } from 'zod'
import { keysNumber, manifestPrefix, partKey } from '../catalog/layout.ts'
import { JobError } from '../errors.ts'
import type { Manifest, Part } from '../manifest.ts'
import { type Identities, readAll, type Storage } from '../storage.ts'

/** The keys of encrypted parts: each part has its own, which is nowhere but in a header of age, for those who may read it. */

interface Backup {
  plan: string
  id: string
}

/** A sibling of a manifest, `<id>.keys-<n>.json`: the same keys for other recipients. Parts and manifest stay as they are. */
export const KeysFile = z.object({
  format: z.literal(1),
  plan: z.string(),
  id: z.string(),
  created: z.iso.datetime(),
  recipients: z.array(z.string()).min(1),
  /** By path of the part: what takes the place of the header in it. */
  headers: z.record(z.string(), z.string()),
})
export type KeysFile = z.infer<typeof KeysFile>

/** `list` is missing where there is nothing beside the manifest. */
export type Source = Pick<Storage, 'name' | 'get'> & Partial<Pick<Storage, 'list'>> & { encryption?: Identities }

type Reading = Backup & { storage: Source; signal: AbortSignal }

/**
 * The key of a part that is encrypted. Throws `configuration` when no identity is named, or none fits; `verification` when its header
 * was changed.
 */
export async function keyOf({ path, age }: Part, reading: Reading): Promise<Buffer> {
  const { plan, id, storage } = reading
  if (!age) throw new JobError('bug', `${path} is not encrypted`)
  if (!storage.encryption)
    throw new JobError(
      'configuration',
      `storages.${storage.name}.encryption: missing, but backup ${id} is encrypted there`,
      {
        hint: `it is for ${age.recipients.join(', ')}: name recipients, and the identity of one of these`,
      },
    )
  const { at } = storage.encryption
  const identities = storage.encryption.identities()
  // only for who decrypts: it takes a while to load
  const { isKeyOf, unwrapKey } = await import('./age.ts')
  const place = partKey(plan, id, path)
  const fileKey = await unwrapKey(age.header, { identities, place })
  if (fileKey) return fileKey
  const files = await keysFiles(reading)
  for (const { headers } of files) {
    const again = headers[path] && (await unwrapKey(headers[path], { identities, place }).catch(() => undefined))
    // whoever can write there cannot make up a key that fits
    if (again && isKeyOf(again, age.header)) return again
  }
  const recipients = new Set([...files.flatMap((file) => file.recipients), ...age.recipients])
  throw new JobError('configuration', `${at}: no identity there opens backup ${id} of plan ${plan}`, {
    hint: `it is for ${[...recipients].join(', ')}; age-keygen -y shows what an identity is for`,
  })
}

/** Throws what `keyOf` does when no storage has the backup in a form that can be read; of each, one part is tried. */
export async function requireKeys(
  held: readonly { storage: Storage; manifest: Manifest }[],
  signal: AbortSignal,
): Promise<void> {
  const failures: unknown[] = []
  for (const { storage, manifest } of held) {
    const part = manifest.parts.find(({ age }) => age)
    if (!part) return
    try {
      await keyOf(part, { plan: manifest.plan, id: manifest.id, storage, signal })
      return
    } catch (error) {
      failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
}

/**
 * Throws `configuration` for a part that is plain, or for others, in a storage that encrypts: its manifest would say that it is as the
 * values want it. A run that is taken up again has parts of before the values were changed.
 */
export function requireEncrypted(parts: readonly Part[], { name, encryption }: Storage): void {
  if (!encryption) return
  const wanted = new Set(encryption.recipients)
  const other = parts.find(({ age }) => wanted.symmetricDifference(new Set(age?.recipients)).size > 0)
  if (!other) return
  const when = other.age ? 'for other recipients' : 'before encryption was set'
  throw new JobError('configuration', `storages.${name}.encryption: ${other.path} was stored ${when}`, {
    hint: 'take a new backup instead of one with --resume',
  })
}

const known = new WeakMap<Source, Map<string, Promise<KeysFile[]>>>()

/** Bytes of a file of keys that is read: no backup has so many parts, but whoever can write there could put anything. */
const largest = 64 * 1024 * 1024

/** Newest first. Read once for a backup: a run does not see what comes after. */
export function keysFiles({ plan, id, storage, signal }: Reading): Promise<KeysFile[]> {
  const ofStorage = known.get(storage) ?? new Map<string, Promise<KeysFile[]>>()
  known.set(storage, ofStorage)
  const reading = ofStorage.get(`${plan}/${id}`) ?? read()
  ofStorage.set(`${plan}/${id}`, reading)
  return reading

  async function read(): Promise<KeysFile[]> {
    const found: { number: number; key: string }[] = []
    for await (const entry of storage.list?.(manifestPrefix(plan, id)) ?? []) {
      const number = keysNumber(plan, id, entry.key)
      if (number === undefined || entry.kind !== 'object' || entry.size > largest) continue
      found.push({ number, key: entry.key })
    }
    const files: KeysFile[] = []
    for (const { key } of found.sort((a, b) => b.number - a.number)) {
      const file = parsed(await readAll(storage, key, signal))
      if (file?.plan === plan && file.id === id) files.push(file)
    }
    return files
  }
}

/** One that is damaged is none: there may be others. */
function parsed(bytes: Buffer): KeysFile | undefined {
  try {
    return KeysFile.parse(JSON.parse(bytes.toString('utf8')))
  } catch {
    return undefined
  }
}
