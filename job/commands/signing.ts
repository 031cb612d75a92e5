import type { KeyObject } from 'node:crypto'
import { trustIn } from '../config.ts'
import { JobError } from '../errors.ts'
import { publicKeyIn, signingKey } from '../io/signature.ts'
import { type Manifest, signManifest } from '../manifest.ts'
import type { Job } from './job.ts'

type Known = Pick<Job, 'config' | 'secret'>

/** What makes a plan's manifests signed ones, when its values name a key. The key is read now; throws `configuration`. */
export function signerOf(job: Known, plan: string): (manifest: Manifest) => Manifest {
  const key = signingKeyOf(job, plan)
  return key ? (manifest) => signManifest(manifest, key) : (manifest) => manifest
}

/** The key itself; undefined for a plan that does not sign. Throws `configuration` for a key that the plan's own trust does not have. */
export function signingKeyOf({ config, secret }: Known, plan: string): KeyObject | undefined {
  const { signing, trust } = config.backups[plan] ?? {}
  if (!signing) return undefined
  const at = `backups.${plan}.signing`
  const key = signingKey(secret(signing, signing.key, at), at)
  requireOwnTrust(key, { trust, plan })
  return key
}

/** What it makes could be restored by nobody, which would be found out when it is needed. */
function requireOwnTrust(key: KeyObject, { trust, plan }: { trust: string[] | undefined; plan: string }): void {
  const own = publicKeyIn(key)
  const trusted = trustIn(trust, `backups.${plan}.trust`)
  if (!trusted || trusted.keys.includes(own)) return
  throw new JobError(
    'configuration',
    `${trusted.at}: has no public key of backups.${plan}.signing, so no backup of the plan could be restored`,
    {
      hint: `add ${own} to ${trusted.at}, and leave the others there as long as backups of them are kept`,
    },
  )
}
