import { isBug, textOf } from '../errors.ts'
import type { Content } from '../io/content.ts'
import { contentIn } from '../io/hash-aside.ts'
import { inParallel } from '../io/parallel.ts'
import type { Manifest, Part } from '../manifest.ts'
import { isMissing, type Storage } from '../storage.ts'
import { bytesOf, folderKey, isRunFile, partKey, pathOf } from './layout.ts'
import { type Sample, sampleOf } from './sample.ts'

export interface VerifyOptions {
  /** `present`: every part is there with its size, by one listing. `content`: and every part read again has its sha256. */
  level: 'present' | 'content'
  /** With `content`: only these parts are read again. Left out: all. */
  sample?: Sample | undefined
  signal: AbortSignal
  /** Bytes read since the last call. */
  progress?: (bytes: number) => void
}

/** `unreadable`: the storage failed, which says nothing about the bytes. */
export interface Problem {
  path: string
  kind: 'missing' | 'size' | 'content' | 'unreadable'
  /** What is wrong, for people. */
  says: string
}

export interface Verified {
  /** In the order of the manifest's parts. */
  problems: Problem[]
  /** Objects in the folder that the manifest does not know: no problem, only worth a note. */
  extra: string[]
  parts: number
  /** Of all parts, as the manifest says. */
  bytes: number
  /** What was to be read again. */
  read: { parts: number; bytes: number }
}

interface Context extends VerifyOptions {
  storage: Storage
  plan: string
  manifest: Manifest
}

const readersAtOnce = 4

/** Finds all problems, not only the first. Rejects only when the listing fails or the signal ends it. */
export async function verifyParts(context: Context): Promise<Verified> {
  const { manifest } = context
  const sizes = await sizesOf(context)
  const absent = manifest.parts.map((part) => presence(part, sizes.get(part.path)))
  const chosen = readOf(context)
  const toRead = new Set(chosen)
  const damaged = await inParallel([...manifest.parts.entries()], readersAtOnce, async ([i, part]) =>
    toRead.has(part) && !absent[i] ? reread(part, context) : undefined,
  )
  const problems = manifest.parts.map((_, i) => absent[i] ?? damaged[i]).filter((problem) => problem !== undefined)
  return {
    problems,
    extra: extraOf(sizes, manifest),
    parts: manifest.parts.length,
    bytes: bytesOf(manifest.parts),
    read: { parts: chosen.length, bytes: bytesOf(chosen) },
  }
}

function readOf({ manifest, level, sample }: Context): Part[] {
  if (level === 'present') return []
  return sample ? sampleOf(manifest, sample) : manifest.parts
}

async function sizesOf({ storage, plan, manifest }: Context): Promise<Map<string, number>> {
  const sizes = new Map<string, number>()
  for await (const entry of storage.list(folderKey(plan, manifest.id))) {
    const path = pathOf(plan, manifest.id, entry.key)
    if (path && entry.kind === 'object') sizes.set(path, entry.size)
  }
  return sizes
}

function presence({ path, size }: Part, stored: number | undefined): Problem | undefined {
  if (stored === undefined) return { path, kind: 'missing', says: 'is missing' }
  if (stored !== size) return { path, kind: 'size', says: `has ${stored} bytes instead of ${size}` }
}

async function reread(
  part: Part,
  { storage, plan, manifest, signal, progress }: Context,
): Promise<Problem | undefined> {
  signal.throwIfAborted()
  const { path } = part
  let found: Content
  try {
    const stored = await storage.get(partKey(plan, manifest.id, path), { signal })
    found = await contentIn(stored, { size: part.size, onBytes: progress })
  } catch (error) {
    signal.throwIfAborted()
    if (isMissing(error)) return { path, kind: 'missing', says: 'is missing' }
    if (isBug(error)) throw error
    return { path, kind: 'unreadable', says: `cannot be read: ${textOf(error)}` }
  }
  const { size, sha256 } = found
  if (size !== part.size) return { path, kind: 'size', says: `gave ${size} bytes instead of ${part.size}` }
  if (sha256 !== part.sha256) return { path, kind: 'content', says: `has sha256 ${sha256} instead of ${part.sha256}` }
}

function extraOf(sizes: Map<string, number>, { parts }: Manifest): string[] {
  const known = new Set(parts.map(({ path }) => path))
  return [...sizes.keys()].filter((path) => !known.has(path) && !isRunFile(path) && !/(^|\/)parts\.json$/.test(path))
}
