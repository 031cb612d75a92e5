import type { KeyObject } from 'node:crypto'
import { z } from 'zod'
import type { BackupFacts } from '../engine.ts'
import { JobError } from '../errors.ts'
import { Part } from '../manifest.ts'
import { isSignatureOf, publicKeyIn, signatureOf } from './signature.ts'

/** What a run keeps of a source beside its facts: the parts so far, for a run that takes it up again. */
export interface Kept {
  plan: string
  id: string
  source: string
  /** As one storage has them. */
  parts: readonly Part[]
  facts: BackupFacts
}

const hint = 'this run cannot be taken up again: take a new backup'

const Signed = z.object({ parts: z.array(z.unknown()), signature: z.object({ key: z.string(), value: z.string() }) })

/** A list of parts as it lies in a storage. */
export function listOf(parts: readonly Part[]): Buffer {
  return textOfJson(parts)
}

/** The same list; of a plan that signs, with a signature over the facts as well: both get into a signed manifest. */
export function keptList(kept: Kept, key: KeyObject | undefined): Buffer {
  const { parts } = kept
  return key ? textOfJson({ parts, signature: signatureOf(kept, key) }) : listOf(parts)
}

interface Found extends Omit<Kept, 'parts'> {
  /** The plan's, when it signs. */
  key: KeyObject | undefined
  /** Of the list, for errors. */
  where: string
}

/** The parts in such a list. Throws `verification` when it is none, or when the plan signs, and did not sign exactly this. */
export function readKept(bytes: Buffer, { key, where, ...kept }: Found): Part[] {
  const json = parsed(bytes)
  const signed = Signed.safeParse(json).data
  const parts = signed?.parts ?? json
  if (key && !(signed && isOurs(signed.signature, { ...kept, parts }, key)))
    throw new JobError('verification', `${where} and the facts beside it are not what this plan signed`, { hint })
  const found = z.array(Part).safeParse(parts)
  if (found.success) return found.data
  throw new JobError('verification', `${where} is no list of parts`, { hint })
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}

function isOurs(signature: { key: string; value: string }, content: object, key: KeyObject): boolean {
  return signature.key === publicKeyIn(key) && isSignatureOf(signature, content)
}

function textOfJson(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value, null, 1)}\n`)
}
