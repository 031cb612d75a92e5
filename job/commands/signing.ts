import { signingKey } from '../io/signature.ts'
import { type Manifest, signManifest } from '../manifest.ts'
import type { Job } from './job.ts'

/** What makes a plan's manifests signed ones, when its values name a key. The key is read now; throws `configuration`. */
export function signerOf(
  { config, secret }: Pick<Job, 'config' | 'secret'>,
  plan: string,
): (manifest: Manifest) => Manifest {
  const signing = config.backups[plan]?.signing
  if (!signing) return (manifest) => manifest
  const at = `backups.${plan}.signing`
  const key = signingKey(secret(signing, signing.key, at), at)
  return (manifest) => signManifest(manifest, key)
}
