import type { KeyObject } from 'node:crypto'
import { z } from 'zod'
import { JobError, textOf } from './errors.ts'
import { isSignatureOf, signatureOf } from './io/signature.ts'

/**
 * CONTRACT. What one finished backup is. The manifest is the last object of a backup and is never changed;
 * without it there is no backup. Sizes are bytes, times are UTC in ISO 8601, hashes are lower-case hex.
 */

/** A path inside a backup: relative, `/`, no empty, `.` or `..` segment. Manifests can come from strangers. */
const path = z
  .string()
  .regex(/^(?!\.{1,2}(\/|$))[^/\\\0]+(\/(?!\.{1,2}(\/|$))[^/\\\0]+)*$/, 'not a path inside a backup')

const content = { size: z.int().nonnegative(), sha256: z.string().regex(/^[0-9a-f]{64}$/) }

/** What opens an encrypted part: the header of its age file, which wraps its key to the recipients. */
const AgeKey = z.object({ header: z.string().regex(/^[\x20-\x7e\n]+$/), recipients: z.array(z.string()).min(1) })
export type AgeKey = z.infer<typeof AgeKey>

/**
 * One stored object: compressed, then encrypted, or only one of them, or neither. Size and sha256 are those of the stored bytes;
 * `plain` those of what they were made of.
 */
export const Part = z
  .object({
    path,
    ...content,
    codec: z.enum(['zstd']).optional(),
    age: AgeKey.optional(),
    plain: z.object(content).optional(),
  })
  .refine(
    ({ codec, age, plain }) => (codec === undefined && age === undefined) === (plain === undefined),
    'what was done to a part and what is plain go together',
  )
  .refine((part) => part.path.endsWith(suffixOf(part)), 'a compressed part is named .zst, an encrypted one .age')
export type Part = z.infer<typeof Part>

/** What is behind the path that an engine gave a part. */
export function suffixOf({ codec, age }: { codec?: 'zstd' | undefined; age?: unknown }): string {
  return `${codec ? '.zst' : ''}${age ? '.age' : ''}`
}

/** What one engine says of one source: enough to restore it and to prove the restore. */
export const SourceFacts = z.object({
  name: z.string(),
  engine: z.string(),
  server: z.object({ product: z.string(), version: z.string() }),
  /** Client programs used, with their versions. */
  tools: z.record(z.string(), z.string()),
  /** The engine's own facts: point of consistency, topology, tables, counts. Its engine has the schema. */
  facts: z.record(z.string(), z.unknown()),
})
export type SourceFacts = z.infer<typeof SourceFacts>

/** 1 is what every version reads; 2 has encrypted parts. */
const formats = [1, 2] as const
export type Format = (typeof formats)[number]

export const Manifest = z.object({
  format: z.literal(formats),
  id: z.string().regex(/^[1-9]\d*$/),
  plan: z.string(),
  /** The name the values give the installation, so that a foreign backup is recognised. */
  cluster: z.string().optional(),
  started: z.iso.datetime(),
  finished: z.iso.datetime(),
  jobVersion: z.string(),
  /** False when the storage could not decide `if absent` by itself, so two writers could have raced. */
  conditionalPut: z.boolean(),
  /** Set when `adopt` made this manifest for a folder that another tool wrote. */
  adopted: z.boolean().optional(),
  sources: z.array(SourceFacts).min(1),
  parts: z.array(Part),
  warnings: z.array(z.string()),
  /** Over all the rest. That it is right is known of every manifest that was read; whose it is is another question. */
  signature: z.object({ key: z.string(), value: z.string() }).optional(),
})
export type Manifest = z.infer<typeof Manifest>

/** It is not what was written. One of a later format, or that somebody else signed, is not damaged. */
export class ManifestDamaged extends JobError {
  constructor(message: string, cause?: unknown) {
    super('verification', message, {
      hint: 'it was damaged or edited: restore another backup, or from another storage',
      cause,
    })
  }
}

/** Reads a stored manifest. Throws `verification` on anything but a manifest of a known format, `ManifestDamaged` where that is why. */
export function parseManifest(bytes: Buffer, where: string): Manifest {
  let json: unknown
  try {
    json = JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new ManifestDamaged(`${where} is not JSON`, cause)
  }
  const format = (json as { format?: unknown } | null)?.format
  if (typeof format === 'number' && format > Math.max(...formats)) {
    throw new JobError(
      'verification',
      `${where} has format ${format}; this version reads formats ${formats.join(' and ')}`,
      {
        hint: 'use the version of holdfast that wrote it, or a newer one',
      },
    )
  }
  const parsed = Manifest.safeParse(json)
  if (!parsed.success) throw new ManifestDamaged(`${where} is no manifest: ${textOf(z.prettifyError(parsed.error))}`)
  // as it was stored: what a later version added to it is signed as well
  const { signature, ...signed } = json as Manifest
  if (signature === undefined || isSignatureOf(signature, signed)) return parsed.data
  throw new ManifestDamaged(`${where} is not what ${signature.key} signed`)
}

/** The same manifest, signed. */
export function signManifest({ signature: _, ...content }: Manifest, key: KeyObject): Manifest {
  return { ...content, signature: signatureOf(content, key) }
}

/** Public keys of those whose manifests count, as signatures name them. */
export interface Trust {
  keys: readonly string[]
  /** Values path, for errors. */
  at: string
}

/** Throws `verification` for a manifest that none of them signed. */
export function requireTrust({ signature }: Manifest, { keys, at }: Trust, where: string): void {
  if (signature && keys.includes(signature.key)) return
  const who = signature ? `is signed by ${signature.key}, which is not in ${at}` : `is not signed, and ${at} names keys`
  throw new JobError('verification', `${where} ${who}`, {
    hint: 'nothing of it was read; when its maker can be trusted all the same, say so in the values: another key, or no list',
  })
}

/** The lowest format that has room for these parts: older versions refuse what they could not read. */
export function formatOf(parts: readonly Part[]): Format {
  return parts.some(({ age }) => age) ? 2 : 1
}

/** The facts of a source as its engine knows them. Throws `verification` when they are not `of` what they are said to be. */
export function parseFacts<Facts>(
  schema: z.ZodType<Facts>,
  source: Pick<SourceFacts, 'facts'> | undefined,
  of: string,
): Facts {
  const parsed = schema.safeParse(source?.facts ?? {})
  if (parsed.success) return parsed.data
  const trouble = z.prettifyError(parsed.error).replaceAll('\n', ' ')
  throw new JobError('verification', `the manifest's facts are not those of ${of}: ${trouble}`)
}

/** The bytes of a manifest: stable, readable, with a newline at the end. */
export function formatManifest(manifest: Manifest): Buffer {
  return Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`)
}
