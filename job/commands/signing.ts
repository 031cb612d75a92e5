import type { KeyObject } from 'node:crypto'
import { signingKey } from '../io/signature.ts'
import { type Manifest, signManifest } from '../manifest.ts'
import type { Job } from './job.ts'

type Known = Pick<Job, 'config' | 'secret'>

/** What makes a plan's manifests signed ones, when its values name a key. The key is read now; throws `configuration`. */
export function signerOf(job: Known, plan: string): (manifest: Manifest) => Manifest {
  const key = signingKeyOf(job, plan)
  return key ? (manifest) => signManifest(manifest, key) : (manifest) => manifest
}

/** The key itself; undefined for a plan that does not sign. */
export function signingKeyOf({ config, secret }: Known, plan: string): KeyObject | undefined {
  const signing = config.backups[plan]?.signing
  if (!signing) return undefined
  const at = `backups.${plan}.signing`
  return signingKey(secret(signing, signing.key, at), at)
}
